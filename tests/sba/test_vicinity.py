"""Each reading of the noise, recovered from the activations that enter the module after the layer."""

from typing import Any

import pytest
import torch
from networks.sba_cases import batch, channels_last, generator, gradients, image_network, images, look, make, network
from scipy.stats import kstest
from torch import Tensor, nn

from sba.vicinity import virtual_activations

KINDS: dict[str, dict[str, Any]] = {
    "gaussian": {},
    "jitter": {"noise_jitter": 0.5},
    "ball": {"noise_kind": "uniform_ball"},
    "interpolation": {"noise_kind": "interpolation"},
    "channels": {"noise_unit": "channel_std"},
    "absolute": {"noise_unit": "absolute"},
}


def activations(n: int, *shape: int) -> tuple[Tensor, Tensor]:
    """Inputs whose second dimension's scales are 1, 2, 3, ... around 5."""
    scales = torch.arange(1.0, shape[0] + 1).view(-1, *[1] * (len(shape) - 1))
    return torch.randn(n, *shape, generator=generator(1)) * scales + 5, torch.arange(n) % 3


def added(data: tuple[Tensor, Tensor], **settings: Any) -> tuple[Tensor, Tensor]:
    """Return the activation (N, ...) after an identity, and the noise of each copy (M, N, ...)."""
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(data[0][0].numel(), 3))
    seen = look(make(layers=("0",), **settings), model, data, after=1)
    assert torch.equal(seen.h, data[0])
    return seen.h, seen.virtual - seen.h


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 5)])
def test_the_unit_scales_the_same_draws(shape: tuple[int, ...]) -> None:
    data = activations(200, *shape)
    deltas = {}
    for unit in ("absolute", "activation_std", "channel_std"):
        h, deltas[unit] = added(data, noise=0.4, noise_unit=unit, copies=2)
    others = [dim for dim in range(h.dim()) if dim != 1]
    eps = deltas["absolute"] / 0.4
    assert not torch.allclose(*eps)  # each copy has draws of its own
    assert float(eps.std()) == pytest.approx(1, abs=0.05)
    assert float(eps.mean()) == pytest.approx(0, abs=0.05)
    torch.testing.assert_close(deltas["activation_std"], eps * 0.4 * h.std(), rtol=1e-2, atol=1e-3)
    channels = h.std(others, keepdim=True)
    torch.testing.assert_close(deltas["channel_std"], eps * 0.4 * channels, rtol=1e-2, atol=1e-3)


def test_gaussian_noise_is_normal() -> None:
    _, delta = added(activations(500, 8), noise=2.0, noise_unit="absolute")
    assert kstest((delta / 2).flatten().numpy(), "norm").pvalue > 0.01


@pytest.mark.parametrize("shape", [(3,), (2, 1, 3)])
@pytest.mark.parametrize("unit", ["activation_std", "channel_std", "absolute"])
def test_the_ball_is_filled_evenly_up_to_its_radius(shape: tuple[int, ...], unit: str) -> None:
    h, delta = added(activations(1500, *shape), noise=0.4, noise_kind="uniform_ball", noise_unit=unit)
    others = [dim for dim in range(h.dim()) if dim != 1]
    units: dict[str, Any] = {"activation_std": h.std(), "channel_std": h.std(others, keepdim=True), "absolute": 1.0}
    eps = (delta / (0.4 * units[unit])).reshape(1500, -1)
    d = eps.shape[1]
    radius = eps.norm(dim=1) / d**0.5
    assert float(radius.max()) <= 1.001
    assert kstest((radius**d).clamp(max=1).numpy(), "uniform").pvalue > 0.01
    covariance = eps.T @ eps / len(eps)
    torch.testing.assert_close(covariance, torch.eye(d) * d / (d + 2), atol=0.08, rtol=0)
    torch.testing.assert_close(eps.mean(0), torch.zeros(d), atol=0.08, rtol=0)


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_interpolation_goes_a_uniform_part_of_the_way_to_a_partner(noise: float) -> None:
    data = activations(200, 6)
    h, deltas = added(data, noise=noise, noise_kind="interpolation", copies=2)
    orders, parts = [], []
    for delta in deltas:
        way = h[None] - h[:, None]  # (N, N, 6): from the sample of the row to that of the column
        part = (way * delta[:, None]).sum(2) / way.square().sum(2).clamp(min=1e-9)
        missed = (delta[:, None] - part[..., None] * way).norm(dim=2)
        moved = delta.norm(dim=1) > 1e-6
        partner = missed.fill_diagonal_(1e9).argmin(1).where(moved, torch.arange(200))
        assert sorted(partner.tolist()) == list(range(200))
        orders.append(partner)
        parts.append(part[torch.arange(200), partner][moved])
    lam = torch.cat(parts)
    assert len(lam) > 380
    assert float(lam.min()) >= -1e-4
    assert kstest((lam / noise).clamp(0, 1).numpy(), "uniform").pvalue > 0.01
    assert not torch.equal(*orders)


