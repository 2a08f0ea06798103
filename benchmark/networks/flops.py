"""The FLOPs of training on a sample that joins the batch at the input or behind a layer."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.networks.build import eval_mode
from benchmark.networks.compiled import INPUT


def forward_flops(model: nn.Module, image: Tensor) -> int:
    """Return the FLOPs of one forward pass of one image (1, C, H, W); a multiply-add counts 2."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return int(counter.get_total_flops())


def training_flops(model: nn.Module, image: Tensor, layers: Iterable[str | None] = (None,)) -> dict[str | None, int]:
    """Return layer -> FLOPs of training on one more sample, forward and backward, that joins the batch there.

    Counted by torch.utils.flop_counter as the difference between a batch of two and a batch of one, where the
    second sample joins at the input (layer None or "input") or, as a virtual sample does, behind the layer.

    Args:
        model: in training mode or not; its gradients are cleared, its BatchNorm statistics left alone.
        image: (1, C, H, W) float image in [0, 1].
        layers: names of modules, as in `model.named_modules()`; None or "input" for the input.
    """
    with eval_mode(model):  # the same FLOPs, and running statistics stay as they are
        single, twice = _count(model, image, None), torch.cat([image] * 2)
        found = {
            layer: _count(model, twice, None) if layer in (None, INPUT) else _count(model, image, layer)
            for layer in layers
        }
    model.zero_grad(set_to_none=True)
    return {layer: double - single for layer, double in found.items()}


def share_of_flops(model: nn.Module, image: Tensor, layer: str | None) -> float:
    """Return the FLOPs of training on a sample that joins behind `layer`, as a share of those from the input."""
    flops = training_flops(model, image, [layer, None])
    return flops[layer] / flops[None]


def _count(model: nn.Module, images: Tensor, layer: str | None) -> int:
    """Count forward and backward FLOPs; `layer`: double the batch behind it."""
    handle = None
    if layer:
        handle = model.get_submodule(layer).register_forward_hook(lambda _m, _i, output: torch.cat([output] * 2))
    try:
        with FlopCounterMode(display=False) as counter:
            model(images).sum().backward()
    finally:
        if handle is not None:
            handle.remove()
    return int(counter.get_total_flops())
