"""CIFAR data sets as lossless image folders, {train,test}/<class>/*.png, which must hold exactly the originals."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmark.data.cifar_sets import CIFAR10, PIXELS, SPLITS, Cifar, canonical, class_digests, digest
from benchmark.data.datasets import Source
from benchmark.data.decode import UnreadableImageError, read_rgb
from benchmark.data.folders import File, print_left_out, scan
from benchmark.data.images import Split
from benchmark.runtime.errors import DataError, shorten

PNG = b"\x89PNG\r\n\x1a\n"
GREY = (0, 4)  # colour types of PNG without colours, the byte at 25
PICTURES = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")


def image_folder_in(root: Path, cifar: Cifar) -> Path | None:
    """Return the data set's image folder in a data root: "cifar10-png", "CIFAR-10-images" and the like."""

    def plain(folder: Path) -> str:
        return "".join(filter(str.isalnum, folder.name.lower()))

    try:
        found = [folder for folder in root.iterdir() if plain(folder) in cifar.folders and (folder / "train").is_dir()]
    except OSError:  # no folder, or one that may not be listed: looked for in the others
        return None
    return min(found, key=lambda folder: (cifar.folders.index(plain(folder)), folder.name), default=None)


def lossless_folder(cifar: Cifar, folder: Path) -> Source:
    """Return an image folder {train,test}/<class>/*.png, which must hold exactly the data set's images.

    Raises:
        DataError: other classes, images missing or too many, images that are no PNGs; each with counts.
    """
    files = _pngs(cifar, folder)
    counts = [
        f"{split}/{name} has {found:,} of {wanted:,}"
        for split, wanted in zip(SPLITS, cifar.images, strict=True)
        for tally in [Counter(label for _, label in files[split])]
        for label, name in enumerate(cifar.classes)
        if (found := tally[label]) != wanted
    ]
    if counts:
        raise _refused(cifar, folder, f"images are missing or too many: {shorten(', '.join(counts), 300)}")

    def read() -> tuple[Split, Split]:
        train, test = (canonical(_decode(cifar, folder, files[split])) for split in SPLITS)
        if digest(train, test) != cifar.digest:
            raise _refused(cifar, folder, _differing(cifar, train, test))
        return train, test

    key = hashlib.sha256(f"canonical, contiguous {cifar.digest}\n".encode())
    for file in (file for split in SPLITS for file, _ in files[split]):
        key.update(b"%s %d %d\n" % file)
    return Source(key.hexdigest(), cifar.classes, read, digest, cifar.digest)


def _refused(cifar: Cifar, folder: Path, reason: str) -> DataError:
    """Return the message for an image folder that bears the data set's name without holding it."""
    jpeg = " Images saved as JPEG are the data set cifar10_jpeg, in a folder cifar10-jpeg." if cifar is CIFAR10 else ""
    train, test = (number * len(cifar.classes) for number in cifar.images)
    return DataError(
        f"{folder} is not {cifar.title}: {reason}. It must hold the {train:,} + {test:,} original images, lossless, "
        f"as {{train,test}}/<class>/*.png. Rename or delete it to have the official files downloaded.{jpeg}"
    )


def _pngs(cifar: Cifar, folder: Path) -> dict[str, list[tuple[File, int]]]:
    """Return the PNGs of each split with their labels; an image's class is the folder that it lies in.

    Raises:
        DataError: images that are no PNGs, and classes of other names; with counts.
    """
    labels = {name: label for label, name in enumerate(cifar.classes)}
    found, strange, others = dict[str, list[tuple[File, int]]](), list[str](), list[str]()
    tree = scan(folder, SPLITS, (".png", *PICTURES))
    print_left_out(folder, tree.left_out, (".png",))
    for split, classes in tree.splits.items():
        found[split] = []
        for file in (file for files in classes.values() for file in files):
            path = os.fsdecode(file.path)
            kind = path.split("/")[-2]
            label = labels.get(kind.lower().replace(" ", "_").replace("-", "_"))
            if not path.lower().endswith(".png"):
                others.append(f"{split}/{kind}")
            elif label is None:
                strange.append(f"{split}/{kind}")
            else:
                found[split].append((file, label))
    if others:
        raise _refused(cifar, folder, f"{len(others):,} images are no PNGs ({_tally(others)})")
    if strange:
        raise _refused(cifar, folder, f"it has no such classes: {_tally(strange)}")
    return found


def _decode(cifar: Cifar, folder: Path, files: Sequence[tuple[File, int]]) -> Split:
    """Decode files in order.

    Raises:
        DataError: images that cannot be read, are not 32 x 32 or grey, or PNGs by their name only; with counts.
    """
    paths = [os.fsdecode(file.path) for file, _ in files]
    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(lambda path: _pixels(folder / path), paths))
    images = [image for image in decoded if not isinstance(image, str)]
    if len(images) < len(files):
        faults = [
            (fault, path.split("/")) for path, fault in zip(paths, decoded, strict=True) if isinstance(fault, str)
        ]
        worst = Counter(fault for fault, _ in faults).most_common(1)[0][0]
        where = [f"{parts[0]}/{parts[-2]}" for fault, parts in faults if fault == worst]
        raise _refused(cifar, folder, f"{len(where):,} images {worst} ({_tally(where)})")
    return Split(torch.from_numpy(np.stack(images)), torch.tensor([label for _, label in files]))


def _pixels(path: Path) -> np.ndarray | str:
    """Return (3, 32, 32) uint8 pixels, or what is wrong with the image."""
    try:
        with path.open("rb") as file:
            start = file.read(26)
        if not start.startswith(PNG):
            return "are named .png and are none"
        image = read_rgb(path)
    except (OSError, UnreadableImageError):
        return "cannot be read"
    if image.size != (PIXELS, PIXELS):
        return f"are not {PIXELS} x {PIXELS} but {image.size[0]} x {image.size[1]}"
    return "are grey" if start[25] in GREY else np.asarray(image).transpose(2, 0, 1)


def _differing(cifar: Cifar, train: Split, test: Split) -> str:
    """Return which classes have other images than the data set's, each split apart."""
    names = [f"{split}/{name}" for split in SPLITS for name in cifar.classes]
    found = class_digests(len(cifar.classes), train, test)
    wanted = [cifar.parts[4 * number : 4 * number + 4] for number in range(len(names))]
    wrong = [name for name, one, other in zip(names, found, wanted, strict=True) if one != other]
    return (
        f"its images differ from the originals in {len(wrong)} of {len(names)} folders ({shorten(', '.join(wrong))}), "
        "as they do when they were saved as JPEG or resized once"
    )


def _tally(places: Iterable[str]) -> str:
    """Return how many there are in each class: "train/cat 12, train/dog 3"."""
    return shorten(", ".join(f"{place} {number:,}" for place, number in sorted(Counter(places).items())), 300)
