"""Sanity checks: an honest network raises no flag, each planted way of looking robust raises its own."""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from networks.foreign_networks import After, Before, PlainList
from networks.sanity_nets import (
    IMAGES,
    NEAR,
    SUITE,
    AlwaysTraining,
    Counts,
    HonestWithoutGradient,
    NoiseByPlace,
    Noisy,
    RoundedImages,
    RoundedLogits,
    Softmax,
    WrongGradient,
    case,
    evaluated_case,
    silent,
)
from studies.tiny_study import random_states
from torch import Tensor, nn

from benchmark.evaluation import sanity_checks as sanity
from benchmark.evaluation.attacks import FrozenModel, Radius, predict
from benchmark.evaluation.catalogue import SANITY_CHECKS, SanityCheck
from benchmark.evaluation.joint import AttackedSet, survivors
from benchmark.evaluation.sanity_checks import EXTREME, Scaled, run_check, run_checks
from benchmark.records.outcomes import pack_bits
from benchmark.settings.preset import Attack

Judge = Callable[[nn.Module], AttackedSet]
FAR = Radius("Linf", 24.0)


# Rows of somebody else.


def finding(result: Any) -> Any:
    """A check that returns something, or raises it."""

    def check(_case: object) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    return check


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, "returned a NoneType; it must return a Found"),
        (
            ZeroDivisionError("by nothing"),
            r"failed: ZeroDivisionError: by nothing \(.*sanity_checks.py, line \d+\)",
        ),
        (sanity.Found({"mean": "text", "sum": float("nan"), "n": 1}, {}), "'mean' is 'text', 'sum' is nan; figures"),  # type: ignore[dict-item]
    ],
)
def test_a_check_that_finds_no_figures_is_named(result: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.Mine", finding(result), raising=False)
    monkeypatch.setitem(SANITY_CHECKS, "mine", SanityCheck(99, f"{__name__}:Mine", "x", "x"))
    case: Any = SimpleNamespace(first=lambda _setting: None)
    with pytest.raises(RuntimeError, match=rf"^check 99 \(mine\):? {reason}"):
        sanity.run_check("mine", case)


# The whole, on an honest network and on planted ones.


def test_rows_are_in_the_order_of_their_numbers_and_say_their_limits() -> None:
    numbers = [row.number for row in SANITY_CHECKS.values()]
    assert numbers == sorted(set(numbers))
    for row in SANITY_CHECKS.values():
        assert all(f"{{{name}" in row.flag for name in row.limits)
        assert row.flag.format(**row.limits)


def test_an_honest_network_raises_no_flag_in_any_check(
    judge: Judge, digits_net: nn.Module, other_net: nn.Module
) -> None:
    found = {check["name"]: check for check in run_checks(evaluated_case(judge(digits_net), other_net), silent)}
    assert not any(check["flag"] for check in found.values())
    assert list(found) == list(SANITY_CHECKS)
    assert 0.1 < found["transfer"]["figures"]["white box"] < found["transfer"]["figures"]["transfer"]
    order = found["order of attacks"]["figures"]
    assert order["PGD"] <= order["FGSM"] <= order["noise"]


NO_GRADIENT = {"monotone", "order of attacks", "black box", "transfer", "reference AutoAttack"}


@pytest.mark.parametrize(
    ("masked", "raised"),
    [
        (lambda model: Scaled(model, 100.0), {"gradients", "logit scale"}),
        (lambda model: Scaled(model, 1e4), {"gradients"}),  # x0.1 is saturated too, so "logit scale" is blind to it
        (RoundedImages, {"gradients", *NO_GRADIENT}),
        (RoundedLogits, {"gradients", *NO_GRADIENT}),
        (WrongGradient, NO_GRADIENT),
    ],
    ids=["logits x100", "logits x10000", "rounded images", "rounded logits", "wrong gradient"],
)
def test_a_network_that_hides_its_gradient_is_flagged_and_not_for_its_state(
    masked: Callable[[nn.Module], nn.Module],
    raised: set[str],
    judge: Judge,
    digits_net: nn.Module,
    other_net: nn.Module,
) -> None:
    of = evaluated_case(judge(masked(digits_net)), other_net, eps=(4.0, 24.0, 64.0))
    assert {name for name in (*raised, "state", "logits", "eps = 0") if run_check(name, of)["flag"]} == raised


@pytest.mark.parametrize(
    ("robust", "eps"),
    [
        ({1.0: 0.9, 2.0: 0.1, 4.0: 0.09}, 2.0),
        ({1.0: 0.9, 2.0: 0.5, 4.0: 0.3}, 4.0),
        ({1.0: 0.09, 2.0: 0.05}, 1.0),
        ({1.0: 0.5, 2.0: 0.05, 4.0: 0.2}, 4.0),
    ],
)
def test_the_checks_look_where_a_tenth_still_survives(robust: dict[float, float], eps: float) -> None:
    assert sanity.contested("Linf", robust) == Radius("Linf", eps)


def test_the_first_images_are_those_that_a_setting_counts(judge: Judge, digits_net: nn.Module) -> None:
    left = torch.arange(IMAGES) % 3 == 0
    whole = case(judge(digits_net), left)
    few = whole.first("repeated")
    assert torch.equal(few.left, left[:32])
    assert torch.equal(few.attacked.images, whole.attacked.images[:32])
    assert whole.first(None) is whole


# State.


@pytest.mark.parametrize(
    ("kind", "said", "figures"),
    [
        (AlwaysTraining, "1 modules are in training mode", [1, 0, 0]),
        (Counts, "a forward pass changes parameters or buffers", [0, 1, 0]),
        (Noisy, "a forward pass draws random numbers", [0, 0, 1]),
        (nn.Sequential, None, [0, 0, 0]),
        (
            lambda model: AlwaysTraining(Counts(Noisy(model))),
            "1 modules are in training mode; a forward pass changes parameters or buffers; "
            "a forward pass draws random numbers",
            [1, 1, 1],
        ),
    ],
)
def test_state_finds_training_mode_changed_buffers_and_random_draws_and_leaves_the_global_generators(
    kind: Callable[[nn.Module], nn.Module], said: str | None, figures: list[int], judge: Judge, digits_net: nn.Module
) -> None:
    of, before = case(judge(kind(digits_net))), random_states()
    found = run_check("state", of)
    assert random_states() == before
    assert found["flag"] == said
    assert list(found["figures"].values()) == figures


# Logits.

NOT_PROBABILITIES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda logits: logits.log_softmax(1),
    lambda logits: logits - logits.mean(1, keepdim=True) + 0.1,  # they sum up to 1
    torch.exp,
    lambda logits: logits * 1e-6,
    lambda logits: logits * 1e6,
)


