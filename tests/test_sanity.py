"""Sanity checks: an honest network raises no flag, and each planted way of looking robust raises its own."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from around import Around
from tiny_study import pixels_of, random_states
from torch import Tensor, nn

from benchmark import sanity
from benchmark.attacks import Victim, predict
from benchmark.data import Data, load_data, to_float
from benchmark.datasets import Split
from benchmark.evaluate import Evaluated, all_checks, attacked_images, evaluate, joint_curves
from benchmark.joint import Radius, Subject, attack_jointly, stands
from benchmark.models import weights_hash
from benchmark.plan import make_plan
from benchmark.preset_files import load_preset
from benchmark.records import unpack_bits
from benchmark.sanity import Scaled
from benchmark.schema import Check
from benchmark.settings import Attack, Checks, Evaluation
from benchmark.state import start
from benchmark.train import train_epoch

IMAGES = 64
NEAR = Radius("Linf", 16.0)
SUITE = (Attack(name="apgd_ce", steps=10), Attack(name="apgd_dlr", steps=10))
SPEND = Checks(images=IMAGES, square_queries=100, repeated=32, long_steps=30, reference_steps=5, reference_queries=30)
FREE = [1, 2, 3, 4, 6]
FIGURES = {
    1: ["training modules", "state changed", "random draws"],
    2: ["relative difference", "probabilities"],
    3: ["FGSM fooled", "PGD fooled"],
    4: ["largest rise", "at 64/255"],
    5: ["noise", "FGSM", "PGD", "odd images"],
    6: ["zero gradients", "median margin", "CE - DLR"],
    7: ["PGD, logits x0.1", "PGD, logits x1", "PGD, logits x10"],
    8: ["fooled", "stood", "images"],
    9: ["fooled", "stood", "images"],
    10: ["transfer", "white box", "odd images"],
    11: ["fooled", "stood", "images"],
}


def trained(seed: int) -> nn.Module:
    preset = load_preset("smoke", ("recipe.epochs=4",))
    data, run = load_data(preset.data, []), make_plan(preset, ["erm"], [seed])[0]
    state = start(run, data, torch.device("cpu"))
    for _ in range(4):
        train_epoch(run, state, data.train)
    return state.model.eval()


@pytest.fixture(scope="module")
def honest() -> nn.Module:
    """A network trained on all digits (about 95% correct)."""
    return trained(0)


@pytest.fixture(scope="module")
def other() -> nn.Module:
    """The same kind of network from another seed, to transfer images from."""
    return trained(1)


@pytest.fixture
def judge(digits: Data) -> Callable[[nn.Module], Subject]:
    """Give a maker of subjects: a network with the 64 digits it is judged on."""
    preset = load_preset("smoke", (f"evaluation.images={IMAGES}",))
    chosen = attacked_images(preset, digits.test)
    images, labels = to_float(pixels_of(digits.test)[chosen]).contiguous(), digits.test.labels[chosen]

    def make(model: nn.Module) -> Subject:
        victim = Victim(model)
        return Subject(victim, images, labels, predict(victim, images, 32) == labels, 10, 32, seed=5)

    return make


def settings(**changes: Any) -> Evaluation:
    values: dict[str, Any] = {"images": IMAGES, "batch_size": 32, "eps": (4.0, 16.0), "attacks": SUITE}
    return Evaluation(**values | {"checks": SPEND} | changes)


def silent(_text: str, _share: float) -> None:
    pass


def checked(of: Subject, surrogate: nn.Module, chosen: Evaluation | None = None) -> dict[int, Check]:
    """Attack, then run all checks as an evaluation does."""
    chosen = chosen or settings()
    outcomes = attack_jointly(of, chosen, silent)
    curves = joint_curves(outcomes, len(of.clean))
    found = all_checks(of, chosen, outcomes, curves, lambda: surrogate, silent)
    assert len({check["number"] for check in found}) == len(found)
    return {check["number"]: check for check in found}


def flags(of: dict[int, Check]) -> dict[int, str]:
    return {number: check["flag"] for number, check in of.items() if check["flag"]}


class RoundedImages(Around):
    """Its images have few grey levels: the gradient is zero almost everywhere, and the network as weak as before."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward((images * 15).round() / 15)


