"""CIFAR-10 and CIFAR-100, as the official Python files or as a lossless image folder: the same images either way."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.data.cifar_sets import CIFAR10, CIFAR100, PIXELS, Cifar, canonical, digest
from benchmark.data.datasets import Source, missing_data
from benchmark.data.images import Split
from benchmark.data.lossless import image_folder_in, lossless_folder
from benchmark.data.pickled import UnsafePickleError, load_plain
from benchmark.runtime.console import print_line
from benchmark.runtime.errors import DataError, UsageError
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.preset import DataSettings


def cifar10(roots: Sequence[Path], settings: DataSettings) -> Source:
    """Find CIFAR-10, or download its official Python files (170 MB); 50,000 + 10,000 images."""
    return find(CIFAR10, roots, settings)


def cifar100(roots: Sequence[Path], settings: DataSettings) -> Source:
    """Find CIFAR-100, or download its official Python files (169 MB); 50,000 + 10,000 images."""
    return find(CIFAR100, roots, settings)


def find(cifar: Cifar, roots: Sequence[Path], settings: DataSettings) -> Source:
    """Find the official Python files or a lossless image folder, in this order in each data root, or download.

    The images of a split come in canonical order, by their SHA-256 (see `canonical`), so that both forms give the same
    tensors.

    Raises:
        DataError: no such data, or other data under its name.
        UsageError: another size than 32 pixels was asked for.
    """
    if settings.pixels != PIXELS:
        raise UsageError(
            f"{cifar.title} has 32 x 32 images; data.pixels = {settings.pixels} is not possible, set it to 32."
        )
    ensure_importable()
    from torchvision import datasets as tv

    official: Any = getattr(tv, cifar.official)
    for root in roots:
        if (root / official.base_folder).is_dir():
            return _official(cifar, official, root / official.base_folder, settings.synthetic)
        folder = image_folder_in(root, cifar)
        if folder:
            return lossless_folder(cifar, folder)
    _download(cifar, official, roots)
    return _official(cifar, official, roots[0] / official.base_folder, settings.synthetic)


def _official(cifar: Cifar, official: Any, folder: Path, synthetic: bool) -> Source:
    """Return the official files, each checked by its MD5, or made-up ones in their format."""
    from torchvision.datasets.utils import check_integrity

    files = [*official.train_list, *official.test_list, [official.meta["filename"], official.meta["md5"]]]
    damaged = [name for name, md5 in files if not check_integrity(str(folder / name), None if synthetic else md5)]
    if damaged:
        raise DataError(
            f"{cifar.title} in {folder}: missing or damaged (wrong checksum): {', '.join(damaged)}. "
            "Delete the folder; the next run downloads it again."
        )

    def read() -> tuple[Split, Split]:
        train, test = (
            canonical(_read_files(cifar, [folder / name for name, _ in part]))
            for part in (official.train_list, official.test_list)
        )
        return train, test

    stats = [(folder / name).stat() for name, _ in files] if synthetic else []
    known = [(stat.st_size, stat.st_mtime_ns) for stat in stats] or sorted(map(tuple, files))
    key = hashlib.sha256(f"canonical, contiguous {known}".encode()).hexdigest()
    return Source(key, cifar.classes, read, digest, None if synthetic else cifar.digest)


def _read_files(cifar: Cifar, paths: Sequence[Path]) -> Split:
    """Return the images of some official files, one after the other.

    Raises:
        DataError: a file is none of the official format.
    """
    images, labels = list[np.ndarray](), list[int]()
    for path in paths:
        try:
            content = load_plain(path.read_bytes())
            pixels, theirs = np.asarray(content["data"]), [int(label) for label in content[cifar.labels]]
            images.append(pixels.reshape(len(theirs), 3, PIXELS, PIXELS))
        except (UnsafePickleError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is no file of {cifar.title} in the official format: {error!r}.") from error
        odd = [label for label in theirs if not 0 <= label < len(cifar.classes)]
        if odd or pixels.dtype != np.uint8:
            what = f"labels such as {odd[0]}" if odd else f"pixels of type {pixels.dtype}"
            raise DataError(f"{path} has {what}; {cifar.title} has labels below {len(cifar.classes)} and bytes.")
        labels += theirs
    return Split(torch.from_numpy(np.concatenate(images)), torch.tensor(labels, dtype=torch.int64))


def _download(cifar: Cifar, official: Any, roots: Sequence[Path]) -> None:
    """Download into the first data root, or unpack the archive that is there, or explain how to get the data."""
    from benchmark.data.download import DownloadError, fetch, source_of, unpack  # seconds that only a download needs

    target, url = roots[0], source_of(official.url)
    archive, folders = target / official.filename, f"{official.base_folder} (or {cifar.name}-png)"
    print_line(
        f"{cifar.title} is in none of {', '.join(map(str, roots))}, neither as {official.base_folder} nor as an image "
        f"folder {cifar.name}-png; getting {archive.name} ({cifar.size}) into {target}."
    )
    try:
        target.mkdir(parents=True, exist_ok=True)
        fetch(url, official.tgz_md5, cifar.archive, archive)
        unpack(archive, target / official.base_folder)
    except DownloadError as error:
        how = f"{error} Or get it as PNGs, {cifar.name}-png/{{train,test}}/<class>/*.png."
        raise missing_data(cifar.title, folders, cifar.size, roots, how) from error
    except OSError as error:
        how = f"{target} cannot hold it: {error}. Make room there, allow writing, or choose another folder."
        raise missing_data(cifar.title, folders, cifar.size, roots, how) from error
