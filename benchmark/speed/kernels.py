"""Where a GPU's time goes: a profile's kernels summed by kind, and the resource that limits training."""

import re
from collections.abc import Callable, Mapping

import torch
from torch.profiler import ProfilerActivity, profile

# Looked for in this order: names of fused kernels list what was fused into them, and cuDNN has BatchNorm, too.
KINDS = {
    "optimizer": r"multi_tensor_apply|fused_?sgd|optimizer\.step|_foreach_",
    "elementwise": r"^triton_(poi|red|per|for)|bn_|batch_?norm|nchwToNhwc|nhwcToNchw|memcpy|memset|elementwise"
    r"|(?<!splitk)reduce",
    "convolution": r"conv|gemm|xmma|cutlass|winograd|fprop|dgrad|wgrad|nvjet|^triton_(tem|mm)|splitk|addmm|::mm$",
}
OTHERS = "elementwise"  # whatever has another name reads and writes memory
IDLE = "idle"
LIMITS = {
    "convolution": "arithmetic (convolutions and matrix products)",
    "elementwise": "memory bandwidth (elementwise operations, BatchNorm, reductions, copies)",
    "optimizer": "memory bandwidth (the optimizer's step)",
    IDLE: "the host (the GPU waits for kernels to be launched)",
}


def kind(kernel: str) -> str:
    """Return which kind of work a kernel does, by its name.

    Example:
        >>> kind("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x64")
        'convolution'
        >>> kind("triton_poi_fused_convolution_native_batch_norm_relu_3")
        'elementwise'
    """
    return next((name for name, pattern in KINDS.items() if re.search(pattern, kernel, re.IGNORECASE)), OTHERS)


def shares(seconds: Mapping[str, float], wall: float) -> dict[str, float]:
    """Return each kind's share of the time, and the idle share.

    Args:
        seconds: of each kernel, as `kernel_seconds` returns them.
        wall: seconds that the same work takes without the profiler, which slows the host down but not the kernels;
            where the kernels take longer than that, nothing is idle.
    """
    sums = dict.fromkeys((*KINDS, IDLE), 0.0)
    for kernel, spent in seconds.items():
        sums[kind(kernel)] += spent
    whole = max(wall, sum(sums.values()))
    sums[IDLE] = whole - sum(sums.values())
    return {name: spent / whole for name, spent in sums.items()}


def limiting(found: Mapping[str, float]) -> str:
    """Name the resource that the largest share is spent on."""
    return LIMITS[max(found, key=lambda name: found[name])]


def kernel_seconds(work: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Profile some work and return the seconds of each kernel of the GPU or, on a CPU, of each operator itself."""
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiled:
        work()
        if cuda:
            torch.cuda.synchronize(device)
    if cuda:  # spans that the host names are on the device's timeline, too, and would count twice
        kernels = [e for e in profiled.key_averages() if e.device_type.name == "CUDA" and not e.is_user_annotation]
        return {str(event.key): event.self_device_time_total / 1e6 for event in kernels}
    return {str(event.key): event.self_cpu_time_total / 1e6 for event in profiled.key_averages()}