def test_logits_finds_probabilities_and_outputs_that_change(judge: Judge, digits_net: nn.Module) -> None:
    fine, softmax, noisy, both = (
        run_check("logits", case(judge(net)))
        for net in (digits_net, Softmax(digits_net), Noisy(digits_net), Noisy(Softmax(Noisy(digits_net))))
    )
    assert fine["figures"] == {"relative difference": 0.0, "probabilities": 0.0}
    assert softmax["figures"]["probabilities"] == 1
    assert "returns probabilities; leave out the softmax" in str(softmax["flag"])
    assert "two forward passes differ" in str(noisy["flag"])
    assert str(both["flag"]).count("; ") == 2  # one of them is within a sentence
    for change in NOT_PROBABILITIES:
        assert run_check("logits", case(judge(After(change, digits_net))))["flag"] is None


# eps = 0.


def test_eps_0_finds_a_network_that_a_ball_of_radius_0_fools(judge: Judge, digits_net: nn.Module) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        noisy = run_check("eps = 0", case(judge(Noisy(digits_net))))
    fine = run_check("eps = 0", case(judge(digits_net)))
    assert fine["figures"] == {"FGSM fooled": 0, "PGD fooled": 0}
    assert fine["flag"] is None
    lost = max(noisy["figures"].values())
    assert lost > 0
    assert noisy["flag"] == f"attacks with eps = 0 fool {lost:g} of 32 images"


# The curve falls.


