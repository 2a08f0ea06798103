"""What is in an image folder whose images stay files: found without opening one."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmark.data.datasets import no_image_folder, refuse_other_classes, second_split
from benchmark.data.synthetic import MARKER
from benchmark.runtime.errors import DataError, shorten
from benchmark.runtime.torchvision import ensure_importable

READERS = 8  # threads that read folders: a network's file system answers each question late, but many at once

Names = np.ndarray  # (N,) of bytes; a million texts would take far more memory, and forked workers would copy them


class Listing(NamedTuple):
    """The files of an image folder.

    Attributes:
        classes: class names in the order of their labels.
        train, test: (N,) paths relative to the folder, as bytes, and (N,) int64 labels; sorted by class, then name.
        fingerprint: SHA-256 (16 hex digits) of all relative paths and sizes. The files' content is not read: damage
            that leaves a file's size shows when it is decoded.
        synthetic: the images are made up.
    """

    classes: list[str]
    train: tuple[Names, Tensor]
    test: tuple[Names, Tensor]
    fingerprint: str
    synthetic: bool


def list_folder(folder: Path) -> Listing:
    """List train/<class>/* and test/<class>/* (or val/<class>/*) as torchvision's ImageFolder does.

    It asks for each file's size and nothing else, half a second of processor time for 100,000 files on a local disk.
    Keeping the list would save little, as only asking again shows whether it still holds.

    Raises:
        DataError: no such folders, a class without images, or different classes in both splits.
    """
    digest, splits, classes = hashlib.sha256(), [], list[list[str]]()
    for split in ("train", second_split(folder)):
        try:
            names = sorted(entry.name for entry in os.scandir(folder / split) if entry.is_dir())
        except OSError as error:
            raise no_image_folder(folder, str(error)) from error
        classes.append(names)
        splits.append(_list_split(folder, split, names, digest))
    refuse_other_classes(folder, classes[0], classes[1])
    return Listing(classes[0], splits[0], splits[1], digest.hexdigest()[:16], (folder / MARKER).is_file())


def _list_split(folder: Path, split: str, classes: list[str], digest: "hashlib._Hash") -> tuple[Names, Tensor]:
    """Return paths and labels of one split and add its paths and sizes to the digest."""
    ensure_importable()
    from torchvision.datasets.folder import IMG_EXTENSIONS

    endings = tuple(ending.encode() for ending in IMG_EXTENSIONS)
    places = [os.fsencode(folder / split / name) for name in classes]
    try:
        with ThreadPoolExecutor(READERS) as pool:
            found = list(pool.map(lambda place: list(_files(place, endings)), places))
    except OSError as error:
        raise DataError(f"{folder / split} cannot be listed: {error}.") from error
    empty = [name for name, files in zip(classes, found, strict=True) if not files]
    if empty or not classes:
        without = f"no images for the classes {shorten(', '.join(empty))}" if empty else "no classes"
        raise no_image_folder(folder, f"{split}/ has {without}")
    paths = []
    for name, files in zip(classes, found, strict=True):
        start = os.fsencode(f"{split}/{name}/")
        paths += [start + file for file, _ in files]
        digest.update(b"".join(b"%s%s %d\n" % (start, file, size) for file, size in files))
    labels = torch.repeat_interleave(torch.tensor([len(files) for files in found]))
    return np.array(paths), labels


def _files(folder: bytes, endings: tuple[bytes, ...], inside: bytes = b"") -> Iterator[tuple[bytes, int]]:
    """Yield path, relative to the class's folder, and size of each image in it and in the folders inside it."""
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.lower().endswith(endings) and not entry.is_dir():
                files.append((inside + entry.name, entry.stat().st_size))
            elif entry.is_dir():
                folders.append(entry.name)
    yield from sorted(files)
    for name in sorted(folders):
        yield from _files(folder + b"/" + name, endings, inside + name + b"/")


def refuse_incomplete(listing: Listing, title: str, train: int, test: int) -> None:
    """Refuse a folder that bears an official name without holding that data set; made-up images may be fewer.

    Raises:
        DataError: the numbers of images differ.
    """
    found = len(listing.train[0]), len(listing.test[0])
    if not listing.synthetic and found != (train, test):
        raise DataError(
            f"{title} has {train:,} training and {test:,} validation images; here are {found[0]:,} and {found[1]:,}. "
            "Unpack the archives again, or name a part of it by its path: data.dataset = './my/folder'."
        )
