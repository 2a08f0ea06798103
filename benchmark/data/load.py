"""Load a data set and split it by class: decoded once and kept in memory as uint8 tensors, or left in files."""

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.data.catalogue import DATASETS
from benchmark.data.checks import SIGNATURE, refuse_other_source, refuse_other_splits, warn_of_absent_classes
from benchmark.data.folders import image_folder, refuse_incomplete
from benchmark.data.images import Images, Source, Split
from benchmark.data.listing import Listing, list_folder
from benchmark.data.seeds import stream
from benchmark.data.streamed import Files, Skipped
from benchmark.runtime.console import print_line
from benchmark.runtime.errors import DataError, UsageError, own_words
from benchmark.runtime.files import (
    DamagedFileError,
    cache_folder,
    is_file,
    is_folder,
    load_tensors,
    path_of,
    refusal,
    write_whole,
)
from benchmark.settings.names import look_up
from benchmark.settings.preset import SAMPLE, DataSettings

FINGERPRINT = 16  # hex digits of a digest in records


@dataclass(frozen=True)
class Data:
    """A data set ready for runs.

    Attributes:
        name: the data set's name in presets.
        classes: number of classes.
        fingerprint: SHA-256 (16 hex digits) of all decoded pixels and labels; of images that stay files, see `Listing`.
        synthetic: the images are made up.
        train, test, validation: uint8 images (N, C, H, W) and labels (N,), or files with the setting `streamed`;
            validation may be empty.
        note: a remark on the data for readers of the record.
    """

    name: str
    classes: int
    fingerprint: str
    synthetic: bool
    train: Images
    test: Images
    validation: Images
    note: str | None = None

    @functools.cached_property
    def sample(self) -> Tensor:
        """About 2,000 evenly spaced training images (a folder is sorted by class), uint8 (n, C, H, W), on the CPU."""
        n = len(self.train.labels)
        return self.train.pick(range(0, n, max(1, n // SAMPLE)), torch.device("cpu")).images.cpu()

    def to(self, device: torch.device) -> "Data":
        """Return the same data on a device; uint8, so that 50,000 CIFAR images take 154 MB. Files stay files."""
        return replace(
            self, train=self.train.to(device), test=self.test.to(device), validation=self.validation.to(device)
        )


def data_roots(named: Path | None) -> list[Path]:
    """Return the folders in which data is looked for, in order: --data-root, SBA_DATA_ROOT, ./data, the user cache.

    Raises:
        DataError: the folder that the user named does not exist or may not be read.
    """
    variable = os.environ.get("SBA_DATA_ROOT")
    chosen = {"--data-root": named, "SBA_DATA_ROOT": path_of(variable) if variable else None}
    given = {source: folder for source, folder in chosen.items() if folder is not None}
    for source, folder in given.items():
        if denied := refusal(folder / "data"):  # of any name
            raise DataError(f"{source} names {folder}, which may not be read: {denied}.")
        if not is_folder(folder):
            raise DataError(f"{source} names {folder}, which is no folder.")
    return [*given.values(), Path("data"), cache_folder() / "data"]


def load_data(settings: DataSettings, roots: Sequence[Path], may_skip: int = 0, fewer: bool = False) -> Data:
    """Load a data set: from the decoded cache if its files are unchanged, else by decoding them.

    Streamed, its files are only listed; `may_skip` damaged ones may then be replaced by others. With `fewer`, as in
    smoke runs, `data.train_images` may be more than there are: all are taken, and a line says so. Classes without an
    image are named in a warning.

    Raises:
        DataError: missing or damaged data; images or labels that are not as `checks` wants them.
        UsageError: fewer images than the settings ask for; images that do not fit into memory, or cannot be streamed; a
            row of `DATASETS` whose function fails or returns something else.
    """
    row = DATASETS.get(settings.dataset)
    who = f"data set {settings.dataset!r}{f' ({row.target})' if row else ''}"
    found = _found(settings, roots, who)
    note = None
    train: Images
    test: Images
    if settings.streamed:
        classes, train, test, fingerprint = _streamed(found, settings, may_skip)
    elif may_skip:
        raise UsageError(f"--skip-corrupt is for images that are streamed (data.streamed); {settings.dataset} is not.")
    else:
        source = found if isinstance(found, Source) else image_folder(found, settings.pixels)
        train, test, fingerprint = _cached(source, settings, who)
        classes, note = source.classes, _note(source, fingerprint)
    chosen = _chosen(settings, train, test, fewer)
    warn_of_absent_classes(who, classes, dict(zip(("training", "test", "validation"), chosen, strict=True)))
    return Data(settings.name, len(classes), fingerprint, settings.synthetic, *chosen, note)


def _found(settings: DataSettings, roots: Sequence[Path], who: str) -> Source | Listing:
    """Return the data set that the function of a row finds, or the listing of an image folder."""
    found: Any = Path(settings.dataset)
    if "/" not in settings.dataset:
        find = look_up(settings.dataset, DATASETS)
        with own_words(UsageError, f"{who} fails as {SIGNATURE}"):
            found = find(roots, settings)
    if isinstance(found, Path):
        listing = list_folder(found)
        refuse_incomplete(settings, listing)
        return listing
    if not isinstance(found, Source):
        raise UsageError(f"{who} returned {type(found).__name__}; a data set is {SIGNATURE}.")
    refuse_other_source(who, found)
    return found


def _note(source: Source, fingerprint: str) -> str | None:
    """Return the note on official files whose images are not the known ones."""
    expected = source.expected
    if expected is None or expected.startswith(fingerprint):
        return None
    return (
        f"The official files have the digest {fingerprint}, the images known to this code {expected[:FINGERPRINT]}; "
        "the files were accepted by their official MD5."
    )


def _streamed(
    found: Source | Listing, settings: DataSettings, may_skip: int
) -> tuple[Sequence[str], Files, Files, str]:
    """Return the classes, both splits and the fingerprint of images that stay files."""
    if isinstance(found, Source):
        raise UsageError(
            f"data.streamed = true is for folders of image files; {settings.dataset} is none, and fits into memory."
        )
    size = settings.pixels, settings.resize or settings.pixels
    skipped = Skipped(may_skip)
    train, test = (Files(found.folder, *split, *size, skipped) for split in (found.train, found.test))
    return found.classes, train, test, found.fingerprint


def _chosen(settings: DataSettings, train: Images, test: Images, fewer: bool) -> tuple[Images, Images, Images]:
    """Return the training, test and validation images of the settings, class-stratified."""
    stratified = stratified_order(train.labels, stream(settings.name, settings.split_seed, "split"))
    held_out, wanted, there = settings.validation_images, settings.train_images, len(stratified)
    if fewer and held_out < there < held_out + wanted:
        print_line(f"{settings.dataset} has {there:,} training images: {there - held_out:,} are taken, not {wanted:,}.")
        wanted = 0
    if held_out + max(wanted, 1) > there:
        raise UsageError(
            f"{settings.dataset} has {there:,} training images, fewer than data.validation_images = "
            f"{held_out:,} and data.train_images = {wanted:,} (0: all that are left, at least one) need together. Set "
            "smaller numbers: --set data.train_images=N."
        )
    chosen = stratified[held_out : held_out + wanted] if wanted else stratified[held_out:]
    validation = train.subset(stratified[:held_out].sort().values)
    if 0 < settings.test_images < len(test.labels):  # smoke runs
        order = stratified_order(test.labels, stream(settings.name, settings.split_seed, "test"))
        test = test.subset(order[: settings.test_images].sort().values)
    return train.subset(chosen.sort().values), test, validation


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 images into float32 in [0, 1], channels_last."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def stratified_order(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random order in which every prefix is class-stratified.

    The r-th of the n_c images of class c (in random order) gets the key (r + 1/2) / n_c; sorting by it spreads
    each class evenly.

    Args:
        labels: (N,) class indices.
        generator: CPU generator of the order within each class.

    Returns:
        (N,) indices.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    counts = torch.bincount(labels)  # (classes,)
    by_class = shuffled[labels[shuffled].sort(stable=True).indices]  # (N,) class after class
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(labels)) - starts[labels[by_class]]
    keys = (rank + 0.5) / counts[labels[by_class]]
    return by_class[keys.sort(stable=True).indices]


def _cached(source: Source, settings: DataSettings, who: str) -> tuple[Split, Split, str]:
    """Return both splits and their fingerprint, from the cache of decoded images if they are there."""
    if source.key is None:
        return _read(source, settings, who)
    label = "".join(c if c.isalnum() else "-" for c in settings.name)[-40:]
    path = cache_folder() / "decoded" / f"{label}-{hashlib.sha256(source.key.encode()).hexdigest()[:16]}.pt"
    if is_file(path):
        try:
            train, test, fingerprint = _load(path, source)
            refuse_other_splits(who, len(source.classes), settings.pixels, (train, test))  # the row may have changed
            return train, test, fingerprint
        except (DamagedFileError, DataError) as error:
            print_line(f"The decoded images in {path} are damaged ({error}); decoding again.")
    print_line(f"Decoding {settings.name} (once; kept in {path.parent}).")
    train, test, fingerprint = _read(source, settings, who)
    _keep(path, {"train": tuple(train), "test": tuple(test), "fingerprint": fingerprint})
    return train, test, fingerprint


def _read(source: Source, settings: DataSettings, who: str) -> tuple[Split, Split, str]:
    """Decode and return both splits and their fingerprint."""
    with own_words(DataError, f"{who} cannot be read"):
        splits = source.read()
        refuse_other_splits(who, len(source.classes), settings.pixels, splits)
        train, test = splits
        return train, test, source.digest(train, test)[:FINGERPRINT]


def _load(path: Path, source: Source) -> tuple[Split, Split, str]:
    """Return both splits and their fingerprint from the cache; DamagedFileError if they are not as written."""
    kept = load_tensors(path, mmap=True)
    try:
        train, test, fingerprint = Split(*kept["train"]), Split(*kept["test"]), kept["fingerprint"]
        unchanged = source.digest(train, test)[:FINGERPRINT] == fingerprint
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:  # a changed byte in its own tables
        raise DamagedFileError("it holds something else than images and labels") from error
    if not unchanged:
        raise DamagedFileError("its images or labels have changed")
    return train, test, fingerprint


def _keep(path: Path, values: dict[str, object]) -> None:
    """Write the decoded images atomically; without a cache the next start takes longer, nothing else."""
    try:
        write_whole(path, lambda file: torch.save(values, file))
    except (OSError, RuntimeError) as error:
        print_line(f"Cannot keep the decoded images in {path.parent} ({error}); the next start decodes again.")
