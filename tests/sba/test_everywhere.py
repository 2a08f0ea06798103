"""SBA on networks and in settings that others wrote: torchvision, timm, autocast, channels_last, errors."""

import copy
from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sba_cases import batch, channels_last, generator, gradients, image_network, images, make, network, traces
from torch import nn

from benchmark.runtime.torchvision import ensure_importable
from sba import SBA

RESNET = ("input", "conv1", "maxpool", "layer1.0", "layer2", "layer4.1", "avgpool", "fc")
TIMM = {
    "resnet10t": ("input", "maxpool", "layer1", "layer3.0", "global_pool"),
    "convnext_atto": ("stem", "stages.0", "stages.1.blocks.0", "head.global_pool"),
    "vit_tiny_patch16_224": ("patch_embed", "blocks.0", "blocks.5", "norm"),
}


def resnet18() -> nn.Module:
    ensure_importable()
    from torchvision.models import resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = resnet18(num_classes=4)
    return model


def timm_model(name: str) -> nn.Module:
    ensure_importable()
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = {"img_size": 32} if name.startswith("vit") else {}
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=4, **size)
    return model


def works_after(model: nn.Module, layers: tuple[str, ...]) -> None:
    """Check a step after each layer: the originals' logits are the network's, the gradients whole, no trace left."""
    x, y = images(2, 32)
    model.eval()  # neither dropout nor batch statistics: the originals' logits are a plain pass's
    SBA(layers=layers).check(model)
    with torch.no_grad():
        plain = model(x)
    before = traces(model)
    for layer in layers:
        step = SBA(layers=(layer,), p=1.0, alpha=1.0)(model, x, y, generator=generator())
        step.loss.backward()
        torch.testing.assert_close(step.logits, plain, atol=1e-4, rtol=1e-4)
        assert float(step.loss.detach()) > float(F.cross_entropy(plain, y))
        assert all(bool(gradient.isfinite().all()) for gradient in gradients(model))
        assert traces(model) == before


def test_torchvisions_resnet18_works_unmodified() -> None:
    works_after(resnet18(), RESNET)


@pytest.mark.parametrize("name", TIMM)
def test_models_of_timm_work_unmodified(name: str) -> None:
    works_after(timm_model(name), TIMM[name])


@pytest.mark.parametrize("mode", ["joint", "originals"])
def test_torchvisions_resnet18_learns_its_batch_in_training_mode(mode: str) -> None:
    model, (x, y), draws = resnet18(), images(4, 32), generator()
    sba = make(layers=("input", "layer1", "layer2.0"), batchnorm=mode)
    plain = copy.deepcopy(model)
    step = sba(model, x, y, generator=generator())
    if mode == "originals":
        torch.testing.assert_close(step.logits, plain(x), atol=1e-3, rtol=1e-3)
        for ours, theirs in zip(model.buffers(), plain.buffers(), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
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


@pytest.mark.parametrize("first_backward_late", [False, True])
def test_gradients_accumulate_over_two_half_steps(first_backward_late: bool) -> None:
    x, y = batch(8)
    settings: dict[str, Any] = {"layers": ("2", "5"), "alpha": 1.0}
    model, draws, expected = network(), generator(), []
    for part in (slice(4), slice(4, 8)):
        make(**settings)(model, x[part], y[part], generator=draws).loss.div(2).backward()
        expected.append(gradients(model))
    sba, draws = make(**settings), generator()
    losses = []
    for part in (slice(4), slice(4, 8)):
        losses.append(sba(model, x[part], y[part], generator=draws).loss / 2)
        if not first_backward_late:
            losses.pop().backward()
    if losses:
        torch.stack(losses).sum().backward()
    for ours, *theirs in zip(gradients(model), *expected, strict=True):
        torch.testing.assert_close(ours, torch.stack(theirs).sum(0), atol=1e-7, rtol=1e-5)


class BrokenError(Exception):
    """Raised in the middle of a network."""


def fail(*_: object) -> None:
    raise BrokenError


@pytest.mark.parametrize("mode", ["joint", "originals"])
@pytest.mark.parametrize("layer", ["input", "2", "5"])
def test_an_exception_in_the_middle_leaves_no_trace(layer: str, mode: str) -> None:
    model, (x, y) = image_network(), images()
    before = traces(model)
    sba = make(layers=(layer,), batchnorm=mode)
    for broken in (0, 3, 8):  # below, above, and at the end
        handle = model[broken].register_forward_pre_hook(fail)
        with pytest.raises(BrokenError):
            sba(model, x, y, generator=generator())
        handle.remove()
        assert traces(model) == before
        assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    fresh = image_network()
    model.load_state_dict(fresh.state_dict())
    step, expected = (sba(network, x, y, generator=generator()) for network in (model, fresh))
    assert torch.equal(step.loss, expected.loss)
    assert model(x).shape == (8, 4)


def test_hooks_of_others_stay_and_run() -> None:
    model, calls = network(), Counter[str]()
    model[2].register_forward_hook(lambda _m, _i, output: calls.update(after=len(output)))
    model[2].register_forward_pre_hook(lambda _m, inputs: calls.update(before=len(inputs[0])))
    make()(model, *batch(), generator=generator())
    assert calls["before"] == 8
    assert calls["after"] in (8, 16)
    model(batch()[0])
    assert calls["before"] == 16


def test_two_of_them_take_turns_on_one_network() -> None:
    settings: list[dict[str, Any]] = [
        {"copies": 2, "alpha": 1.0},
        {"layers": ("5",), "scheduler": "every_nth", "p": 0.5},
    ]
    model, draws = network(), [generator(1), generator(2)]
    alone = []
    for i, setting in enumerate(settings):
        sba = make(**setting)
        alone.append([sba(model, *batch(), generator=draws[i]).loss for _ in range(4)])
    both, draws = [make(**setting) for setting in settings], [generator(1), generator(2)]
    for turn in range(4):
        for i, sba in enumerate(both):
            assert torch.equal(sba(model, *batch(), generator=draws[i]).loss, alone[i][turn])


def test_channels_last_gives_the_same_loss_and_gradients() -> None:
    model, (x, y) = image_network(), images()
    twin = channels_last(copy.deepcopy(model))
    draws, twin_draws = generator(), generator()
    sba = SBA(layers=("input", "2", "5"), p=0.8, copies=2)
    for _ in range(4):
        step = sba(model, x, y, generator=draws)
        other = sba(twin, channels_last(x), y, generator=twin_draws)
        torch.testing.assert_close(step.loss, other.loss, atol=1e-5, rtol=1e-4)
        (step.loss + other.loss).backward()
    for ours, theirs in zip(gradients(model), gradients(twin), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)
