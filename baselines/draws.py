"""Draws that PyTorch offers no generator for, or that would make the host wait for the device."""

import random

import torch
from torch import Tensor

from sba.processes import Processes


def beta(alpha: float, generator: torch.Generator) -> float:
    """Draw lam ~ Beta(alpha, alpha).

    torch's Beta takes no generator, so a stream of the standard library is seeded from ours.

    Args:
        alpha: both parameters, above 0.
        generator: CPU generator; it gives one draw.

    Returns:
        A number from 0 to 1.

    Example:
        >>> 0 <= beta(1.0, torch.Generator().manual_seed(0)) <= 1
        True
    """
    return random.Random(int(torch.randint(2**62, (), generator=generator))).betavariate(alpha, alpha)


def on_device(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """Return a generator on the device, seeded by one draw of a CPU generator: nothing is copied or waited for."""
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))


def partners(images: Tensor, processes: Processes, generator: torch.Generator) -> Tensor:
    """Draw another row of the whole batch for each of this process's rows, by a permutation of the whole batch.

    Args:
        images: (N, ...) rows of this process.
        processes: those that share the batch.
        generator: CPU generator.

    Returns:
        (N,) indices into the rows of all processes, on the images' device.
    """
    order = torch.randperm(len(images) * processes.size, generator=generator)
    return processes.own(order).to(images.device, non_blocking=True)


def normal(images: Tensor, processes: Processes, generator: torch.Generator) -> Tensor:
    """Draw standard normal noise for the whole batch, the same in every memory format.

    Images are drawn channels last: on a CPU, draws across a layout take many times as long.

    Args:
        images: (N, ...) rows of this process.
        processes: those that share the batch.
        generator: generator on the images' device.

    Returns:
        (N, ...) noise for this process's rows, in the images' dtype.
    """
    rows, image = len(images) * processes.size, images[0]
    last = (image.movedim(0, -1) if image.dim() == 3 else image).shape
    drawn = torch.randn(rows, *last, dtype=images.dtype, device=images.device, generator=generator)
    return processes.own(drawn.movedim(-1, 1) if image.dim() == 3 else drawn)


def empty_batch(images: Tensor, processes: Processes) -> Tensor:
    """Return a tensor to fill, of the whole batch's shape (W * N, ...) and in the memory format of the images here."""
    return torch.empty_like(torch.cat([images] * processes.size) if processes.size > 1 else images)
