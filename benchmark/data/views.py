"""What training and evaluation ask of a split, whether its images are in memory or stay files."""

import os
from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from benchmark.data.datasets import Split
from benchmark.data.streamed import Files, decoded, evaluation_batches
from benchmark.runtime.environment import cores
from benchmark.settings.preset import SAMPLE

MOST_DECODERS = 16
AT_ONCE = 50  # images for which starting workers does not pay


def decoders() -> int:
    """Return the number of worker processes that decode: the cores, divided among a machine's training processes."""
    return min(max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))), MOST_DECODERS)


def pick(split: Split | Files, indices: Sequence[int], device: torch.device) -> Split:
    """Return some images of a split in memory, in the order of the indices; of files the centres."""
    if isinstance(split, Files):
        return decoded(split, indices, workers=decoders() if len(indices) > AT_ONCE else 0, device=device)
    chosen = torch.as_tensor(indices, device=split.labels.device)
    return Split(split.images[chosen], split.labels[chosen])


def sample(split: Split | Files) -> Tensor:
    """Return about 2,000 evenly spaced images, on the CPU, from which networks take normalisation and whitening."""
    n = len(split.labels)
    return pick(split, range(0, n, max(1, n // SAMPLE)), torch.device("cpu")).images.cpu()


def in_batches(
    split: Split | Files, indices: range, size: int, device: torch.device
) -> Generator[tuple[Tensor, Tensor]]:
    """Yield uint8 images and labels of a part of the split, in batches, in its order; of files the centres.

    The labels are those of the images that come out: a damaged file that may be skipped is replaced by another.
    """
    if isinstance(split, Files):
        yield from evaluation_batches(split, indices, batch_size=size, workers=decoders(), device=device)
        return
    whole = indices == range(len(split.labels))
    images, labels = (split.images, split.labels) if whole else pick(split, indices, device)
    yield from zip(images.split(size), labels.split(size), strict=True)
