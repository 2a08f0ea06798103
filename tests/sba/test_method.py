"""The loss of SBA and its gradient, recomputed from captured activations by the plain formula; exact special cases."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks.sba_cases import LAYER, batch, divergence, generator, gradients, look, make, network, train
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
NORMALISED = {
    f"{name}, {mode}": LOSS_READINGS[name] | BATCHNORM[mode]
    for name in ("similarity", "label gradient", "nothing below, hard label too")
    for mode in BATCHNORM
}


def formula(model: nn.Sequential, h_seen: Tensor, virtual: Tensor, y: Tensor, **reading: Any) -> tuple[Tensor, Tensor]:
    """Return the loss and the originals' logits, with the captured noise as a constant."""
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
    for z_m, copied in zip(rest, virtual, strict=True):
        distance = (copied - h_seen).flatten(1).square().mean(1).sqrt() / h_seen.std(correction=0)
        w = torch.exp(-(distance**2) / (2 * tau**2)) if tau else torch.ones(len(y))
        term = share * alpha * F.cross_entropy(z_m, y)
        term = term + reading.get("kl_weight", 1.0) * (w * divergence(z, z_m, y, **reading)).mean()
        loss = loss + term / len(rest)
    return loss, z


@pytest.mark.parametrize("name", LOSS_READINGS | NOISE_READINGS | NORMALISED)
def test_the_loss_is_the_formula_with_its_gradient(name: str) -> None:
    reading = (LOSS_READINGS | NOISE_READINGS | NORMALISED)[name]
    model, data = network(norm=name in NORMALISED), batch(12)
    twin = copy.deepcopy(model)
    seen = look(make(**reading), model, data)
    seen.step.loss.backward()
    expected, logits = formula(twin, seen.h, seen.virtual, data[1], **reading)
    expected.backward()
    torch.testing.assert_close(seen.step.loss, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(seen.step.logits, logits, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradients(model), gradients(twin), atol=1e-6, rtol=1e-4)
    if reading.get("batchnorm") != "originals":  # where `formula` moves the statistics by the copies
        torch.testing.assert_close(list(model.buffers()), list(twin.buffers()), atol=1e-6, rtol=1e-5)
    assert (seen.step.virtual, seen.step.layer) == (12 * reading.get("copies", 1), LAYER)


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


@pytest.mark.parametrize("name", LOSS_READINGS)
def test_confident_logits_give_a_finite_loss_and_gradient(name: str) -> None:
    model = network()
    with torch.no_grad():
        next(model[6].parameters()).mul_(3000)
    step = make(**LOSS_READINGS[name])(model, *batch(), generator=generator())
    step.loss.backward()
    assert bool(step.loss.isfinite())
    assert all(bool(gradient.isfinite().all()) for gradient in gradients(model))


def above_plain(step: Step, y: Tensor) -> float:
    return float((step.loss - F.cross_entropy(step.logits, y)).detach())


@pytest.mark.parametrize(
    ("settings", "ramp"),
    [
        ({"kl_ramp_steps": 1}, [0, 1, 1]),
        ({"kl_ramp_steps": 4, "alpha": 1.0}, [0, 1 / 4, 1 / 2, 3 / 4, 1, 1]),
        ({"kl_ramp_steps": 4, "warmup_steps": 2}, [None, None, 0, 1 / 4, 1 / 2, 3 / 4, 1]),
        ({"kl_ramp_steps": 8, "scheduler": "every_nth", "p": 0.5}, [None, 1 / 8, None, 3 / 8, None, 5 / 8]),
    ],
)
def test_the_weight_of_the_divergence_ramps_up_after_the_warm_up_and_counts_every_step(
    settings: dict[str, Any], ramp: list[float | None]
) -> None:
    model, (x, y) = network(), batch()
    fixed = {"alpha": settings.get("alpha", 0.0), "scheduler": settings.get("scheduler", "bernoulli")}
    base, whole = (
        above_plain(make(kl_weight=weight, **fixed)(model, x, y, generator=generator()), y) for weight in (0.0, 1.5)
    )
    ramped = make(kl_weight=1.5, **settings)
    found = [above_plain(ramped(model, x, y, generator=generator()), y) for _ in ramp]
    expected = [0 if part is None else base + (whole - base) * part for part in ramp]  # None: not augmented
    assert whole - base > 1e-3
    assert found == pytest.approx(expected, abs=2e-6)


def test_without_weights_and_batchnorm_it_is_plain_training() -> None:
    (x, y), model, twin = batch(), network().double(), network().double()
    x, sba, draws = x.double(), make(kl_weight=0.0, alpha=0.0), generator()
    plain = train(twin, lambda: F.cross_entropy(twin(x), y))
    ours = train(model, lambda: sba(model, x, y, generator=draws).loss)
    # A product of 16 rows may add in another order than one of 8.
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=1e-12)
