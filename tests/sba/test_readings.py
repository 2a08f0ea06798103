"""Each reading of the loss: recomputed from captured activations by the plain formula, values and gradients."""

import copy
import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sba_cases import LAYER, batch, generator, gradients, look, make, network
from torch import Tensor, nn

from sba import Step

LOSS_READINGS: dict[str, dict[str, Any]] = {
    "hard label too": {"alpha": 0.7},
    "weight": {"kl_weight": 1.5},
    "no weight": {"kl_weight": 0.0},
    "temperature": {"temperature": 4.0},
    "dark knowledge": {"soft_label": "dark_knowledge"},
    "label mix": {"label_mix": 0.3},
    "hard label only": {"label_mix": 1.0},
    "label gradient": {"label_gradient": True},
    "label gradient, mix": {"label_gradient": True, "label_mix": 0.3},
    "label gradient, dark knowledge": {"label_gradient": True, "soft_label": "dark_knowledge"},
    "symmetric": {"divergence": "symmetric"},
    "symmetric, dark knowledge": {"divergence": "symmetric", "soft_label": "dark_knowledge"},
    "symmetric, mix, gradient": {"divergence": "symmetric", "label_mix": 0.4, "label_gradient": True},
    "mean of hard labels": {"alpha": 0.7, "hard_labels": "mean"},
    "mean of hard labels alone": {"alpha": 1.0, "kl_weight": 0.0, "hard_labels": "mean"},
    "similarity": {"similarity_tau": 0.4},
    "nothing below": {"gradient_below": False},
    "nothing below, hard label too": {"gradient_below": False, "alpha": 1.0, "divergence": "symmetric"},
}
NOISE_READINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "three copies": {"copies": 3, "alpha": 0.5, "similarity_tau": 0.3, "noise_jitter": 1.0},
    "absolute": {"noise_unit": "absolute", "similarity_tau": 1.0},
    "channels": {"noise_unit": "channel_std", "similarity_tau": 0.5},
    "ball": {"noise_kind": "uniform_ball", "copies": 2, "similarity_tau": 0.5},
}
BATCHNORM: dict[str, dict[str, Any]] = {"joint": {"copies": 2}, "originals": {"batchnorm": "originals"}}


