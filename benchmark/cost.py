"""What training costs: FLOPs of a sample, wherever it joins the batch, and peak memory."""

import contextlib
import resource
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

INPUT = "input"  # where a method's step says that its virtual samples are images
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forward_flops(model: nn.Module, image: Tensor) -> int:
    """Return the FLOPs of one forward pass of one image (1, C, H, W); a multiply-add counts 2."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return int(counter.get_total_flops())


def training_flops(model: nn.Module, image: Tensor, layer: str | None = None) -> int:
    """Return the FLOPs of training on one more sample: forward and backward.

    Counted by torch.utils.flop_counter as the difference between a batch of two and a batch of one, where the
    second sample joins at the input (layer None or "input") or, as a virtual sample does, behind `layer`.

    Args:
        model: in training mode or not; its gradients are cleared, its BatchNorm statistics left alone.
        image: (1, C, H, W) float image in [0, 1].
        layer: name of a module, as in `model.named_modules()`.
    """
    modes = {name: module.training for name, module in model.named_modules()}
    model.eval()  # the same FLOPs, and running statistics stay as they are
    single, double = (
        _count(model, image, None),
        _count(model, image, layer) if layer not in (None, INPUT) else _count(model, torch.cat([image] * 2), None),
    )
    for name, module in model.named_modules():
        module.training = modes[name]
    model.zero_grad(set_to_none=True)
    return double - single


def _count(model: nn.Module, images: Tensor, layer: str | None) -> int:
    """Count forward and backward FLOPs, the batch doubled behind `layer` where one is named."""
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


def reset_peak_memory(device: torch.device) -> None:
    """Start a new peak, so that one run does not inherit the peak of the run before it in the same process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif CLEAR_REFS.exists():
        with contextlib.suppress(OSError):  # not allowed in some containers: then the peak is that of the process
            CLEAR_REFS.write_text("5", encoding="ascii")  # 5: resets VmHWM (proc(5))


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes since the last reset: of the GPU, else of this process.

    Where the system cannot reset the peak of a process (not Linux), it is the peak since the start.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    lines = STATUS.read_text(encoding="ascii").splitlines() if STATUS.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
