"""The evaluation of one network as a whole: what is run, in which order images are recorded, networks that break."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from networks.around import Around
from networks.sanity_nets import FREE, no_surrogate, silent
from scipy.special import log_softmax
from studies.photos import as_files, write_photos
from studies.tiny_study import pixels_of, random_states
from torch import Tensor, nn

from benchmark.data.images import Split
from benchmark.data.load import Data
from benchmark.evaluation.catalogue import SANITY_CHECKS
from benchmark.evaluation.evaluate import BINS, Evaluated, accuracy, calibration, evaluate, make_attacked_set
from benchmark.networks.build import weights_hash
from benchmark.records.outcomes import unpack_bits
from benchmark.runtime.distributed import Group
from benchmark.settings.load import load_preset


def evaluated(
    model: nn.Module, data: Data, surrogate: Callable[[], nn.Module], told: Callable[[str, float], None], *more: str
) -> Evaluated:
    attacks = '[{name = "fgsm", steps = 1}, {name = "apgd_dlr", steps = 2}]'
    sizes = ("evaluation.images=32", "evaluation.batch_size=16", "evaluation.eps=[4.0, 16.0]")
    shrunk = (*sizes, f"evaluation.attacks={attacks}", *more)
    return evaluate(load_preset("smoke", shrunk), 0, model, data, surrogate, told)


EVERY = [(row.number, name) for name, row in SANITY_CHECKS.items()]
CHECKS = (
    "evaluation.checks={images = 16, square_queries = 10, repeated = 8, long_steps = 6, "
    "reference_steps = 2, reference_queries = 5}"
)


def test_an_evaluation_with_checks_runs_each_once_and_tells_a_share_that_never_falls(
    digits_net: nn.Module, other_net: nn.Module, digits: Data
) -> None:
    shares: list[float] = []
    texts: list[str] = []
    made: list[int] = []

    def told(text: str, share: float) -> None:
        texts.append(text)
        shares.append(share)

    def surrogate() -> nn.Module:
        made.append(1)
        return other_net

    digits_net.train()
    next(digits_net.children()).eval()
    modes, weights, before = [m.training for m in digits_net.modules()], weights_hash(digits_net), random_states()
    try:
        found = evaluated(digits_net, digits, surrogate, told, CHECKS)
        assert [module.training for module in digits_net.modules()] == modes
    finally:
        digits_net.eval()
    assert weights_hash(digits_net) == weights
    assert random_states() == before
    assert made == [1]
    assert [(check["number"], check["name"]) for check in found.checks] == EVERY
    assert all(math.isfinite(value) for check in found.checks for value in check["figures"].values())
    figures = {check["name"]: check["figures"] for check in found.checks}
    tested = [figures[name]["images"] for name in ("black box", "more steps", "reference AutoAttack")]
    assert tested == [16, 8, 8]
    assert "at 64/255" in figures["monotone"]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 0.1
    assert 0.9 < shares[-1] <= 1
    assert len(set(texts)) > 10


def test_an_evaluation_without_checks_makes_those_that_cost_nothing(digits_net: nn.Module, digits: Data) -> None:
    shares: list[float] = []
    found = evaluated(digits_net, digits, no_surrogate, lambda _text, share: shares.append(share))
    assert [check["number"] for check in found.checks] == FREE
    assert shares == sorted(shares)
    assert shares[-1] <= 1
    figures = {check["name"]: check["figures"] for check in found.checks}
    assert "at 64/255" not in figures["monotone"]
    assert found.robustness["zero_gradient_share"] == figures["gradients"]["zero gradients"]
    assert found.robustness["median_margin"] == figures["gradients"]["median margin"]


def test_a_seed_that_is_not_checked_has_the_same_outcomes_and_neither_costly_checks_nor_corruptions(
    digits_net: nn.Module, other_net: nn.Module, digits: Data
) -> None:
    def of_seed_0(checked: str) -> Evaluated:
        return evaluated(digits_net, digits, lambda: other_net, silent, CHECKS, f"evaluation.checks.seeds={checked}")

    checked, unchecked = of_seed_0("[0, 2]"), of_seed_0("[2]")
    assert [(check["number"], check["name"]) for check in checked.checks] == EVERY
    assert [check["number"] for check in unchecked.checks] == FREE
    assert len(checked.robustness["corruptions"]) == 40
    assert checked.robustness["noise"] is not None
    assert unchecked.robustness["corruptions"] == []
    assert unchecked.robustness["noise"] is None
    assert unchecked.robustness["attacks"] == checked.robustness["attacks"]
    assert unchecked.clean == checked.clean


def test_the_bits_of_an_evaluation_are_in_the_order_of_the_split(digits_net: nn.Module, digits: Data) -> None:
    found = evaluated(digits_net, digits, nn.Identity, silent)
    n, whole = len(digits.test.labels), unpack_bits(found.clean["correct"], found.clean["n"])
    where = unpack_bits(found.robustness["images"], n)
    assert where.sum() == found.robustness["n"] == 32
    assert unpack_bits(found.robustness["clean"], 32).tolist() == whole[where].tolist()
    for outcome in found.robustness["attacks"]:
        assert not (unpack_bits(outcome["correct"], 32) & ~whole[where]).any()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_stop_the_evaluation(value: float, digits_net: nn.Module, digits: Data) -> None:
    class Broken(Around):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            return torch.where(images.mean((1, 2, 3))[:, None] > 0.3, value * torch.ones_like(logits), logits)

    with pytest.raises(FloatingPointError, match=r"logits are not finite for \d+ of 500 images"):
        evaluated(Broken(digits_net), digits, nn.Identity, silent)


def test_logits_that_are_not_finite_under_attack_stop_the_evaluation(digits_net: nn.Module, digits: Data) -> None:
    """The network is fine where the first column is black, as it is in every image; an attack makes it grey."""

    class Brittle(Around):
        def forward(self, images: Tensor) -> Tensor:
            black = images[:, :, :, 0].amax((1, 2)) < 0.004
            return super().forward(images) / black.float()[:, None]

    dark = pixels_of(digits.test).clone()
    dark[..., 0] = 0
    data = replace(digits, test=Split(dark, digits.test.labels))
    with pytest.raises(FloatingPointError, match=r"logits are not finite for \d+ of 16 images"):
        evaluated(Brittle(digits_net), data, nn.Identity, silent)


def test_every_run_attacks_the_same_images_in_the_same_order(digits_net: nn.Module, digits: Data) -> None:
    preset = load_preset("smoke", ("evaluation.images=40",))
    one, two = (make_attacked_set(preset, seed, digits_net, digits) for seed in (0, 1))
    assert torch.equal(one.images, two.images)
    assert one.seed != two.seed
    assert one.model.batch_size == two.model.batch_size == preset.evaluation.batch_size


class Unheard(Group):
    """A process of several that hears nothing from the others."""

    def any(self, flag: bool) -> bool:
        return flag

    def sum(self, *counts: int) -> list[int]:
        return list(counts)


def test_a_process_that_has_no_image_to_classify_counts_none(tmp_path: Path, digits: Data) -> None:
    model, recipe = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 2)), load_preset("smoke").recipe
    files = as_files(write_photos(tmp_path / "test", 2), tmp_path)._replace(workers=0)
    assert accuracy(recipe, model, files, Unheard(rank=2, size=3)) == 0
    assert accuracy(recipe, nn.Identity(), digits.test.subset(torch.arange(2)), Unheard(rank=2, size=3)) == 0


# Calibration.


def by_loop(probabilities: list[list[float]], labels: list[int]) -> float:
    """ECE of Guo et al., section 2, image by image."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for row, label in zip(probabilities, labels, strict=True):
        confidence = max(row)
        index = next(b for b in range(15) if b / 15 < confidence <= (b + 1) / 15)
        members[index].append((confidence, row.index(confidence) == label))
    total = 0.0
    for bin_ in members:
        if bin_:
            accuracy = sum(right for _, right in bin_) / len(bin_)
            confidence = sum(value for value, _ in bin_) / len(bin_)
            total += len(bin_) / len(labels) * abs(accuracy - confidence)
    return total


