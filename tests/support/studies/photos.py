"""Where real photos are, and small image folders that tests make."""

import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from benchmark.data.images import Feed
from benchmark.data.streamed import Files, Skipped

DATA_ROOT = Path(os.environ.get("SBA_DATA_ROOT") or "no SBA_DATA_ROOT")  # read before any test hides it


def imagenet_sample() -> list[Path]:
    """Real photos of ImageNet, one of each of many classes, of which 23 are grey-scale; else the test is skipped."""
    folder = DATA_ROOT / "imagenet-sample" / "val"
    if not folder.is_dir():
        pytest.skip(
            f"no real photos: {folder} is no folder; set SBA_DATA_ROOT to the folder that holds imagenet-sample"
        )
    return sorted(folder.glob("*/*.JPEG"))


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    """A colour image of large random squares, of which no two crops are alike."""
    cells = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(cells.repeat(4, 0).repeat(4, 1)[:height, :width].copy())


def write_photos(folder: Path, n: int) -> list[Path]:
    """Write n JPEG files of different sizes, named in the order of their numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = [folder / f"{i:03d}.JPEG" for i in range(n)]
    for i, path in enumerate(paths):
        height, width = rng.integers(30, 80, 2).tolist()
        noise(height, width, seed=i).save(path)
    return paths


def as_files(paths: list[Path], folder: Path, pixels: int = 24, resize: int = 32) -> Files:
    """Image files as a split in which image i has label i."""
    names = np.array([os.fsencode(path.relative_to(folder)) for path in paths])
    return Files(folder, names, torch.arange(len(paths)), pixels, resize, Skipped())


CPU = torch.device("cpu")


def training_batches(
    files: Files,
    order: Tensor,
    *,
    augmentation: Literal["none", "standard"] = "standard",
    seed: int,
    batch_size: int,
    workers: int,
    flip: bool = True,
) -> Generator[tuple[Tensor, Tensor]]:
    """The batches of one process that trains on the images of an order, whole batches only."""
    rows = order[: len(order) // batch_size * batch_size].reshape(-1, batch_size)
    feed = Feed(list(rows), lambda row: row, augmentation, 0, flip, torch.Generator(), seed, CPU)
    return files._replace(workers=workers).training_batches(feed)


def evaluation_batches(files: Files, *, batch_size: int, workers: int) -> Generator[tuple[Tensor, Tensor]]:
    """All images, in evaluation."""
    return files._replace(workers=workers).batches(range(len(files.labels)), batch_size, CPU)


def decoded(files: Files, indices: Sequence[int], *, workers: int) -> tuple[Tensor, Tensor]:
    """Images and labels in memory."""
    return files._replace(workers=workers).pick(indices, CPU)
