"""The files of an image folder: one listing for images in memory and for images that stay files."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from heapq import heappop, heappush
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmark.data.decode import FORMATS
from benchmark.runtime.console import print_line, printable
from benchmark.runtime.errors import DataError, shorten
from benchmark.runtime.files import is_folder, refusal

READERS = 8  # threads that list folders: network file systems have a high latency, but serve many requests at once
HIDDEN = (b".", b"__MACOSX")

Names = np.ndarray  # (N,) bytes; a million str objects take far more memory, and forked workers would copy them
Identity = tuple[int, int]  # device and inode of a folder


class File(NamedTuple):
    """A file of a folder: its path relative to the data set's folder, its size in bytes, its time of change in ns."""

    path: bytes
    size: int
    changed: int


class Tree(NamedTuple):
    """The files of the classes of each split, and the number of entries that were left out, by kind."""

    splits: dict[str, dict[str, list[File]]]
    left_out: Counter[str]


class Listing(NamedTuple):
    """The images of an image folder.

    Attributes:
        folder: its path.
        classes: class names in the order of their labels.
        train, test: (N,) paths relative to the folder, as bytes, and (N,) int64 labels; sorted by class, then name.
        fingerprint: SHA-256 (16 hex digits) of all relative paths and sizes. The files' content is not read: damage
            that leaves a file's size shows when it is decoded.
        key: SHA-256 (64 hex digits) of all relative paths, sizes and times of change.
    """

    folder: Path
    classes: list[str]
    train: tuple[Names, Tensor]
    test: tuple[Names, Tensor]
    fingerprint: str
    key: str


def list_folder(folder: Path) -> Listing:
    """List the images in train/<class>/ and test/<class>/ (or val/<class>/), and in the folders inside; see `scan`.

    It asks for each file's size and time and opens none, half a second of processor time for 100,000 files on a local
    disk. The number of entries that are left out is printed.

    Raises:
        DataError: no such folders, a class without images, a folder in two places, or different classes in both splits.
    """
    second = "test" if is_folder(folder / "test") else "val"
    tree = scan(folder, ("train", second), tuple(FORMATS))
    classes = {split: list(found) for split, found in tree.splits.items()}
    if second == "test" and is_folder(folder / "val"):
        tree.left_out["val/ beside test/"] += 1
    print_left_out(folder, tree.left_out, tuple(FORMATS))
    for split, found in tree.splits.items():
        empty = [name for name, files in found.items() if not files]
        if empty or not found:
            without = f"no images for the classes {shorten(', '.join(empty))}" if empty else "no classes"
            raise _no_image_folder(folder, f"{split}/ has {without}")
    _refuse_other_classes(folder, classes)
    digest, key, splits = hashlib.sha256(), hashlib.sha256(), list[tuple[Names, Tensor]]()
    for found in tree.splits.values():
        for files in found.values():
            digest.update(b"".join(b"%s %d\n" % (file.path, file.size) for file in files))
            key.update(b"".join(b"%s %d %d\n" % file for file in files))
        labels = torch.repeat_interleave(torch.tensor([len(files) for files in found.values()]))
        splits.append((np.array([file.path for files in found.values() for file in files]), labels))
    return Listing(folder, classes["train"], splits[0], splits[1], digest.hexdigest()[:16], key.hexdigest())


def _no_image_folder(folder: Path, reason: str) -> DataError:
    if denied := refusal(folder / "train"):
        return DataError(f"the image folder {folder.absolute()} may not be read: {denied}.")
    if not is_folder(folder):
        return DataError(
            f"there is no folder {folder.absolute()}; a path starts at the current folder, not at a data root."
        )
    try:
        there = sorted(f"{entry.name}/" for entry in folder.iterdir() if entry.is_dir())
    except OSError:  # it may not be listed, which `reason` says
        there = []
    reason += f"; it has {shorten(', '.join(map(printable, there)), 200)}" if there else ""
    return DataError(
        f"{folder} is no image folder: it needs train/<class>/ and test/<class>/ or val/<class>/ "
        f"with images in each. ({reason})"
    )


def _refuse_other_classes(folder: Path, classes: dict[str, list[str]]) -> None:
    """Refuse splits of different classes, and classes that differ in Unicode normalisation only."""
    alike = dict[str, set[str]]()
    for name in sorted(set().union(*classes.values())):
        alike.setdefault(unicodedata.normalize("NFC", name), set()).add(name)
    pairs = "; ".join(" and ".join(map(ascii, sorted(names))) for names in alike.values() if len(names) > 1)
    if pairs:
        raise DataError(
            f"{folder}: classes whose names look the same and differ in Unicode normalisation: {pairs}. Give the "
            "folders of one class one name."
        )
    first, second = classes.values()
    if first != second:
        odd = shorten(", ".join(sorted(set(first) ^ set(second))))
        raise DataError(f"{folder}: classes that are in only one of {'/ and '.join(classes)}/: {odd}.")