@pytest.mark.parametrize(
    ("clean", "curves", "extreme", "rise", "said"),
    [
        (0.9, {"Linf": {1.0: 0.9, 2.0: 0.5, 4.0: 0.0}}, 0.0, 0.0, []),
        (0.9, {"Linf": {1.0: 0.5, 2.0: 0.5}}, 0.02, 0.0, []),
        (0.9, {"Linf": {1.0: 0.5, 2.0: 0.6}}, None, 0.1, ["rises with eps (Linf, by 10.0%)"]),
        (0.4, {"Linf": {1.0: 0.5, 2.0: 0.1}}, None, 0.1, ["rises with eps (Linf, by 10.0%)"]),
        (0.9, {"Linf": {1.0: 0.5}, "L2": {1.0: 0.2, 2.0: 0.25}}, 0.0, 0.05, ["rises with eps (L2, by 5.0%)"]),
        (0.9, {"Linf": {1.0: 0.5, 2.0: 0.1}}, 0.021, 0.0, ["accuracy is still 2.1% at Linf 64/255"]),
        (
            0.9,
            {"Linf": {1.0: 0.1, 2.0: 0.2}, "L2": {1.0: 0.95}},
            0.3,
            0.1,
            ["(Linf, by 10.0%)", "(L2, by 5.0%)", "still 30.0%"],
        ),
    ],
)
def test_monotone_finds_curves_that_rise_and_accuracy_at_64(
    clean: float,
    curves: dict[str, dict[float, float]],
    extreme: float | None,
    rise: float,
    said: list[str],
    written: AttackedSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sanity, "joint_curves", lambda *_: curves)
    monkeypatch.setattr(sanity, "extreme_accuracy", lambda _case: extreme)
    of = written._replace(clean=torch.arange(1000) < 1000 * clean, images=torch.zeros(1000, 1, 8, 8))
    of = of._replace(labels=torch.zeros(1000, dtype=torch.long))
    found = run_check("monotone", case(of) if extreme is not None else case(of, checks=None))
    assert found["figures"]["largest rise"] == pytest.approx(rise)
    assert ("at 64/255" in found["figures"]) == (extreme is not None)
    assert (found["flag"] is None) == (not said)
    assert all(part in str(found["flag"]) for part in said)
    assert str(found["flag"]).count("; ") == max(len(said) - 1, 0)


def test_monotone_sees_no_rise_where_no_image_is_fooled() -> None:
    """In float32, 0.9 is less than in float64."""
    clean = torch.arange(10) < 9
    outcomes: Any = [{"norm": "Linf", "eps": 0.1, "correct": pack_bits(clean.numpy())}]
    of = AttackedSet(FrozenModel(nn.Identity()), torch.zeros(10, 1, 8, 8), torch.zeros(10), clean, 10, seed=0)
    found = run_check("monotone", case(of, outcomes=outcomes, checks=None))
    assert (found["figures"], found["flag"]) == ({"largest rise": 0}, None)


def test_monotone_attacks_at_64_whatever_the_eps_of_the_preset(judge: Judge, digits_net: nn.Module) -> None:
    assert EXTREME.pixels == 64 / 255
    rounded = case(judge(RoundedImages(digits_net)), attacks=(Attack(name="apgd_ce", steps=3),), eps=(0.25,))
    assert sanity.extreme_accuracy(rounded) > 0.5
    assert sanity.extreme_accuracy(case(judge(digits_net), eps=(0.25,))) == 0


# The order of attacks.


def test_order_of_attacks_counts_images_that_fall_to_the_weaker_attack(
    judge: Judge, digits_net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = case(judge(digits_net))
    stood = {"fgsm": torch.ones(IMAGES, dtype=torch.bool), "pgd": torch.ones(IMAGES, dtype=torch.bool)}
    noise = torch.ones(IMAGES, dtype=torch.bool)
    monkeypatch.setattr(sanity, "survivors", lambda *arguments: stood[arguments[3].name])
    monkeypatch.setattr(sanity, "noise_survivors", lambda *_: noise)
    assert run_check("order of attacks", of)["figures"]["odd images"] == 0
    noise[0] = False  # 1 of 64 is within the 2%
    found = run_check("order of attacks", of)
    assert (found["figures"]["odd images"], found["flag"]) == (1, None)
    stood["fgsm"][1:3] = False
    found = run_check("order of attacks", of)
    assert found["figures"]["odd images"] == 3
    assert found["figures"]["FGSM"] == round(62 / 64, 4)
    assert str(found["flag"]).startswith("3 of 64 images survive a stronger attack at Linf 16/255")


def test_noise_is_the_same_for_every_network_stays_in_the_ball_and_is_drawn_ten_times(
    judge: Judge, digits_net: nn.Module, other_net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Tensor]] = []

    def watched(model: FrozenModel, images: Tensor) -> Tensor:
        seen[-1].append(images.clone())
        return predict(model, images)

    sets = [judge(digits_net), judge(other_net)]
    monkeypatch.setattr(sanity, "predict", watched)
    before = random_states()
    for of in sets:
        seen.append([])
        stood = sanity.noise_survivors(of, FAR)
        right = [predict(of.model, drawn) == of.labels for drawn in seen[-1]]
        assert torch.equal(stood, of.clean & torch.stack(right).all(0))
        assert not torch.equal(stood, of.clean)
    assert random_states() == before
    assert [len(drawn) for drawn in seen] == [sanity.NOISE_DRAWS, sanity.NOISE_DRAWS]
    assert all(torch.equal(one, two) for one, two in zip(*seen, strict=True))
    assert len({drawn.numpy().tobytes() for drawn in seen[0]}) == sanity.NOISE_DRAWS
    for drawn in seen[0]:
        moved = (drawn - sets[0].images).abs()
        assert 0.9 * FAR.pixels < float(moved.max()) <= FAR.pixels + 1e-6
        assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1


