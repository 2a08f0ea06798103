"""Sanity checks 1 to 4 and 6, which cost nothing or little: state, logits, eps = 0, the curve, gradients."""

from collections.abc import Callable

import pytest
import torch
from around import Around
from sanity_nets import AlwaysTraining, Counts, Noisy, RoundedImages, Softmax, settings
from tiny_study import random_states
from torch import Tensor, nn

from benchmark.evaluation import sanity_checks as sanity
from benchmark.evaluation.joint import Subject
from benchmark.evaluation.sanity_checks import Scaled
from benchmark.settings.preset import Attack

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
    kind: type[Around], said: str, figures: list[int], judge: Callable[[nn.Module], Subject], digits_net: nn.Module
) -> None:
    found, fine = sanity.unchanged(judge(kind(digits_net))), sanity.unchanged(judge(digits_net))
    assert found["flag"] == said
    assert list(found["figures"].values()) == figures
    assert (fine["flag"], list(fine["figures"].values())) == (None, [0, 0, 0])


def test_check_1_names_every_problem_and_leaves_the_global_generators(
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module
) -> None:
    of, before = judge(AlwaysTraining(Counts(Noisy(digits_net)))), random_states()
    flag = str(sanity.unchanged(of)["flag"])
    assert flag.count("; ") == 2
    assert random_states() == before


# 2. Logits.


def test_check_2_finds_probabilities_and_outputs_that_change(
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module
) -> None:
    assert sanity.logits(judge(digits_net))["figures"] == {"relative difference": 0.0, "probabilities": 0.0}
    softmax = sanity.logits(judge(Softmax(digits_net)))
    assert softmax["figures"]["probabilities"] == 1
    assert "returns probabilities; leave out the softmax" in str(softmax["flag"])
    assert "two forward passes differ" in str(sanity.logits(judge(Noisy(digits_net)))["flag"])
    both = sanity.logits(judge(Noisy(Softmax(Noisy(digits_net)))))["flag"]
    assert str(both).count("; ") == 2  # one of them is within a sentence


def test_check_2_takes_anything_but_probabilities_for_logits(
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module
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

    scaled = (Scaled(digits_net, scale) for scale in (1e-6, 1e6))
    for model in (LogSoftmax(digits_net), SumToOne(digits_net), Positive(digits_net), *scaled):
        assert sanity.logits(judge(model))["flag"] is None


# 3. eps = 0.


def test_check_3_finds_a_network_that_a_ball_of_radius_0_fools(
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        noisy = sanity.nothing_at_zero(judge(Noisy(digits_net)))
    fine = sanity.nothing_at_zero(judge(digits_net))
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
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module
) -> None:
    of, few = judge(RoundedImages(digits_net)), settings(attacks=(Attack(name="apgd_ce", steps=3),))
    assert sanity.extreme(of, few) > 0.5
    assert sanity.extreme(judge(digits_net), settings()) == 0


# 6. Gradients.


def test_check_6_measures_zero_gradients_margins_and_what_cross_entropy_missed(
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module
) -> None:
    fine, loud = sanity.gradients(judge(digits_net), 0.1), sanity.gradients(judge(Scaled(digits_net, 1e4)), 0.0)
    assert fine["flag"] is None
    assert fine["figures"]["zero gradients"] == 0
    assert fine["figures"]["CE - DLR"] == 0.1
    assert loud["figures"]["zero gradients"] > 0.5
    assert loud["figures"]["median margin"] == pytest.approx(1e4 * fine["figures"]["median margin"], rel=1e-3)
    assert "cross-entropy gradient of exactly 0" in str(loud["flag"])
    missed = sanity.gradients(judge(digits_net), 0.1001)
    assert missed["flag"] == "APGD-DLR fools 10.0% of the images after APGD-CE failed"


def test_check_6_takes_the_margin_over_the_best_other_class(
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module
) -> None:
    of = judge(digits_net)
    with torch.no_grad():
        outputs = of.model(of.images)
    margins = [
        float(row[label] - max(row[other] for other in range(10) if other != label))
        for row, label in zip(outputs, of.labels, strict=True)
    ]
    expected = sorted(margins)[(len(margins) - 1) // 2]
    assert sanity.gradients(of, 0.0)["figures"]["median margin"] == pytest.approx(expected, abs=1e-3)
