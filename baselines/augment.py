"""Batched augmentation: one operation for the whole batch, on its device, with its own generator."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sba.processes import ALONE, Processes


def crop_and_flip(
    images: Tensor, *, padding: int, flip: bool, generator: torch.Generator, processes: Processes = ALONE
) -> Tensor:
    """Zero-pad each image, crop it at a random position to its old size and mirror it with probability 1/2.

    With padding 4, this is the standard CIFAR augmentation.

    Args:
        images: (N, C, H, W) of any dtype; zero is black.
        padding: pixels of padding on all sides, at least 0.
        flip: whether images are mirrored.
        generator: CPU generator; its draws depend neither on the images nor on `flip`.
        processes: the processes that share the batch; the draws of an image do not depend on their number.

    Returns:
        (N, C, H, W) augmented images of the same dtype, in channels_last memory format.
    """
    n, _, height, width = images.shape
    whole = (n * processes.size, 1)
    tops = torch.randint(2 * padding + 1, whole, generator=generator, device="cpu")
    lefts = torch.randint(2 * padding + 1, whole, generator=generator, device="cpu")
    mirrored = torch.randint(2, whole, generator=generator, device="cpu").bool() & flip
    tops, lefts, mirrored = (  # (N, 1) each; no copy makes the host wait
        processes.own(drawn).to(images.device, non_blocking=True) for drawn in (tops, lefts, mirrored)
    )
    rows = tops + torch.arange(height, device=images.device)  # (N, H)
    columns = lefts + torch.arange(width, device=images.device)  # (N, W)
    columns = torch.where(mirrored, columns.flip(1), columns)
    picks = rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]  # (N, H, W) places in the padded image
    padded = F.pad(images, (padding,) * 4).flatten(2).transpose(1, 2)  # (N, H' * W', C)
    examples = torch.arange(n, device=images.device)[:, None]
    picked = padded[examples, picks.flatten(1)]  # (N, H * W, C)
    return picked.reshape(n, height, width, -1).permute(0, 3, 1, 2)