def test_the_gradient_of_an_interpolation_flows_to_the_sample_and_to_its_partner() -> None:
    h = torch.randn(6, 4, generator=generator(), requires_grad=True)
    virtual_activations(h, 3, make(noise=1.0, noise_kind="interpolation", copies=2)).sum().backward()
    assert h.grad is not None
    assert float(h.grad.sum()) == pytest.approx(2 * 6 * 4)  # the shares of both make 1
    assert float(h.grad.std()) > 0.05


@pytest.mark.parametrize("kind", ["gaussian", "uniform_ball"])
@pytest.mark.parametrize("jitter", [0.4, 1.0])
def test_jitter_draws_the_size_of_each_virtual_sample(kind: str, jitter: float) -> None:
    data = activations(150, 2000)
    h, deltas = added(data, noise=0.2, noise_kind=kind, noise_jitter=jitter, copies=2)
    factors = deltas.norm(dim=2) / (2000**0.5 * 0.2 * h.std())  # (2, N); without jitter 1 within 0.05
    part = (factors - (1 - jitter)) / (2 * jitter)
    assert kstest(part.clamp(0, 1).flatten().numpy(), "uniform").pvalue > 0.01
    assert float(part.min()) > -0.2 / jitter
    assert float(part.max()) < 1 + 0.2 / jitter
    assert abs(float(torch.corrcoef(factors)[0, 1])) < 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_without_noise_the_divergence_is_zero(kind: str) -> None:
    model, (x, y) = network(), batch()
    step = make(noise=0.0, copies=2, **KINDS[kind])(model, x, y, generator=generator())
    plain = nn.functional.cross_entropy(model(x), y)
    torch.testing.assert_close(step.loss, plain, atol=1e-6, rtol=0)
    assert step.virtual == 16


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 8])
def test_the_smallest_batches_and_constant_activations_give_finite_gradients(kind: str, n: int) -> None:
    model = network()
    if n == 8:
        for parameter in model[0].parameters():
            nn.init.zeros_(parameter)
    step = make(similarity_tau=0.5, **KINDS[kind])(model, *batch(n), generator=generator())
    step.loss.backward()
    assert bool(step.loss.isfinite())
    assert all(bool(p.grad is not None and p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_state_gives_the_same_step_in_either_memory_format(kind: str) -> None:
    model, (x, y), sba = image_network(), images(), make(**KINDS[kind], copies=2)
    plain, again, other = (look(sba, model, (x, y), seed) for seed in (3, 3, 4))
    assert torch.equal(plain.virtual, again.virtual)
    assert not torch.equal(plain.virtual, other.virtual)
    plain.step.loss.backward()
    expected = gradients(model)
    last = look(sba, channels_last(model), (channels_last(x), y))
    last.step.loss.backward()
    torch.testing.assert_close(last.virtual, plain.virtual, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(last.step.loss, plain.step.loss, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(gradients(model), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_keeps_the_layout_of_channels_last(kind: str) -> None:
    model, (x, y) = channels_last(image_network()), images()
    layouts = []
    sba = make(layers=("input", "2"), **KINDS[kind])
    handles = [
        module.register_forward_pre_hook(
            lambda _m, inputs: layouts.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
        )
        for module in model[:6]
    ]
    for seed in range(6):
        sba(model, channels_last(x), y, generator=generator(seed))
    for handle in handles:
        handle.remove()
    assert len(layouts) >= 36
    assert all(layouts)


@pytest.mark.parametrize("kind", KINDS)
def test_every_noise_works_under_bfloat16_autocast(kind: str) -> None:
    model = image_network()
    with torch.autocast("cpu", torch.bfloat16):
        seen = look(make(noise=0.5, **KINDS[kind]), model, images(16))
    delta = (seen.virtual[0] - seen.h).float()
    size = float(delta.square().mean().sqrt())
    assert 0 < size < 0.8 if kind != "absolute" else size == pytest.approx(0.5, rel=0.02)
    if kind in ("gaussian", "ball"):
        assert size == pytest.approx(0.5 * float(seen.h.float().std()), rel=0.02)
    assert seen.step.loss.dtype == seen.step.logits.dtype == torch.float32
    seen.step.loss.backward()
    assert all(bool(p.grad is not None and p.grad.isfinite().all()) for p in model.parameters())