# Gradients.


def cross_entropy_then_dlr(fooled: float) -> list[Any]:
    """Outcomes of APGD-CE and then of APGD-DLR, which fooled a share of the images."""
    return [{"attack": name, "norm": "Linf", "eps": 1.0, "fooled": fooled * IMAGES} for name in ("apgd_ce", "apgd_dlr")]


def test_gradients_measures_zero_gradients_margins_and_the_images_that_cross_entropy_missed(
    judge: Judge, digits_net: nn.Module
) -> None:
    fine, missed = (
        run_check("gradients", case(judge(digits_net), outcomes=cross_entropy_then_dlr(share)))
        for share in (0.1, 0.1001)
    )
    assert fine["flag"] is None
    assert fine["figures"]["zero gradients"] == 0
    assert fine["figures"]["CE - DLR"] == 0.1
    assert missed["flag"] == "APGD-DLR fools 10.0% of the images after APGD-CE failed"
    other_order = run_check("gradients", case(judge(digits_net), outcomes=cross_entropy_then_dlr(0.5)[::-1]))
    assert list(other_order["figures"]) == ["zero gradients", "median margin"]
    loud = run_check("gradients", case(judge(Scaled(digits_net, 1e4))))
    assert loud["figures"]["zero gradients"] > 0.5
    assert loud["figures"]["median margin"] == pytest.approx(1e4 * fine["figures"]["median margin"], rel=1e-3)
    assert "cross-entropy gradient of exactly 0" in str(loud["flag"])