def print_left_out(folder: Path, left_out: Counter[str], endings: Sequence[str]) -> None:
    """Print in one line the number of entries of an image folder that are not read, by kind."""
    if left_out:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(left_out.items(), key=lambda item: -item[1]))
        total = sum(left_out.values())
        print_line(f"{folder}: {total:,} entries are left out ({shorten(kinds, 300)}); read is {', '.join(endings)}.")


def scan(folder: Path, splits: Sequence[str], endings: tuple[str, ...]) -> Tree:
    """Return the regular files with one of the endings in <split>/<class>/ and the folders inside, sorted.

    Names that begin with "." or "__MACOSX" are left out, as are dead links and entries that are neither files nor
    folders. Links to files and folders are followed, but no folder is read twice.

    Raises:
        DataError: a split that cannot be read; a split or class that is the same folder as another, through a link.
    """
    left_out, known = Counter[str](), dict[Identity, str]()
    classes = list[tuple[str, str]]()
    for split in splits:
        try:
            _register(folder, split, known)
            classes += [(split, name) for name in _class_folders(folder / split, left_out)]
        except OSError as error:
            raise _no_image_folder(folder, str(error)) from error
    try:
        for split, name in classes:
            _register(folder, f"{split}/{name}", known)
        walk = partial(_walk, os.fsencode(folder), tuple(map(os.fsencode, endings)))
        found = [_Found([os.fsencode(f"{split}/{name}")], [], set(), [], Counter()) for split, name in classes]
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(partial(walk, known), found))
        seen = set(known).union(*(part.folders for part in found))
        for part in found:
            while part.links:
                link = heappop(part.links)
                identity = _identity((folder / os.fsdecode(link)).stat())
                if identity in seen:
                    part.left_out["links to folders that are read elsewhere"] += 1
                    continue
                seen.add(identity)
                part.pending.append(link)
                walk(seen, part)
                seen |= part.folders
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error}.") from error
    tree: dict[str, dict[str, list[File]]] = {split: {} for split in splits}
    for (split, name), part in zip(classes, found, strict=True):
        left_out.update(part.left_out)
        tree[split][name] = sorted(part.files, key=_order)
    return Tree(tree, left_out)


def _order(file: File) -> list[tuple[bool, bytes]]:
    """Return the sort key; the files of a folder come before those of the folders inside it."""
    *folders, name = file.path.split(b"/")
    return [*((True, part) for part in folders), (False, name)]


def _register(folder: Path, place: str, known: dict[Identity, str]) -> None:
    """Add a split's or class's folder to `known`; DataError if it is there under another name."""
    other = known.setdefault(_identity((folder / place).stat()), place)
    if other != place:
        raise DataError(
            f"{folder}: {place}/ is the same folder as {other}/, by a link. Each image belongs to one class of one "
            "split; put a folder of other images there, or remove the link."
        )


def _identity(stat: os.stat_result) -> Identity:
    return stat.st_dev, stat.st_ino


def _class_folders(split: Path, left_out: Counter[str]) -> list[str]:
    names = []
    with os.scandir(os.fsencode(split)) as entries:
        for entry in entries:
            kind = _kind(entry)
            if kind in ("folder", "link to a folder"):
                names.append(os.fsdecode(entry.name))
            else:
                left_out["outside of the classes' folders" if kind == "file" else kind] += 1
    return sorted(names)


def _kind(entry: os.DirEntry[bytes]) -> str:
    """Return "file", "folder", "link to a folder", or the kind of an entry that is left out."""
    if entry.name.startswith(HIDDEN):
        return "hidden"
    try:
        if entry.is_dir():
            return "link to a folder" if entry.is_symlink() else "folder"
        if entry.is_file():
            return "file"
    except OSError:  # a link that leads to itself
        return "dead links"
    return "dead links" if entry.is_symlink() else "neither files nor folders"


class _Found(NamedTuple):
    """What a walk has found in the folders of one class."""

    pending: list[bytes]  # to be walked
    files: list[File]
    folders: set[Identity]  # inside the class's own
    links: list[bytes]  # to folders, a heap
    left_out: Counter[str]


def _walk(root: bytes, endings: tuple[bytes, ...], known: Container[Identity], part: _Found) -> None:
    """Add the files below the pending folders, but not below a known one; links to folders are not followed."""
    while part.pending:
        inside = part.pending.pop()
        with os.scandir(root + b"/" + inside) as entries:
            for entry in entries:
                kind, path = _kind(entry), inside + b"/" + entry.name
                if kind == "link to a folder":
                    heappush(part.links, path)
                elif kind == "folder":
                    identity = _identity(entry.stat())
                    if identity in known:  # a class whose own folder is a link to here
                        part.left_out["folders that are read elsewhere"] += 1
                    else:
                        part.folders.add(identity)
                        part.pending.append(path)
                elif kind == "file" and entry.name.lower().endswith(endings):
                    stat = entry.stat()
                    part.files.append(File(path, stat.st_size, stat.st_mtime_ns))
                else:
                    part.left_out[_ending(entry.name) if kind == "file" else kind] += 1


def _ending(name: bytes) -> str:
    return PurePath(os.fsdecode(name)).suffix.lower()[:20] or "without ending"
