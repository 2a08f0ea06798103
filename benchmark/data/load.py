"""Load a data set and split it by class: decoded once and kept in memory as uint8 tensors, or left in files."""

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from benchmark.data.catalogue import DATASETS
from benchmark.data.folders import Listing, image_folder, list_folder, refuse_incomplete
from benchmark.data.images import Images, Source, Split
from benchmark.data.seeds import stream
from benchmark.data.streamed import Files, Skipped
from benchmark.runtime.console import print_line
from benchmark.runtime.errors import DataError, UsageError
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


def load_data(settings: DataSettings, roots: Sequence[Path], may_skip: int = 0) -> Data:
    """Load a data set: from the decoded cache if its files are unchanged, else by decoding them.

    Streamed, its files are only listed; `may_skip` damaged ones may then be replaced by others.

    Raises:
        DataError: missing or damaged data.
        UsageError: fewer images than the settings ask for; images that do not fit into memory, or cannot be streamed.
    """
    if "/" in settings.dataset:
        found: Source | Path | Listing = Path(settings.dataset)
    else:
        found = look_up(settings.dataset, DATASETS)(roots, settings)
    if isinstance(found, Path):
        found = list_folder(found)
        refuse_incomplete(settings, found)
    if settings.streamed:
        return _streamed(found, settings, may_skip)
    if may_skip:
        raise UsageError(f"--skip-corrupt is for images that are streamed (data.streamed); {settings.dataset} is not.")
    source = found if isinstance(found, Source) else image_folder(found, settings.pixels)
    train, test, fingerprint = _cached(source, settings.name)
    for split in (train, test):
        if split.images.dtype != torch.uint8:  # only bytes are certain to be in [0, 1] once divided by 255
            raise DataError(f"{settings.dataset}: images must be uint8 (0 to 255), these are {split.images.dtype}.")
    chosen = _chosen(settings, train, test)
    return Data(
        settings.name, len(source.classes), fingerprint, settings.synthetic, *chosen, _note(source, fingerprint)
    )


def _note(source: Source, fingerprint: str) -> str | None:
    """Return the note on official files whose images are not the known ones."""
    expected = source.expected
    if expected is None or expected.startswith(fingerprint):
        return None
    return (
        f"The official files have the digest {fingerprint}, the images known to this code {expected[:FINGERPRINT]}; "
        "the files were accepted by their official MD5."
    )


def _streamed(found: Source | Listing, settings: DataSettings, may_skip: int) -> Data:
    if isinstance(found, Source):
        raise UsageError(
            f"data.streamed = true is for folders of image files; {settings.dataset} is none, and fits into memory."
        )
    size = settings.pixels, settings.resize or settings.pixels
    skipped = Skipped(may_skip)
    train, test = (Files(found.folder, *split, *size, skipped) for split in (found.train, found.test))
    chosen = _chosen(settings, train, test)
    return Data(settings.name, len(found.classes), found.fingerprint, settings.synthetic, *chosen)


def _chosen(settings: DataSettings, train: Images, test: Images) -> tuple[Images, Images, Images]:
    """Return the training, test and validation images of the settings, class-stratified."""
    stratified = stratified_order(train.labels, stream(settings.name, settings.split_seed, "split"))
    held_out, wanted = settings.validation_images, settings.train_images
    if held_out + max(wanted, 1) > len(stratified):
        raise UsageError(
            f"{settings.dataset} has {len(stratified):,} training images, fewer than data.validation_images = "
            f"{held_out:,} and data.train_images = {wanted:,} (0: all that are left, at least one) need together. Set "
            "smaller numbers, also in a smoke run: --set data.train_images=N."
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


def _cached(source: Source, name: str) -> tuple[Split, Split, str]:
    """Return both splits and their fingerprint, from the cache of decoded images if they are there."""
    if source.key is None:
        train, test = source.read()
        return train, test, source.digest(train, test)[:FINGERPRINT]
    label = "".join(c if c.isalnum() else "-" for c in name)[-40:]
    path = cache_folder() / "decoded" / f"{label}-{source.key[:16]}.pt"
    if is_file(path):
        try:
            return _load(path, source)
        except DamagedFileError as error:
            print_line(f"The decoded images in {path} are damaged ({error}); decoding again.")
    print_line(f"Decoding {name} (once; kept in {path.parent}).")
    train, test = source.read()
    fingerprint = source.digest(train, test)[:FINGERPRINT]
    _keep(path, {"train": tuple(train), "test": tuple(test), "fingerprint": fingerprint})
    return train, test, fingerprint


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
