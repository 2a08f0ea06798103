"""Readers of the raw data sets: files in, uint8 images and labels out."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from benchmark.data.decode import UnreadableImageError, read_rgb
from benchmark.data.folders import list_folder
from benchmark.data.images import Split
from benchmark.runtime.errors import DataError, UsageError
from benchmark.settings.preset import DataSettings


def digest_of_tensors(*splits: Split) -> str:
    """Return the SHA-256 of all pixels and labels."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.images.contiguous().numpy().data)
        digest.update(split.labels.contiguous().numpy().data)
    return digest.hexdigest()


class Source(NamedTuple):
    """A data set that was found but is not decoded yet.

    Attributes:
        key: text that changes when the files do; names the decoded cache. None: quick to read, not cached.
        classes: class names in the order of their labels.
        read: decodes and returns the training and the test split.
        digest: returns the digest of both splits, of which the fingerprint is the beginning.
        expected: the digest that the data set is known to have, where one is.
    """

    key: str | None
    classes: Sequence[str]
    read: Callable[[], tuple[Split, Split]]
    digest: Callable[[Split, Split], str] = digest_of_tensors
    expected: str | None = None


def digits(_roots: Sequence[Path], settings: DataSettings) -> Source:
    """Find scikit-learn's handwritten digits: 1,797 grey 8x8 images, 10 classes, real handwriting.

    The first 1,297 images are the training split, the last 500 the test split.
    Grey levels 0..16 become 0..255. Source: UCI "Optical Recognition of Handwritten Digits".

    Raises:
        UsageError: another size than 8 pixels was asked for.
    """
    from sklearn.datasets import load_digits  # imported here: only this data set needs it

    if settings.pixels != 8:
        raise UsageError(f"digits are 8 x 8 images; data.pixels = {settings.pixels} is not possible, set it to 8.")

    def read() -> tuple[Split, Split]:
        bunch: Any = load_digits()
        images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)  # (N, 1, 8, 8)
        labels = torch.from_numpy(bunch.target).long()
        return Split(images[:1297], labels[:1297]), Split(images[1297:], labels[1297:])

    return Source(None, [str(digit) for digit in range(10)], read)


def missing_data(title: str, folder: str, size: str, roots: Sequence[Path], how: str) -> DataError:
    """Return the one message for missing data: what, where it was looked for, how to get it, how large it is."""
    places = "".join(f"\n  {root / folder}" for root in roots)
    return DataError(
        f"{title} ({size}) was not found. Looked for:{places}\n{how} "
        "Then name the folder that holds it with --data-root DIR or the environment variable SBA_DATA_ROOT."
    )


def image_folder(folder: Path, pixels: int) -> Source:
    """Find any image folder: train/<class>/* and test/<class>/* (or val/<class>/*); see `folders.list_folder`.

    Images become RGB, their shorter side `pixels`, the centre cut out where they are not square.

    Raises:
        DataError: no such folders, different classes in both splits, or an unreadable image (which file).
    """
    listing = list_folder(folder)
    _refuse_too_large(folder, len(listing.train[0]) + len(listing.test[0]), pixels)

    def read() -> tuple[Split, Split]:
        return _decode(folder, *listing.train, pixels), _decode(folder, *listing.test, pixels)

    key = hashlib.sha256(f"{pixels} {listing.key}".encode()).hexdigest()
    return Source(key, listing.classes, read)


def _refuse_too_large(folder: Path, images: int, pixels: int) -> None:
    """Raise UsageError for images that this machine's memory cannot hold."""
    needed, memory = images * 3 * pixels**2, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise UsageError(
            f"{folder}: {images:,} images of {pixels} x {pixels} pixels take {needed / 1e9:,.0f} GB, more than the "
            f"{memory / 1e9:,.0f} GB of memory here. With data.streamed = true they stay files, decoded in every epoch."
        )


def _decode(folder: Path, paths: np.ndarray, labels: Tensor, pixels: int) -> Split:
    """Decode the files of a split in order."""
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda path: decode_image(folder / os.fsdecode(path), pixels), paths))
    return Split(torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()), labels)


def decode_image(path: Path, pixels: int) -> np.ndarray:
    """Return one image file as (pixels, pixels, 3) uint8 RGB.

    Raises:
        DataError: the file is no readable image.
    """
    try:
        image = read_rgb(path)
    except UnreadableImageError as error:
        raise DataError(f"image {path} cannot be read ({error}). Restore or remove the file.") from error
    if image.size != (pixels, pixels):
        image = ImageOps.fit(image, (pixels, pixels), Image.Resampling.BICUBIC)
    return np.asarray(image)
