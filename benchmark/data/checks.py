"""The form of every data set, checked when it is loaded, from whichever function, folder or cache it comes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.data.images import Images, Source, Split
from benchmark.runtime.console import print_line
from benchmark.runtime.errors import DataError, UsageError, shorten, shown

CHANNELS = (1, 3)  # grey and RGB, which corruptions through PIL and the colours of HSV need
SIGNATURE = "a function (data roots, DataSettings) -> Source, or -> Path of an image folder"


def refuse_other_source(who: str, source: Source) -> None:
    """Raise UsageError for a `Source` without a list of class names, or with a key that is no text."""
    if isinstance(source.classes, str) or not isinstance(source.classes, Sequence) or not source.classes:
        raise UsageError(f"{who}: Source.classes is {shown(source.classes)}; it must be the list of class names.")
    if not isinstance(source.key, str | None):
        raise UsageError(f"{who}: Source.key is {shown(source.key)}; it must be a text, or None for no cache.")


def refuse_other_splits(who: str, classes: int, pixels: int, splits: Any) -> None:
    """Refuse splits that are no images (N, C, pixels, pixels) uint8 and labels (N,) int64 in 0..classes-1.

    Args:
        who: names the data set in the message.
        classes: number of classes.
        pixels: height and width.
        splits: what `Source.read` returned.

    Raises:
        DataError: with the split, its values and those that are allowed.
    """
    if not isinstance(splits, tuple | list) or [type(split) for split in splits] != [Split, Split]:
        kinds = shorten(", ".join(type(s).__name__ for s in splits)) if isinstance(splits, tuple | list) else ""
        found = f"{type(splits).__name__}{f' of {kinds}' if kinds else ''}"
        raise DataError(f"{who}: Source.read returned {found}; it must return two Splits, training and test.")
    for name, split in zip(("training", "test"), splits, strict=True):
        problem = _problem_of_images(split.images, pixels) or _problem_of_labels(
            len(split.images), split.labels, classes
        )
        if problem:
            raise DataError(f"{who}: the {name} {problem}.")
    train, test = (split.images.shape[1] for split in splits)
    if train != test:
        raise DataError(f"{who}: the training images have {train} channels, the test images {test}.")


def _problem_of_images(images: object, pixels: int) -> str:
    wanted = "they must be a tensor (N, C, H, W) of uint8 on the CPU"
    if not isinstance(images, Tensor):
        return f"images are {type(images).__name__}; {wanted}"
    if images.dtype != torch.uint8 or images.device.type != "cpu":
        return f"images are {images.dtype} on {images.device.type}; {wanted}, 0 to 255"
    shape = " x ".join(map(str, images.shape)) or "a single number"
    if images.dim() != 4:
        return f"images are {shape}; {wanted}, also with one channel"
    if images.shape[1] not in CHANNELS:
        hint = ": move the channels forward, images.permute(0, 3, 1, 2)" if images.shape[3] in CHANNELS else ""
        return f"images are {shape}, with C = {images.shape[1]} channels; C must be 1 (grey) or 3 (RGB){hint}"
    if images.shape[2:] != (pixels, pixels):
        return (
            f"images are {images.shape[2]} x {images.shape[3]} and data.pixels = {pixels}: resize them to {pixels} x "
            f"{pixels}, or set data.pixels, also in a smoke run of larger images than 32 x 32: --set data.pixels=N"
        )
    return ""


def _problem_of_labels(images: int, labels: object, classes: int) -> str:
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.dim() != 1:
        found = f"{labels.dtype} of {labels.dim()} dimensions" if isinstance(labels, Tensor) else type(labels).__name__
        return f"labels are {found}; they must be a tensor (N,) of int64"
    if images != len(labels) or not images:
        return f"split has {images:,} images and {len(labels):,} labels; it needs images, and one label for each"
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        return f"labels are {lowest} to {highest}; with {classes} classes they must be 0 to {classes - 1}"
    return ""


def warn_of_absent_classes(who: str, classes: Sequence[str], splits: Mapping[str, Images]) -> None:
    """Print one warning with the classes that have no image in a split; an empty split is none."""
    found = []
    for name, split in splits.items():
        counts = torch.bincount(split.labels.cpu(), minlength=len(classes))
        absent = [str(label) for label, count in zip(classes, counts.tolist(), strict=True) if not count]
        if absent and len(split.labels):
            listed = f"{len(absent):,} of {len(classes):,} classes ({shorten(', '.join(absent))})"
            found.append(f"{listed} among the {len(split.labels):,} {name} images")
    if found:
        print_line(f"Warning: {who} has no image of {'; and none of '.join(found)}.")