def divergence(z: Tensor, z_m: Tensor, y: Tensor, **reading: Any) -> Tensor:  # (N,), from probabilities
    if reading.get("soft_label") == "dark_knowledge":
        others = torch.tensor([[c for c in range(z.shape[1]) if c != label] for label in y.tolist()])
        z, z_m = z.gather(1, others), z_m.gather(1, others)
    temperature, mix = reading.get("temperature", 2.0), reading.get("label_mix", 0.0)
    q, p = torch.softmax(z / temperature, dim=1), torch.softmax(z_m / temperature, dim=1)
    if mix:
        q = (1 - mix) * q + mix * F.one_hot(y, z.shape[1])
    q = q if reading.get("label_gradient") else q.detach()
    forward = (torch.xlogy(q, q) - torch.xlogy(q, p)).sum(1)
    if reading.get("divergence") != "symmetric":
        return forward
    return (forward + (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(1)) / 2


def formula(model: nn.Sequential, h_seen: Tensor, virtual: Tensor, y: Tensor, **reading: Any) -> tuple[Tensor, Tensor]:
    """Give the loss and the originals' logits, with the noise that was captured taken as constant."""
    h = model[:3](batch(len(y))[0])
    below = h if reading.get("gradient_below", True) else h.detach()
    copies = [below + (copied - h_seen) for copied in virtual]
    if reading.get("batchnorm") == "originals":
        z, *rest = (model[3:](rows) for rows in (h, *copies))
    else:
        z, *rest = model[3:](torch.cat([h, *copies])).split(len(y))
    alpha, tau = reading.get("alpha", 0.0), reading.get("similarity_tau")
    share = 1 / (1 + alpha) if reading.get("hard_labels") == "mean" else 1.0  # of each cross-entropy
    loss = share * F.cross_entropy(z, y)
    weight = reading.get("kl_weight", 1.0) * reading.get("temperature", 2.0) ** 2
    for z_m, copied in zip(rest, virtual, strict=True):
        distance = (copied - h_seen).flatten(1).square().mean(1).sqrt() / h_seen.std(correction=0)
        w = torch.exp(-(distance**2) / (2 * tau**2)) if tau else torch.ones(len(y))
        term = share * alpha * F.cross_entropy(z_m, y)
        term = term + weight * (w * divergence(z, z_m, y, **reading)).mean()
        loss = loss + term / len(rest)
    return loss, z


def above_plain(step: Step, y: Tensor) -> float:
    return float((step.loss - F.cross_entropy(step.logits, y)).detach())


def compare(model: nn.Sequential, reading: dict[str, Any]) -> None:
    twin, data = copy.deepcopy(model), batch(12)
    seen = look(make(**reading), model, data)
    seen.step.loss.backward()
    expected, logits = formula(twin, seen.h, seen.virtual, data[1], **reading)
    expected.backward()
    torch.testing.assert_close(seen.step.loss, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(seen.step.logits, logits, atol=1e-6, rtol=1e-5)
    for ours, theirs in zip(gradients(model), gradients(twin), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
    assert seen.step.virtual == 12 * reading.get("copies", 1)


@pytest.mark.parametrize("name", LOSS_READINGS)
def test_a_reading_of_the_loss_is_its_formula_with_its_gradient(name: str) -> None:
    compare(network(), LOSS_READINGS[name])


@pytest.mark.parametrize("name", NOISE_READINGS)
def test_the_loss_is_the_formula_whatever_the_noise(name: str) -> None:
    compare(network(), NOISE_READINGS[name])


@pytest.mark.parametrize("batchnorm", BATCHNORM)
@pytest.mark.parametrize("name", ["similarity", "label gradient", "nothing below, hard label too"])
def test_the_loss_is_the_formula_with_batchnorm(name: str, batchnorm: str) -> None:
    compare(network(norm=True), LOSS_READINGS[name] | BATCHNORM[batchnorm])


@pytest.mark.parametrize("name", LOSS_READINGS)
def test_a_reading_of_the_loss_changes_the_loss_or_the_gradient_and_nothing_else(name: str) -> None:
    seen, trunk = [], []
    for reading in ({}, LOSS_READINGS[name]):
        model = network()
        seen.append(look(make(**reading), model, batch()))
        seen[-1].step.loss.backward()
        trunk.append(gradients(model)[0])
    plain, read = seen
    assert torch.equal(plain.virtual, read.virtual)
    assert torch.equal(plain.step.logits, read.step.logits)
    assert torch.equal(plain.state, read.state)
    assert not torch.allclose(trunk[0], trunk[1])
    only_gradient = all(key in ("label_gradient", "gradient_below") for key in LOSS_READINGS[name])
    assert torch.equal(plain.step.loss, read.step.loss) == only_gradient


def test_the_similarity_weight_lowers_the_divergence_of_far_virtual_samples_most() -> None:
    excess = []
    for noise, tau in itertools.product((0.1, 1.0), (None, 0.5)):
        seen = look(make(noise=noise, similarity_tau=tau), network(), batch())
        excess.append(above_plain(seen.step, batch()[1]))
    near, near_weighted, far, far_weighted = excess
    assert near_weighted / near > 0.9
    assert 0 < far_weighted / far < 0.4


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("ramp", [1, 4])
def test_the_weight_of_the_divergence_alone_ramps_up_from_zero(ramp: int, alpha: float) -> None:
    model, (_, y) = network(), batch()
    ramped = make(kl_weight=1.5, kl_ramp_steps=ramp, alpha=alpha)
    full, without = (make(kl_weight=weight, alpha=alpha) for weight in (1.5, 0.0))
    steps = [sba(model, *batch(), generator=generator()) for sba in (without, full, *[ramped] * 7)]
    base, whole, *excess = [above_plain(step, y) for step in steps]
    assert excess == pytest.approx([base + (whole - base) * min(1, t / ramp) for t in range(7)], abs=1e-6)


def test_the_ramp_of_the_divergence_counts_steps_that_are_not_augmented_too() -> None:
    model, (_, y) = network(), batch()
    sba = make(scheduler="every_nth", p=0.5, kl_ramp_steps=8)
    excess = []
    for _ in range(6):  # the 2nd, 4th and 6th are augmented: t = 1, 3, 5
        step = sba(model, *batch(), generator=generator())
        excess.append(above_plain(step, y))
    assert excess[::2] == pytest.approx([0, 0, 0], abs=1e-7)
    assert excess[1] > 1e-4
    assert [excess[3] / excess[1], excess[5] / excess[1]] == pytest.approx([3, 5], rel=1e-2)


def test_the_hard_label_alone_as_soft_label_is_cross_entropy_on_virtual_samples() -> None:
    found = []
    for reading in ({"label_mix": 1.0, "temperature": 1.0}, {"alpha": 1.0, "kl_weight": 0.0}):
        model = network()
        step = make(copies=2, **reading)(model, *batch(), generator=generator())
        step.loss.backward()
        found.append([step.loss.detach(), *gradients(model)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("norm", [False, True])
def test_with_nothing_below_the_layers_up_to_it_learn_from_the_originals_alone(norm: bool) -> None:
    model, (x, y) = network(norm), batch()
    plain = copy.deepcopy(model)
    batchnorm = "originals" if norm else "joint"
    make(gradient_below=False, alpha=1.0, batchnorm=batchnorm)(model, x, y, generator=generator()).loss.backward()
    F.cross_entropy(plain(x), y).backward()
    pairs = zip(model.named_parameters(), plain.parameters(), strict=True)
    for (name, ours), theirs in pairs:
        assert ours.grad is not None
        assert theirs.grad is not None
        below = int(name.partition(".")[0]) <= int(LAYER) or (norm and name == "3.bias")  # before BatchNorm: zero
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6) == below, name


@pytest.mark.parametrize("name", LOSS_READINGS)
def test_very_sure_logits_give_a_finite_loss_and_gradient(name: str) -> None:
    model = network()
    with torch.no_grad():
        next(model[6].parameters()).mul_(3000)
    step = make(**LOSS_READINGS[name])(model, *batch(), generator=generator())
    step.loss.backward()
    assert bool(step.loss.isfinite())
    assert all(bool(gradient.isfinite().all()) for gradient in gradients(model))
