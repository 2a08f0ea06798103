"""SBA on networks of torchvision and timm, under autocast, with gradient accumulation."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks.sba_cases import batch, generator, gradients, image_network, images, make, network, traces
from torch import nn

from benchmark.runtime.torchvision import ensure_importable
from sba import SBA

LAYERS = {
    "resnet18": ("input", "conv1", "maxpool", "layer1.0", "layer2", "layer4.1", "avgpool", "fc"),
    "resnet10t": ("input", "maxpool", "layer1", "layer3.0", "global_pool"),
    "convnext_atto": ("stem", "stages.0", "stages.1.blocks.0", "head.global_pool"),
    "vit_tiny_patch16_224": ("patch_embed", "blocks.0", "blocks.5", "norm"),
}


def untrained(name: str) -> nn.Module:
    """Build torchvision's resnet18 or a network of timm, with 4 classes."""
    ensure_importable()
    from torchvision.models import resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "resnet18":
            model: nn.Module = resnet18(num_classes=4)
        else:
            size = {"img_size": 32} if name.startswith("vit") else {}
            model = pytest.importorskip("timm").create_model(name, pretrained=False, num_classes=4, **size)
    return model


@pytest.mark.parametrize("name", LAYERS)
def test_networks_of_torchvision_and_timm_work_unmodified(name: str) -> None:
    model, (x, y) = untrained(name), images(2, 32)
    model.eval()  # neither dropout nor batch statistics: the originals' logits are a plain pass's
    with torch.no_grad():
        plain = model(x)
    before = traces(model)
    for layer in LAYERS[name]:
        step = SBA(layers=(layer,), p=1.0, alpha=1.0)(model, x, y, generator=generator())
        step.loss.backward()
        torch.testing.assert_close(step.logits, plain, atol=1e-4, rtol=1e-4)
        assert float(step.loss.detach()) > float(F.cross_entropy(plain, y))
        assert all(bool(gradient.isfinite().all()) for gradient in gradients(model))
        assert traces(model) == before


@pytest.mark.parametrize("mode", ["joint", "originals"])
def test_torchvisions_resnet18_learns_its_batch_in_training_mode(mode: str) -> None:
    model, (x, y), draws = untrained("resnet18"), images(4, 32), generator()
    sba = make(layers=("input", "layer1", "layer2.0"), batchnorm=mode)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    losses = []
    for _ in range(6):
        step = sba(model, x, y, generator=draws)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        losses.append(float(step.loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("settings", [{}, {"batchnorm": "originals"}, {"divergence": "symmetric", "label_mix": 0.1}])
def test_bfloat16_autocast_gives_nearly_the_same_loss_in_float32(settings: dict[str, Any]) -> None:
    model, (x, y) = image_network(), images(16)
    sba = make(noise=0.0, alpha=1.0, **settings)  # where both draw the same
    exact = sba(copy.deepcopy(model), x, y, generator=generator())
    with torch.autocast("cpu", torch.bfloat16):
        step = sba(model, x, y, generator=generator())
    step.loss.backward()
    assert step.loss.dtype == step.logits.dtype == torch.float32
    torch.testing.assert_close(step.loss, exact.loss, atol=0.02, rtol=0.02)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("settings", [{}, {"noise": 4.0, "noise_kind": "uniform_ball"}, {"noise_unit": "channel_std"}])
def test_under_float16_autocast_noise_beyond_the_largest_value_stays_finite(settings: dict[str, Any]) -> None:
    """Otherwise BatchNorm's running statistics would be nan from then on, though a GradScaler skips the step."""
    model, (x, y) = network(norm=True), batch(64)
    first: Any = model[0]
    with torch.autocast("cpu", torch.float16), torch.no_grad():
        first.bias.zero_()
        x = x.sign() * 6e4 / first.weight.abs().sum(1).max()  # many activations of 60,000
        assert bool(model(x).isfinite().all())
    sba, scaler = make(layers=("0",), **settings), torch.amp.GradScaler("cpu", init_scale=1.0)
    optimizer, before = torch.optim.SGD(model.parameters(), lr=0.1), first.weight.clone()
    with torch.autocast("cpu", torch.float16):
        step = sba(model, x, y, generator=generator())
    scaler.scale(step.loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert bool(step.loss.isfinite())
    assert all(bool(values.isfinite().all()) for values in model.state_dict().values())
    assert not torch.equal(first.weight, before)


def test_gradients_accumulate_over_two_half_steps() -> None:
    (x, y), model = batch(8), network()
    half = (slice(4), slice(4, 8))
    sba, draws, expected = make(layers=("2", "5"), alpha=1.0), generator(), []
    for part in half:
        sba(model, x[part], y[part], generator=draws).loss.div(2).backward()
        expected.append(gradients(model))
    sba, draws = make(layers=("2", "5"), alpha=1.0), generator()
    losses = [sba(model, x[part], y[part], generator=draws).loss / 2 for part in half]
    torch.stack(losses).sum().backward()
    sums = [first + second for first, second in zip(*expected, strict=True)]
    torch.testing.assert_close(gradients(model), sums, atol=1e-7, rtol=1e-5)
