"""Sanity checks: an honest network raises no flag, each planted way of looking robust raises its own."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from around import Around
from sanity_nets import FIGURES, FREE, RoundedImages, RoundedLogits, WrongGradient, checked, flags, settings, silent
from tiny_study import pixels_of, random_states
from torch import Tensor, nn

from benchmark.data.images import Split
from benchmark.data.load import Data
from benchmark.evaluation import sanity_checks as sanity
from benchmark.evaluation.evaluate import Evaluated, evaluate
from benchmark.evaluation.joint import Radius, Subject
from benchmark.evaluation.sanity_checks import Scaled
from benchmark.networks.build import weights_hash
from benchmark.records.outcomes import unpack_bits
from benchmark.settings.load import load_preset

# The whole, on an honest network and on planted ones.


def test_an_honest_network_raises_no_flag_in_any_check(
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module, other_net: nn.Module
) -> None:
    found = checked(judge(digits_net), other_net)
    assert flags(found) == {}
    assert sorted(found) == list(range(1, 12))
    assert 0.1 < found[10]["figures"]["white box"] < found[10]["figures"]["transfer"]
    assert found[5]["figures"]["PGD"] <= found[5]["figures"]["FGSM"] <= found[5]["figures"]["noise"]


@pytest.mark.parametrize(
    ("masked", "raised"),
    [
        (lambda model: Scaled(model, 100.0), {6, 7}),
        (lambda model: Scaled(model, 1e4), {6}),  # x0.1 is saturated too, so check 7 is blind to it
        (RoundedImages, {4, 5, 6, 8, 10, 11}),
        (RoundedLogits, {4, 5, 6, 8, 10, 11}),
        (WrongGradient, {4, 5, 8, 10, 11}),
    ],
    ids=["logits x100", "logits x10000", "rounded images", "rounded logits", "wrong gradient"],
)
def test_a_network_that_hides_its_gradient_is_flagged_and_not_for_its_state(
    masked: Callable[[nn.Module], nn.Module],
    raised: set[int],
    judge: Callable[[nn.Module], Subject],
    digits_net: nn.Module,
    other_net: nn.Module,
) -> None:
    found = flags(checked(judge(masked(digits_net)), other_net, settings(eps=(4.0, 16.0, 64.0))))
    assert raised <= found.keys()
    assert not {1, 2, 3} & found.keys()


# Where the checks look.


@pytest.mark.parametrize(
    ("robust", "eps"),
    [
        ({1.0: 0.9, 2.0: 0.1, 4.0: 0.09}, 2.0),
        ({1.0: 0.9, 2.0: 0.5, 4.0: 0.3}, 4.0),
        ({1.0: 0.09, 2.0: 0.05}, 1.0),
        ({1.0: 0.5, 2.0: 0.05, 4.0: 0.2}, 4.0),
    ],
)
def test_the_checks_look_where_a_tenth_still_stands(robust: dict[float, float], eps: float) -> None:
    assert sanity.contested("Linf", robust) == Radius("Linf", eps)


# The evaluation as a whole.


def evaluated(
    model: nn.Module, data: Data, surrogate: Callable[[], nn.Module], told: Callable[[str, float], None], *more: str
) -> Evaluated:
    shrunk = ("evaluation.images=32", "evaluation.batch_size=16", "evaluation.eps=[4.0, 16.0]", *more)
    return evaluate(load_preset("smoke", shrunk), 0, model, data, surrogate, told)


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
    measured = FIGURES | {6: FIGURES[6][:2]}  # the smoke suite has APGD-DLR before APGD-CE
    assert {check["number"]: list(check["figures"]) for check in found.checks} == measured
    assert [check["number"] for check in found.checks] == list(range(1, 12))
    assert all(math.isfinite(value) for check in found.checks for value in check["figures"].values())
    assert [check["figures"]["images"] for check in found.checks if check["number"] in (8, 9, 11)] == [16, 8, 8]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 0.1
    assert 0.9 < shares[-1] <= 1
    assert len(set(texts)) > 10


def test_an_evaluation_without_checks_makes_those_that_cost_nothing(digits_net: nn.Module, digits: Data) -> None:
    shares: list[float] = []

    def never() -> nn.Module:
        raise AssertionError("the surrogate was trained")

    found = evaluated(digits_net, digits, never, lambda _text, share: shares.append(share))
    wanted = {number: FIGURES[number] for number in FREE} | {4: ["largest rise"], 6: FIGURES[6][:2]}
    assert {check["number"]: list(check["figures"]) for check in found.checks} == wanted
    assert [check["number"] for check in found.checks] == FREE
    assert shares == sorted(shares)
    assert shares[-1] <= 1
    gradients = next(check["figures"] for check in found.checks if check["number"] == 6)
    assert found.robustness["zero_gradient_share"] == gradients["zero gradients"]
    assert found.robustness["median_margin"] == gradients["median margin"]


def test_a_seed_that_is_not_checked_has_the_same_outcomes_and_neither_costly_checks_nor_corruptions(
    digits_net: nn.Module, other_net: nn.Module, digits: Data
) -> None:
    def of_seed_0(checked: str) -> Evaluated:
        return evaluated(digits_net, digits, lambda: other_net, silent, *CHECKS, f"evaluation.checks.seeds={checked}")

    checked, unchecked = of_seed_0("[0, 2]"), of_seed_0("[2]")
    assert [check["number"] for check in checked.checks] == list(range(1, 12))
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