def random_logits(n: int, classes: int, scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """Logits of a given scale, and labels that are the largest logit in about half of the cases."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator)
    labels = torch.randint(classes, (n,), generator=generator)
    right = torch.rand(n, generator=generator) < 0.5
    return logits, torch.where(right, logits.argmax(1), labels)


def of_probabilities(*rows: list[float]) -> Tensor:
    """Logits with these softmax probabilities."""
    return torch.tensor(rows, dtype=torch.double).log()


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_calibration_is_the_loop_over_bins_and_the_log_loss_of_scipy(scale: float, classes: int) -> None:
    logits, labels = random_logits(700, classes, scale, seed=classes)
    probabilities = logits.double().softmax(1)
    found = calibration(logits, labels)
    assert found["n"] == 700
    assert found["bins"] == BINS == 15
    assert found["ece"] == pytest.approx(by_loop(probabilities.tolist(), labels.tolist()), abs=1e-6)
    logs = log_softmax(logits.double().numpy(), axis=1)
    assert found["nll"] == pytest.approx(-logs[range(700), labels.numpy()].mean(), abs=1e-6)


def test_gaps_of_one_bin_cancel_and_those_of_two_do_not() -> None:
    one = calibration(of_probabilities([0.82, 0.18], [0.86, 0.14]), torch.tensor([0, 1]))  # both in (12/15, 13/15]
    assert one["ece"] == pytest.approx(abs(0.5 - 0.84), abs=1e-6)
    two = calibration(of_probabilities([0.78, 0.22], [0.86, 0.14]), torch.tensor([0, 1]))
    assert two["ece"] == pytest.approx((0.22 + 0.86) / 2, abs=1e-6)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    """Three equal logits have the confidence 1/3 = 5/15 exactly; the first of them is predicted."""
    edge, right_and_wrong = [1 / 3, 1 / 3, 1 / 3, 0.0], torch.tensor([0, 1])
    same = calibration(of_probabilities(edge, [0.3, 0.25, 0.25, 0.2]), right_and_wrong)
    assert same["ece"] == pytest.approx(abs(1 - 1 / 3 - 0.3) / 2, abs=1e-6)
    other = calibration(of_probabilities(edge, [0.35, 0.25, 0.2, 0.2]), right_and_wrong)
    assert other["ece"] == pytest.approx((1 - 1 / 3 + 0.35) / 2, abs=1e-6)


@pytest.mark.parametrize("huge", [1e4, 1e30])
def test_huge_logits_stay_finite(huge: float) -> None:
    logits = torch.tensor([[huge, 0.0, -huge], [0.0, huge, -huge]])
    found = calibration(logits, torch.tensor([0, 0]))
    assert found["ece"] == 0.5
    assert found["nll"] == pytest.approx(huge / 2)


def test_half_precision_is_judged_in_double() -> None:
    logits, labels = random_logits(300, 10, 3.0, seed=1)
    short = logits.bfloat16()
    assert calibration(short, labels) == calibration(short.double(), labels)