class RoundedLogits(Around):
    """Its logits lie on a grid: no gradient either, at the other end."""

    def forward(self, images: Tensor) -> Tensor:
        return (super().forward(images) * 1000).round() / 1000


class WrongGradient(Around):
    """Images pass as they are, gradients come back with every second sign turned: not zero, and no use."""

    def forward(self, images: Tensor) -> Tensor:
        signs = torch.ones(images.shape[-1])
        signs[::2] = -1
        return super().forward(images.detach() + (images - images.detach()) * signs)


class Noisy(Around):
    """A random layer that eval mode does not turn off."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + 0.1 * torch.randn_like(images))


class Softmax(Around):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(1)


class AlwaysTraining(Around):
    """eval() does not reach it."""

    def train(self, mode: bool = True) -> "AlwaysTraining":  # noqa: ARG002
        super().train(False)
        self.training = True
        return self


class Counts(Around):
    """A forward pass changes a buffer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.get_buffer("calls").add_(1)
        return super().forward(images)


# The whole, on an honest network and on planted ones.


def test_an_honest_network_raises_no_flag_in_any_check(
    judge: Callable[[nn.Module], Subject], honest: nn.Module, other: nn.Module
) -> None:
    found = checked(judge(honest), other)
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
    honest: nn.Module,
    other: nn.Module,
) -> None:
    found = flags(checked(judge(masked(honest)), other, settings(eps=(4.0, 16.0, 64.0))))
    assert raised <= found.keys()
    assert not {1, 2, 3} & found.keys()


# 1. State.


@pytest.mark.parametrize(
    ("kind", "said", "figures"),
    [
        (AlwaysTraining, "1 modules are in training mode", [1, 0, 0]),
        (Counts, "a forward pass changes parameters or buffers", [0, 1, 0]),
        (Noisy, "a forward pass draws random numbers", [0, 0, 1]),
    ],
)
def test_check_1_finds_training_mode_changed_buffers_and_random_draws(
    kind: type[Around], said: str, figures: list[int], judge: Callable[[nn.Module], Subject], honest: nn.Module
) -> None:
    found, fine = sanity.unchanged(judge(kind(honest))), sanity.unchanged(judge(honest))
    assert found["flag"] == said
    assert list(found["figures"].values()) == figures
    assert (fine["flag"], list(fine["figures"].values())) == (None, [0, 0, 0])


def test_check_1_names_every_problem_and_leaves_the_global_generators(
    judge: Callable[[nn.Module], Subject], honest: nn.Module
) -> None:
    of, before = judge(AlwaysTraining(Counts(Noisy(honest)))), random_states()
    flag = str(sanity.unchanged(of)["flag"])
    assert flag.count("; ") == 2
    assert random_states() == before


# 2. Logits.


def test_check_2_finds_probabilities_and_outputs_that_change(
    judge: Callable[[nn.Module], Subject], honest: nn.Module
) -> None:
    assert sanity.logits(judge(honest))["figures"] == {"relative difference": 0.0, "probabilities": 0.0}
    softmax = sanity.logits(judge(Softmax(honest)))
    assert softmax["figures"]["probabilities"] == 1
    assert "returns probabilities; leave out the softmax" in str(softmax["flag"])
    assert "two forward passes differ" in str(sanity.logits(judge(Noisy(honest)))["flag"])
    both = sanity.logits(judge(Noisy(Softmax(Noisy(honest)))))["flag"]
    assert str(both).count("; ") == 2  # one of them is within a sentence


def test_check_2_takes_anything_but_probabilities_for_logits(
    judge: Callable[[nn.Module], Subject], honest: nn.Module
) -> None:
    class LogSoftmax(Around):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).log_softmax(1)

    class SumToOne(Around):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            return logits - logits.mean(1, keepdim=True) + 0.1

    class Positive(Around):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).exp()

    scaled = (Scaled(honest, scale) for scale in (1e-6, 1e6))
    for model in (LogSoftmax(honest), SumToOne(honest), Positive(honest), *scaled):
        assert sanity.logits(judge(model))["flag"] is None