def test_gradients_takes_the_margin_over_the_best_other_class(judge: Judge, digits_net: nn.Module) -> None:
    of = judge(digits_net)
    with torch.no_grad():
        outputs = of.model(of.images)
    margins = [
        float(row[label] - max(row[other] for other in range(10) if other != label))
        for row, label in zip(outputs, of.labels, strict=True)
    ]
    expected = sorted(margins)[(len(margins) - 1) // 2]
    assert run_check("gradients", case(of))["figures"]["median margin"] == pytest.approx(expected, abs=1e-3)


# Logit scale.


def test_logit_scale_finds_logits_that_hide_from_pgd(judge: Judge, digits_net: nn.Module) -> None:
    fine, loud = (
        run_check("logit scale", case(judge(Scaled(digits_net, scale)), radius=FAR)) for scale in (1.0, 100.0)
    )
    assert fine["flag"] is None
    hidden = loud["figures"]["PGD, logits x1"] - loud["figures"]["PGD, logits x0.1"]
    assert hidden > 0.25
    assert loud["flag"] == (
        f"{hidden:.1%} more images survive PGD at Linf 24/255 than with its logits scaled: PGD flatters the network"
    )


# Attacks after the suite: Square, more steps, transfer, the reference.


@pytest.mark.parametrize(("fooled", "flag"), [(0, False), (1, False), (2, True)])
def test_black_box_allows_one_image_of_few_and_spends_the_queries_asked_for(
    fooled: int, flag: bool, judge: Judge, digits_net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Attack] = []

    def planned(_of: AttackedSet, left: Tensor, _radius: Radius, attack: Attack) -> Tensor:
        asked.append(attack)
        return left & (torch.arange(IMAGES) >= fooled)

    monkeypatch.setattr(sanity, "survivors", planned)
    found = run_check("black box", case(judge(digits_net), torch.arange(IMAGES) < 40))
    assert found["figures"] == {"fooled": fooled, "stood": 40, "images": IMAGES}
    assert (found["flag"] is not None) == flag
    assert asked == [Attack(name="square", steps=100)]


def test_more_steps_finds_a_suite_that_was_cut_short(judge: Judge, digits_net: nn.Module) -> None:
    whole = case(judge(digits_net), radius=FAR, eps=(24.0,), attacks=(Attack(name="pgd", steps=20),))
    of = whole.first("repeated")
    converged = survivors(of.attacked, of.left, FAR, whole.settings.attacks[0])
    one_step = survivors(of.attacked, of.left, FAR, Attack(name="apgd_dlr", steps=1))
    fine, cut = (run_check("more steps", of._replace(left=left)) for left in (converged, one_step))
    assert fine["flag"] is None
    assert (fine["figures"]["stood"], fine["figures"]["images"]) == (int(converged.sum()), 32)
    assert cut["figures"]["fooled"] > 1
    assert cut["flag"] is not None


def test_more_steps_repeats_every_attack_with_steps_but_never_with_fewer(
    judge: Judge, digits_net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def planned(_of: AttackedSet, left: Tensor, _radius: Radius, attack: Attack) -> Tensor:
        asked.append((attack.name, attack.steps))
        return left & (torch.arange(len(left)) >= 2)

    monkeypatch.setattr(sanity, "survivors", planned)
    attacks = [("fgsm", 1), ("pgd", 5), ("apgd_dlr", 20), ("square", 500)]
    chosen = tuple(Attack(name=name, steps=steps) for name, steps in attacks)
    found = run_check("more steps", case(judge(digits_net), torch.ones(IMAGES, dtype=torch.bool), attacks=chosen))
    assert asked == [("pgd", 30), ("apgd_dlr", 30), ("square", 500)]
    assert str(found["flag"]).startswith("with 30 steps the attacks fool 2 more of 32 images at Linf 16/255")


def test_transfer_finds_images_of_another_network_that_are_stronger(
    judge: Judge, digits_net: nn.Module, other_net: nn.Module
) -> None:
    of = judge(digits_net)
    left = survivors(of, of.clean, NEAR, SUITE[0])
    fine = run_check("transfer", case(of, left, surrogate=lambda: other_net))
    assert fine["flag"] is None
    assert fine["figures"]["white box"] == round(int(left.sum()) / IMAGES, 4)
    assert fine["figures"]["white box"] < fine["figures"]["transfer"] < 1
    blind = run_check("transfer", case(of, surrogate=lambda: digits_net))  # as if the attacks had found nothing
    assert "images made for another network fool" in str(blind["flag"])
    assert "a transfer attack is stronger than the white-box attacks" in str(blind["flag"])
    assert blind["figures"]["odd images"] > 0.02 * IMAGES


def test_transfer_counts_no_image_that_was_wrong_before(
    judge: Judge, digits_net: nn.Module, other_net: nn.Module
) -> None:
    of = judge(digits_net)
    clean = of.clean & (torch.arange(IMAGES) >= IMAGES // 2)
    some = case(of._replace(clean=clean), radius=Radius("Linf", 0.01), surrogate=lambda: other_net)
    assert run_check("transfer", some)["figures"]["transfer"] == round(int(clean.sum()) / IMAGES, 4)


def test_the_reference_finds_what_a_weak_suite_left(judge: Judge, digits_net: nn.Module) -> None:
    of, before = judge(digits_net), random_states()
    weak = run_check("reference AutoAttack", case(of, radius=FAR))
    assert random_states() == before
    assert weak["figures"]["fooled"] > 0.3 * weak["figures"]["images"]
    assert "it is too weak" in str(weak["flag"])
    left = of.clean
    for name, steps in (("apgd_ce", 20), ("apgd_t", 10)):
        left = survivors(of, left, FAR, Attack(name=name, steps=steps))
    strong = run_check("reference AutoAttack", case(of, left, radius=FAR))
    assert (strong["flag"], strong["figures"]["stood"]) == (None, int(left[:32].sum()))
    none = run_check("reference AutoAttack", case(of, torch.zeros(IMAGES, dtype=torch.bool), radius=FAR))
    assert none["figures"] == {"fooled": 0, "stood": 0, "images": 32}


# Batch.


@pytest.mark.parametrize(
    ("planted", "differing"),
    [
        (lambda model: Before(lambda images: images - images.mean(0), model), {"alone", "among others"}),
        (lambda model: After(lambda logits: logits / len(logits), model), {"alone", "among others"}),
        (lambda model: Before(lambda images: images.flip(0), model), {"alone", "among others"}),
        (lambda model: PlainList(copy.deepcopy(model).train()), {"alone", "among others"}),
        (NoiseByPlace, {"alone", "reversed"}),
        (HonestWithoutGradient, {"with gradients"}),
    ],
    ids=["batch mean", "batch size", "order", "training mode", "noise by place", "gradients"],
)
def test_logits_that_depend_on_more_than_the_image_are_flagged(
    planted: Callable[[nn.Module], nn.Module], differing: set[str], judge: Judge, digits_net: nn.Module
) -> None:
    found, fine = (run_check("batch", case(judge(net))) for net in (planted(digits_net), digits_net))
    assert differing <= {name for name, value in found["figures"].items() if value > 0.01}
    text = "differ where gradients are computed" if differing == {"with gradients"} else "depend on its batch"
    assert text in str(found["flag"])
    assert fine["flag"] is None
    assert max(fine["figures"].values()) < 1e-4
