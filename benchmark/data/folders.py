"""Image folders as data sets: where they are found, how many images they must have, and the loader into memory."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from benchmark.data.catalogue import DATASETS
from benchmark.data.decode import UnreadableImageError, read_rgb
from benchmark.data.images import Source, Split
from benchmark.data.listing import Listing, Names
from benchmark.runtime.errors import DataError, UsageError
from benchmark.runtime.files import is_folder
from benchmark.settings.preset import DataSettings


def named_folder(roots: Sequence[Path], settings: DataSettings) -> Path:
    """Find the image folder of a data set whose row in `DATASETS` has its name, below the data roots.

    Raises:
        DataError: it is below none of them.
        UsageError: the row's `folder` does not end in /train.
    """
    row = DATASETS[settings.dataset]
    place = Path(row.folder).parent
    if Path(row.folder) != place / "train" or place == Path():
        raise UsageError(
            f"DATASETS[{settings.dataset!r}] in benchmark/data/catalogue.py: folder = {row.folder!r} must be the path "
            "of its training images below a data root, '<folder>/train'."
        )
    for root in roots:
        if is_folder(root / row.folder):
            return root / place
    raise missing_data(row.title or str(place), str(place), row.size, roots, row.instructions)


def missing_data(title: str, folder: str, size: str, roots: Sequence[Path], instructions: str) -> DataError:
    """Return the message for missing data: where it was looked for, how to get it and its size, if they are known."""
    places = "".join(f"\n  {root / folder}" for root in roots)
    named = f"{title} ({size})" if size else title
    step = f"{instructions} Then name" if instructions else "Name"
    return DataError(
        f"{named} was not found. Looked for:{places}\n{step} the folder that holds it with --data-root DIR or the "
        "environment variable SBA_DATA_ROOT."
    )


def refuse_incomplete(settings: DataSettings, listing: Listing) -> None:
    """Compare the numbers of images in a folder with those of its row in `DATASETS`; a path of one's own has none.

    Raises:
        DataError: they differ; another number of images is another data set, whose records would pass for the whole.
    """
    row = DATASETS.get(settings.dataset)
    if row is None or settings.synthetic:
        return
    found = len(listing.train[0]), len(listing.test[0])
    known = row.train_images, row.test_images or found[1]
    if found != known:
        raise DataError(
            f"{row.title or settings.dataset} has {known[0]:,} training and {known[1]:,} test images; here are "
            f"{found[0]:,} and {found[1]:,}. Get it again, or name a part of it by its path: "
            "data.dataset = './my/folder'."
        )


def image_folder(listing: Listing, pixels: int) -> Source:
    """Return the images of a listed folder, to be decoded when they are first used.

    Images become RGB, their shorter side `pixels`, the centre cut out where they are not square.

    Raises:
        DataError: an unreadable image (which file).
        UsageError: the images do not fit into this machine's memory.
    """
    images = len(listing.train[0]) + len(listing.test[0])
    needed, memory = images * 3 * pixels**2, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise UsageError(
            f"{listing.folder}: {images:,} images of {pixels} x {pixels} pixels take {needed / 1e9:,.0f} GB, "
            f"more than the {memory / 1e9:,.0f} GB of memory here. With data.streamed = true they stay files, decoded "
            "in every epoch."
        )

    def read() -> tuple[Split, Split]:
        return _decode(listing.folder, *listing.train, pixels), _decode(listing.folder, *listing.test, pixels)

    key = hashlib.sha256(f"{pixels} {listing.key}".encode()).hexdigest()
    return Source(key, listing.classes, read)


def _decode(folder: Path, paths: Names, labels: Tensor, pixels: int) -> Split:
    images = np.empty((len(paths), 3, pixels, pixels), dtype=np.uint8)

    def fill(row: int) -> None:
        images[row] = decode_image(folder / os.fsdecode(paths[row]), pixels).transpose(2, 0, 1)

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(len(paths))))
    return Split(torch.from_numpy(images), labels)


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