# 3. eps = 0.


def test_check_3_finds_a_network_that_a_ball_of_radius_0_fools(
    judge: Callable[[nn.Module], Subject], honest: nn.Module
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        noisy = sanity.nothing_at_zero(judge(Noisy(honest)))
    fine = sanity.nothing_at_zero(judge(honest))
    assert fine["figures"] == {"FGSM fooled": 0, "PGD fooled": 0}
    assert fine["flag"] is None
    lost = max(noisy["figures"].values())
    assert lost > 0
    assert noisy["flag"] == f"attacks with eps = 0 fool {lost:g} of 32 images"


# 4. The curve falls.


@pytest.mark.parametrize(
    ("clean", "curves", "extreme", "rise", "said"),
    [
        (0.9, {"Linf": [0.9, 0.5, 0.0]}, 0.0, 0.0, []),
        (0.9, {"Linf": [0.5, 0.5]}, 0.02, 0.0, []),
        (0.9, {"Linf": [0.5, 0.6]}, None, 0.1, ["rises with eps (Linf, by 10.0%)"]),
        (0.4, {"Linf": [0.5, 0.1]}, None, 0.1, ["rises with eps (Linf, by 10.0%)"]),
        (0.9, {"Linf": [0.5], "L2": [0.2, 0.25]}, 0.0, 0.05, ["rises with eps (L2, by 5.0%)"]),
        (0.9, {"Linf": [0.5, 0.1]}, 0.021, 0.0, ["accuracy is still 2.1% at Linf 64/255"]),
        (0.9, {"Linf": [0.1, 0.2], "L2": [0.95]}, 0.3, 0.1, ["(Linf, by 10.0%)", "(L2, by 5.0%)", "still 30.0%"]),
    ],
)
def test_check_4_finds_curves_that_rise_and_accuracy_at_64(
    clean: float, curves: dict[str, list[float]], extreme: float | None, rise: float, said: list[str]
) -> None:
    found = sanity.falls(clean, curves, extreme)
    assert found["figures"]["largest rise"] == pytest.approx(rise)
    assert ("at 64/255" in found["figures"]) == (extreme is not None)
    assert (found["flag"] is None) == (not said)
    assert all(part in str(found["flag"]) for part in said)
    assert str(found["flag"]).count("; ") == max(len(said) - 1, 0)


def test_check_4_sees_a_network_that_rounds_its_images_stand_at_64(
    judge: Callable[[nn.Module], Subject], honest: nn.Module
) -> None:
    of, few = judge(RoundedImages(honest)), settings(attacks=(Attack(name="apgd_ce", steps=3),))
    assert sanity.extreme(of, few) > 0.5
    assert sanity.extreme(judge(honest), settings()) == 0


# 5. The order of attacks.


def test_check_5_counts_images_that_fall_to_the_weaker_attack(
    judge: Callable[[nn.Module], Subject], honest: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = judge(honest)
    stood = {"fgsm": torch.ones(IMAGES, dtype=torch.bool), "pgd": torch.ones(IMAGES, dtype=torch.bool)}
    noise = torch.ones(IMAGES, dtype=torch.bool)
    monkeypatch.setattr(sanity, "stands", lambda *arguments: stood[arguments[3].name])
    monkeypatch.setattr(sanity, "stands_noise", lambda *_: noise)
    assert sanity.ordered(of, NEAR)["figures"]["odd images"] == 0
    noise[0] = False  # 1 of 64 is within the 2%
    assert (sanity.ordered(of, NEAR)["figures"]["odd images"], sanity.ordered(of, NEAR)["flag"]) == (1, None)
    stood["fgsm"][1:3] = False
    found = sanity.ordered(of, NEAR)
    assert found["figures"]["odd images"] == 3
    assert found["figures"]["FGSM"] == round(62 / 64, 4)
    assert str(found["flag"]).startswith("3 of 64 images stand against a stronger attack at Linf 16/255")


def test_noise_is_the_same_for_every_network_stays_in_the_ball_and_is_drawn_ten_times(
    judge: Callable[[nn.Module], Subject], honest: nn.Module, other: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Tensor]] = []

    def watched(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
        seen[-1].append(images.clone())
        return predict(model, images, batch_size)

    subjects = [judge(honest), judge(other)]
    monkeypatch.setattr(sanity, "predict", watched)
    before = random_states()
    for of in subjects:
        seen.append([])
        stood = sanity.stands_noise(of, NEAR)
        assert not (stood & ~of.clean).any()
    assert random_states() == before
    assert [len(drawn) for drawn in seen] == [sanity.NOISE_DRAWS, sanity.NOISE_DRAWS]
    assert all(torch.equal(one, two) for one, two in zip(*seen, strict=True))
    assert len({drawn.numpy().tobytes() for drawn in seen[0]}) == sanity.NOISE_DRAWS
    for drawn in seen[0]:
        moved = (drawn - subjects[0].images).abs()
        assert 0.9 * NEAR.pixels < float(moved.max()) <= NEAR.pixels + 1e-6
        assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1


def test_noise_far_beyond_the_attacks_fools(judge: Callable[[nn.Module], Subject], honest: nn.Module) -> None:
    of = judge(honest)
    near, far = (int(sanity.stands_noise(of, Radius("Linf", eps)).sum()) for eps in (1.0, 200.0))
    assert near > 0.9 * IMAGES
    assert far < 0.3 * IMAGES


# 6. Gradients.


def test_check_6_measures_zero_gradients_margins_and_what_cross_entropy_missed(
    judge: Callable[[nn.Module], Subject], honest: nn.Module
) -> None:
    fine, loud = sanity.gradients(judge(honest), 0.1), sanity.gradients(judge(Scaled(honest, 1e4)), 0.0)
    assert fine["flag"] is None
    assert fine["figures"]["zero gradients"] == 0
    assert fine["figures"]["CE - DLR"] == 0.1
    assert loud["figures"]["zero gradients"] > 0.5
    assert loud["figures"]["median margin"] == pytest.approx(1e4 * fine["figures"]["median margin"], rel=1e-3)
    assert "cross-entropy gradient of exactly 0" in str(loud["flag"])
    missed = sanity.gradients(judge(honest), 0.1001)
    assert missed["flag"] == "APGD-DLR fools 10.0% of the images after APGD-CE failed"


def test_check_6_takes_the_margin_over_the_best_other_class(
    judge: Callable[[nn.Module], Subject], honest: nn.Module
) -> None:
    of = judge(honest)
    with torch.no_grad():
        outputs = of.model(of.images)
    margins = [
        float(row[label] - max(row[other] for other in range(10) if other != label))
        for row, label in zip(outputs, of.labels, strict=True)
    ]
    expected = sorted(margins)[(len(margins) - 1) // 2]
    assert sanity.gradients(of, 0.0)["figures"]["median margin"] == pytest.approx(expected, abs=1e-3)


# 7. Logit scale.


def test_check_7_finds_logits_that_hide_from_pgd(judge: Callable[[nn.Module], Subject], honest: nn.Module) -> None:
    fine, loud = (sanity.scale_free(judge(Scaled(honest, scale)), NEAR) for scale in (1.0, 100.0))
    assert list(fine["figures"]) == FIGURES[7]
    assert fine["flag"] is None
    hidden = loud["figures"]["PGD, logits x1"] - loud["figures"]["PGD, logits x0.1"]
    assert hidden > 0.1
    assert loud["flag"] == (
        f"PGD leaves {hidden:.1%} more images standing at Linf 16/255 than with its logits scaled: it flatters them"
    )


# 8. The black box.


@pytest.mark.parametrize(("fooled", "flagged"), [(0, False), (1, False), (2, True)])
def test_check_8_allows_one_image_of_few(
    fooled: int,
    flagged: bool,
    judge: Callable[[nn.Module], Subject],
    honest: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = torch.arange(IMAGES) < 40
    monkeypatch.setattr(sanity, "stands", lambda _of, stood, *_: stood & (torch.arange(IMAGES) >= fooled))
    found = sanity.black_box(judge(honest), left, NEAR, 100)
    assert found["figures"] == {"fooled": fooled, "stood": 40, "images": IMAGES}
    assert (found["flag"] is not None) == flagged


def test_check_8_attacks_with_square_and_the_queries_asked_for(
    judge: Callable[[nn.Module], Subject], honest: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Attack] = []
    of = judge(honest)

    def watched(_of: Subject, left: Tensor, _radius: Radius, attack: Attack) -> Tensor:
        asked.append(attack)
        return left

    monkeypatch.setattr(sanity, "stands", watched)
    sanity.black_box(of, of.clean, NEAR, 123)
    assert asked == [Attack(name="square", steps=123)]


# 9. More steps.


def test_check_9_finds_a_suite_that_was_cut_short(judge: Callable[[nn.Module], Subject], honest: nn.Module) -> None:
    of, far = judge(honest), Radius("Linf", 24.0)
    for steps, flagged in ((1, True), (20, False)):
        chosen = settings(attacks=(Attack(name="pgd", steps=steps + 1),), eps=(24.0,))
        step = Attack(name="apgd_dlr", steps=steps)
        left = stands(of, of.clean, far, step) if flagged else stands(of, of.clean, far, chosen.attacks[0])
        found = sanity.converged(of, left, far, chosen, 40)
        assert found["figures"]["stood"] == int(left.sum())
        assert (found["flag"] is not None) == flagged
        assert (found["figures"]["fooled"] > 0.02 * IMAGES) == flagged


def test_check_9_repeats_every_attack_with_steps_but_never_with_fewer(
    judge: Callable[[nn.Module], Subject], honest: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    of = judge(honest)

    def watched(_of: Subject, left: Tensor, _radius: Radius, attack: Attack) -> Tensor:
        asked.append((attack.name, attack.steps))
        return left & (torch.arange(IMAGES) >= 2)

    monkeypatch.setattr(sanity, "stands", watched)
    attacks = [("fgsm", 1), ("pgd", 5), ("apgd_dlr", 20), ("square", 500)]
    chosen = settings(attacks=tuple(Attack(name=name, steps=steps) for name, steps in attacks))
    found = sanity.converged(of, torch.ones(IMAGES, dtype=torch.bool), NEAR, chosen, 100)
    assert asked == [("pgd", 100), ("apgd_dlr", 100), ("square", 500)]
    assert str(found["flag"]).startswith("with 100 steps the attacks fool 2 more of 64 images at Linf 16/255")


# 10. Transfer.


def test_check_10_finds_images_of_another_network_that_are_stronger(
    judge: Callable[[nn.Module], Subject], honest: nn.Module, other: nn.Module
) -> None:
    of = judge(honest)
    left = stands(of, of.clean, NEAR, SUITE[0])
    fine = sanity.transfer(of, left, NEAR, lambda: other)
    assert fine["flag"] is None
    assert fine["figures"]["white box"] == round(int(left.sum()) / IMAGES, 4)
    assert fine["figures"]["white box"] < fine["figures"]["transfer"] < 1
    blind = sanity.transfer(of, of.clean, NEAR, lambda: honest)  # as if the attacks had found nothing
    assert "images made for another network fool" in str(blind["flag"])
    assert "a transfer attack is stronger than the white-box attacks" in str(blind["flag"])
    assert blind["figures"]["odd images"] > 0.02 * IMAGES


def test_check_10_counts_no_image_that_was_wrong_before(
    judge: Callable[[nn.Module], Subject], honest: nn.Module, other: nn.Module
) -> None:
    of = judge(honest)
    clean = of.clean.clone()
    clean[: IMAGES // 2] = False
    some = of._replace(clean=clean)
    assert sanity.transfer(some, clean, Radius("Linf", 0.01), lambda: other)["figures"]["transfer"] == round(
        int(clean.sum()) / IMAGES, 4
    )


# 11. The reference.


def test_check_11_finds_what_a_weak_suite_left(judge: Callable[[nn.Module], Subject], honest: nn.Module) -> None:
    of, far = judge(honest), Radius("Linf", 24.0)
    before = random_states()
    weak = sanity.reference(of, of.clean, far, 5, 20)
    assert random_states() == before
    assert weak["figures"]["fooled"] > 0.3 * IMAGES
    assert "it is too weak" in str(weak["flag"])
    left = of.clean
    for name, steps in (("apgd_ce", 20), ("apgd_t", 10)):
        left = stands(of, left, far, Attack(name=name, steps=steps))
    strong = sanity.reference(of, left, far, 5, 20)
    assert (strong["flag"], strong["figures"]["stood"]) == (None, int(left.sum()))
    none = sanity.reference(of, torch.zeros(IMAGES, dtype=torch.bool), far, 5, 20)
    assert none["figures"] == {"fooled": 0, "stood": 0, "images": IMAGES}


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
    honest: nn.Module, other: nn.Module, digits: Data
) -> None:
    shares: list[float] = []
    texts: list[str] = []
    made: list[int] = []

    def told(text: str, share: float) -> None:
        texts.append(text)
        shares.append(share)

    def surrogate() -> nn.Module:
        made.append(1)
        return other

    honest.train()
    next(honest.children()).eval()
    modes, weights, before = [m.training for m in honest.modules()], weights_hash(honest), random_states()
    try:
        found = evaluated(honest, digits, surrogate, told, *CHECKS)
        assert [module.training for module in honest.modules()] == modes
    finally:
        honest.eval()
    assert weights_hash(honest) == weights
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


def test_an_evaluation_without_checks_makes_those_that_cost_nothing(honest: nn.Module, digits: Data) -> None:
    shares: list[float] = []

    def never() -> nn.Module:
        raise AssertionError("the surrogate was trained")

    found = evaluated(honest, digits, never, lambda _text, share: shares.append(share))
    wanted = {number: FIGURES[number] for number in FREE} | {4: ["largest rise"], 6: FIGURES[6][:2]}
    assert {check["number"]: list(check["figures"]) for check in found.checks} == wanted
    assert [check["number"] for check in found.checks] == FREE
    assert shares == sorted(shares)
    assert shares[-1] <= 1
    gradients = next(check["figures"] for check in found.checks if check["number"] == 6)
    assert found.robustness["zero_gradient_share"] == gradients["zero gradients"]
    assert found.robustness["median_margin"] == gradients["median margin"]


def test_the_bits_of_an_evaluation_are_in_the_order_of_the_split(honest: nn.Module, digits: Data) -> None:
    found = evaluated(honest, digits, nn.Identity, silent)
    n, whole = len(digits.test.labels), unpack_bits(found.clean["correct"], found.clean["n"])
    where = unpack_bits(found.robustness["images"], n)
    assert where.sum() == found.robustness["n"] == 32
    assert unpack_bits(found.robustness["clean"], 32).tolist() == whole[where].tolist()
    for outcome in found.robustness["attacks"]:
        assert not (unpack_bits(outcome["correct"], 32) & ~whole[where]).any()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_stop_the_evaluation(value: float, honest: nn.Module, digits: Data) -> None:
    class Broken(Around):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            return torch.where(images.mean((1, 2, 3))[:, None] > 0.3, value * torch.ones_like(logits), logits)

    with pytest.raises(FloatingPointError, match=r"logits are not finite for \d+ of 500 images"):
        evaluated(Broken(honest), digits, nn.Identity, silent)


def test_logits_that_are_not_finite_under_attack_stop_the_evaluation(honest: nn.Module, digits: Data) -> None:
    """The network is fine where the first column is black, as it is in every image; an attack makes it grey."""

    class Brittle(Around):
        def forward(self, images: Tensor) -> Tensor:
            black = images[:, :, :, 0].amax((1, 2)) < 0.004
            return super().forward(images) / black.float()[:, None]

    dark = pixels_of(digits.test).clone()
    dark[..., 0] = 0
    data = replace(digits, test=Split(dark, digits.test.labels))
    with pytest.raises(FloatingPointError, match=r"logits are not finite for \d+ of 16 images"):
        evaluated(Brittle(honest), data, nn.Identity, silent)
