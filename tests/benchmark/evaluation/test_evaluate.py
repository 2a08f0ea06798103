"""The evaluation of one network as a whole: what is run, in which order images are recorded, networks that break."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from networks.around import Around
from networks.sanity_nets import FREE, no_surrogate, silent
from studies.photos import as_files, write_photos
from studies.tiny_study import pixels_of, random_states
from torch import Tensor, nn

from benchmark.data.images import Split
from benchmark.data.load import Data
from benchmark.evaluation.catalogue import SANITY_CHECKS
from benchmark.evaluation.evaluate import Evaluated, accuracy, evaluate, make_attacked_set
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
    "evaluation.checks.images=16",
    "evaluation.checks.square_queries=10",
    "evaluation.checks.repeated=8",
    "evaluation.checks.long_steps=6",
    "evaluation.checks.reference_steps=2",
    "evaluation.checks.reference_queries=5",
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
        found = evaluated(digits_net, digits, surrogate, told, *CHECKS)
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
        return evaluated(digits_net, digits, lambda: other_net, silent, *CHECKS, f"evaluation.checks.seeds={checked}")

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
