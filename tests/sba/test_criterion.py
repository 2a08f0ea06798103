"""Any criterion: the caller's own loss to the last bit in a plain step, the formula in an augmented one."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from networks.sba_cases import batch, divergence, generator, gradients, image_network, images, make, network
from torch import Tensor, nn

from sba.call import Criterion
from sba.loss import counted, soft_label_loss

Y = batch(12)[1]
PROBABILITIES = torch.rand(12, 4, generator=generator(9)).softmax(1)
WITH_IGNORED = torch.where(torch.arange(12) % 3 == 0, -100, Y)
VOID = torch.where(torch.arange(12) % 3 == 0, 255, Y)


def focal(logits: Tensor, targets: Tensor) -> Tensor:
    """Lin et al., arXiv:1708.02002, equation 4, for each example."""
    each = F.cross_entropy(logits, targets, reduction="none")
    return (1 - (-each).exp()) ** 2 * each


def pairs(logits: Tensor, targets: Any) -> Tensor:
    """The loss of mixup, on pairs of class indices."""
    return 0.3 * F.cross_entropy(logits, targets["first"]) + 0.7 * F.cross_entropy(logits, targets["other"])


class Case(NamedTuple):
    """A criterion, targets that it takes, and which of the 12 examples it counts (None: all)."""

    criterion: Criterion
    targets: Any
    counts: Tensor | None = None


SOME = torch.arange(12) % 3 != 0
WEIGHTS = torch.tensor([0.0, 1.0, 2.0, 0.5])
CASES: dict[str, Case] = {
    "cross-entropy": Case(F.cross_entropy, Y),
    "ignored": Case(F.cross_entropy, WITH_IGNORED, SOME),
    "probabilities": Case(F.cross_entropy, PROBABILITIES),
    "module": Case(nn.CrossEntropyLoss(label_smoothing=0.1), Y),
    "ignore_index of a module": Case(nn.CrossEntropyLoss(ignore_index=255), VOID, SOME),
    "ignore_index of a partial": Case(functools.partial(F.cross_entropy, ignore_index=255), VOID, SOME),
    "ignore_index that is a class": Case(lambda z, y: F.cross_entropy(z, y, ignore_index=1), Y, Y != 1),
    "class weights, one of them 0": Case(nn.CrossEntropyLoss(weight=WEIGHTS), Y, Y != 0),
    "mask": Case(lambda z, y: (F.cross_entropy(z, y[0], reduction="none") * y[1]).sum() / 7, (Y, SOME * 1.0), SOME),
    "sum": Case(functools.partial(F.cross_entropy, reduction="sum"), Y),
    "each example": Case(focal, Y),
    "binary": Case(F.binary_cross_entropy_with_logits, F.one_hot(Y, 4).float()),
    "pairs": Case(pairs, {"first": Y, "other": Y.flip(0)}),
}


def mean(loss: Tensor) -> Tensor:
    return loss.mean() if loss.dim() else loss


@pytest.mark.parametrize("name", CASES)
def test_a_step_that_is_not_augmented_is_the_callers_own_loss_to_the_last_bit(name: str) -> None:
    case, x, model = CASES[name], batch(12)[0], network()
    expected = mean(case.criterion(model(x), case.targets))
    step = make(p=0.0)(model, x, case.targets, generator=generator(), criterion=case.criterion)
    assert torch.equal(step.loss, expected)
    step.loss.backward()
    ours = gradients(model)
    expected.backward()
    assert all(map(torch.equal, ours, gradients(model)))


def copies_of(model: nn.Module, x: Tensor, case: Case, **settings: Any) -> tuple[Tensor, list[Tensor]]:
    """Return the loss of a step with three copies, and the logits of originals and of each copy."""
    seen: list[Tensor] = []

    def forward(network: nn.Module, inputs: Tensor) -> Tensor:
        seen.append(network(inputs))
        return seen[-1]

    sba = make(copies=3, alpha=0.7, kl_weight=1.5, **settings)
    step = sba(model, x, case.targets, generator=generator(), criterion=case.criterion, forward=forward)
    return step.loss, list(seen[0].chunk(4))


@pytest.mark.parametrize("name", CASES)
def test_an_augmented_step_is_the_formula_averaged_over_the_examples_that_the_criterion_counts(name: str) -> None:
    case = CASES[name]
    loss, (z, *copies) = copies_of(network(), batch(12)[0], case)
    counts = torch.ones(12, dtype=torch.bool) if case.counts is None else case.counts
    assert 0 < int(counts.sum()) <= 12
    expected = mean(case.criterion(z, case.targets))
    for z_m in copies:
        term = 0.7 * mean(case.criterion(z_m, case.targets)) + 1.5 * divergence(z, z_m, Y)[counts].mean()
        expected = expected + term / 3
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-5)


def test_where_everything_is_ignored_the_divergence_is_zero_and_not_nan() -> None:
    case = Case(lambda z, y: F.cross_entropy(z, y, reduction="sum"), torch.full((12,), -100))
    loss, _ = copies_of(network(), batch(12)[0], case)
    assert float(loss.detach()) == 0


def test_without_gradients_only_the_default_criterion_is_known_to_ignore_examples() -> None:
    logits = torch.randn(12, 4, generator=generator())
    void = functools.partial(F.cross_entropy, ignore_index=255)
    assert counted(void, void(logits, VOID), logits, VOID) is None
    with torch.no_grad():
        found = counted(F.cross_entropy, F.cross_entropy(logits, WITH_IGNORED), logits, WITH_IGNORED)
    assert found is not None
    assert torch.equal(found, SOME)


@pytest.mark.parametrize("settings", [{"label_mix": 0.3}, {"soft_label": "dark_knowledge"}])
def test_the_label_in_the_soft_label_survives_an_ignored_place(settings: dict[str, Any]) -> None:
    found = []
    for targets, ignored in ((WITH_IGNORED, -100), (VOID, 255)):
        case = Case(functools.partial(F.cross_entropy, ignore_index=ignored), targets)
        found.append(copies_of(network(), batch(12)[0], case, **settings)[0])
    torch.testing.assert_close(*found)
    assert bool(found[0].isfinite())


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("divergence", ["kl", "symmetric"])
@pytest.mark.parametrize("soft_label", [{}, {"label_mix": 0.3}, {"soft_label": "dark_knowledge"}], ids=str)
def test_a_class_masked_out_by_a_logit_of_minus_infinity_is_as_one_that_is_not_there(
    soft_label: dict[str, Any], divergence: str, gradient: bool
) -> None:
    settings = make(**soft_label, divergence=divergence, label_gradient=gradient, temperature=2.0)
    losses, slopes = list[Tensor](), []
    for classes in (slice(None), slice(4)):
        z, z_m = (torch.randn(n, 6, generator=generator(n)).requires_grad_() for n in (12, 36))
        logits, virtual = (of.masked_fill(torch.arange(6) >= 4, -torch.inf)[:, classes] for of in (z, z_m))
        losses.append(soft_label_loss(logits, virtual, Y, settings))
        losses[-1].backward()
        slopes.append([z_m.grad, *([z.grad] if gradient else [])])
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*slopes)
    assert float(losses[0].detach()) > 0.01


def test_probabilities_mix_into_the_soft_label_as_their_class_index_would() -> None:
    losses = [
        copies_of(network(), batch(12)[0], Case(F.cross_entropy, targets), label_mix=0.3)[0]
        for targets in (Y, F.one_hot(Y, 4).float())
    ]
    torch.testing.assert_close(*losses)


WRONG: dict[str, Callable[[Tensor, Any], Any]] = {
    r"float32 \(\d+, 4\)": lambda z, _: z,
    r"float32 \(3,\)": lambda z, _: z[:3, 0],
    r"int64 \(\)": lambda _, y: y.sum(),
    "a float": lambda z, _: float(z.detach().mean()),
    "a NoneType": lambda *_: None,
    "a tuple": lambda z, _: (z.mean(), z),
}


@pytest.mark.parametrize("found", WRONG)
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_criterion_that_returns_no_loss_is_refused(found: str, p: float) -> None:
    message = rf"^criterion must return a scalar loss, or one for each of the 12 examples; it returned {found}.*\.$"
    with pytest.raises(ValueError, match=message):
        make(p=p)(network(), *batch(12), generator=generator(), criterion=WRONG[found])


def dense() -> nn.Sequential:
    """A network with logits (N, 4, 8, 8) for images (N, 3, 8, 8)."""
    return nn.Sequential(*list(image_network())[:3], nn.Conv2d(4, 4, 1))


@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize("tau", [None, 0.5])
def test_segmentation_logits_average_over_examples_and_their_places(void: bool, tau: float | None) -> None:
    labels = torch.randint(4, (8, 8, 8), generator=generator(2))
    counts = torch.rand(8, 8, 8, generator=generator(4)) < (0.7 if void else 2.0)
    case = Case(F.cross_entropy, torch.where(counts, labels, -100))
    loss, (z, *copies) = copies_of(dense(), images()[0], case, similarity_tau=tau)
    weight = math.exp(-1 / 2) if tau else 1.0  # each distance is near 0.5
    expected = F.cross_entropy(z, case.targets)
    for z_m in copies:
        term = 0.7 * F.cross_entropy(z_m, case.targets) + 1.5 * weight * divergence(z, z_m, labels)[counts].mean()
        expected = expected + term / 3
    assert z.shape == (8, 4, 8, 8)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=0.01 if tau else 1e-5)


@pytest.mark.parametrize(
    "settings", [{"label_mix": 0.4}, {"soft_label": "dark_knowledge"}, {"divergence": "symmetric"}]
)
def test_a_reading_of_the_soft_label_is_for_each_place_as_for_an_example(settings: dict[str, Any]) -> None:
    labels = torch.randint(4, (4, 8, 8), generator=generator(2))
    loss, (z, *copies) = copies_of(dense(), images(4)[0], Case(F.cross_entropy, labels), **settings)

    def flat(rows: Tensor) -> Tensor:
        return rows.movedim(1, -1).flatten(0, 2)

    virtual = torch.cat([flat(z_m) for z_m in copies])
    of_places = soft_label_loss(flat(z), virtual, labels.flatten(), make(**settings))
    hard = torch.stack([F.cross_entropy(z_m, labels) for z_m in copies]).mean()
    torch.testing.assert_close(loss, F.cross_entropy(z, labels) + 0.7 * hard + 1.5 * of_places, atol=1e-6, rtol=1e-5)
