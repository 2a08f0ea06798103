"""Draws that PyTorch offers no generator for, or that would make the host wait for the device."""

import random

import torch
from torch import Tensor

from sba.processes import Processes


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator, device="cpu"))


def beta(alpha: float, generator: torch.Generator) -> float:
    """Draw lam ~ Beta(alpha, alpha), from 0 to 1, by a stream that one draw of the CPU generator seeds.

    The stream is the standard library's, as torch's Beta takes no generator.

    Example:
        >>> 0 <= beta(1.0, torch.Generator().manual_seed(0)) <= 1
        True
    """
    return random.Random(_seed(generator)).betavariate(alpha, alpha)


def partners(images: Tensor, processes: Processes, generator: torch.Generator) -> Tensor:
    """Draw a partner for each of this process's rows (N, ...), by a permutation of the rows of all processes.

    Returns:
        (N,) indices into the rows of all processes, on the images' device; drawn by a CPU generator.
    """
    order = torch.randperm(len(images) * processes.size, generator=generator, device="cpu")
    return processes.own(order).to(images.device, non_blocking=True)


def normal(images: Tensor, processes: Processes, generator: torch.Generator) -> Tensor:
    """Draw standard normal noise (N, ...) for this process's rows, in their dtype, the same in every memory format.

    Images are drawn channels last: on a CPU, draws across a layout take many times as long. One draw of the CPU
    generator seeds a generator on the images' device, so that nothing is copied or waited for; so also in `uniform`.
    """
    rows, image = len(images) * processes.size, images[0]
    last = (image.movedim(0, -1) if image.dim() == 3 else image).shape
    of_device = torch.Generator(images.device).manual_seed(_seed(generator))
    drawn = torch.randn(rows, *last, dtype=images.dtype, device=images.device, generator=of_device)
    return processes.own(drawn.movedim(-1, 1) if image.dim() == 3 else drawn)


def uniform(images: Tensor, bound: float, processes: Processes, generator: torch.Generator) -> Tensor:
    """Draw noise (N, ...) from U(-bound, bound) for this process's rows, in their dtype and memory format."""
    whole = torch.empty_like(torch.cat([images] * processes.size) if processes.size > 1 else images)
    of_device = torch.Generator(images.device).manual_seed(_seed(generator))
    return processes.own(whole.uniform_(-bound, bound, generator=of_device))
