"""Draws that PyTorch offers no generator for, or that would make the host wait for the device."""

import random

import torch


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
