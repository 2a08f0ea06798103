"""The images of one split: one interface for those in memory and those that stay files."""

from collections.abc import Callable, Generator, Sequence
from typing import Literal, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from benchmark.data.catalogue import AUGMENTATIONS
from benchmark.settings.names import look_up


class Feed(NamedTuple):
    """How the images of an epoch are drawn.

    Attributes:
        rows: (B,) indices of the images of each step that is left, whichever process trains on them.
        own: takes this process's part of a batch.
        augmentation: of the arm.
        padding, flip: of the standard augmentation of images in memory; `flip` also of files.
        generator: draws for images in memory. Every process augments whole batches, so that the draws do not depend on
            how many share them.
        seed: of the draws for files, which belong to an image.
        device: where batches go.
    """

    rows: Sequence[Tensor]
    own: Callable[[Tensor], Tensor]
    augmentation: Literal["none", "standard"]
    padding: int
    flip: bool
    generator: torch.Generator
    seed: int
    device: torch.device


class Images(Protocol):
    """The images of one split, uint8 (N, C, H, W) when asked for, and their labels, int64 (N,)."""

    @property
    def labels(self) -> Tensor:
        """Class indices (N,)."""

    @property
    def damaged(self) -> dict[str, str]:
        """Files that others replaced, with the reason; see `Skipped.files`."""

    def add_damaged(self, files: dict[str, str]) -> None:
        """Add what another process met.

        Raises:
            DataError: together they are more than may be skipped.
        """

    def subset(self, indices: Tensor) -> Self:
        """Return some of the images, in the order of the indices."""

    def to(self, device: torch.device) -> Self:
        """Return the same images on a device; files stay files."""

    def pick(self, indices: Sequence[int], device: torch.device) -> "Split":
        """Return some images in memory, in the order of the indices; of files the centres."""

    def batches(self, indices: range, size: int, device: torch.device) -> Generator[tuple[Tensor, Tensor]]:
        """Yield images and labels of a part of the split, in its order; of files the centres.

        The labels are those of the images that come out: a damaged file that may be skipped is replaced by another.
        """

    def training_batches(self, feed: Feed) -> Generator[tuple[Tensor, Tensor]]:
        """Yield this process's augmented images and labels of every step."""


class Split(NamedTuple):
    """Images (N, C, H, W) uint8 and labels (N,) int64 in memory; see `Images`."""

    images: Tensor
    labels: Tensor

    @property
    def damaged(self) -> dict[str, str]:
        """Return the damaged files that others replaced."""
        return {}

    def add_damaged(self, files: dict[str, str]) -> None:
        """Add damaged files that another process met."""

    def subset(self, indices: Tensor) -> Self:
        """Return some of the images."""
        return self._replace(images=self.images[indices], labels=self.labels[indices])

    def to(self, device: torch.device) -> Self:
        """Return the images on a device."""
        return self._replace(images=self.images.to(device), labels=self.labels.to(device))

    def pick(self, indices: Sequence[int], device: torch.device) -> "Split":  # noqa: ARG002 (they are there)
        """Return some images in memory."""
        return self.subset(torch.as_tensor(indices, device=self.labels.device))

    def batches(self, indices: range, size: int, device: torch.device) -> Generator[tuple[Tensor, Tensor]]:
        """Yield a part of the split in batches."""
        whole = indices == range(len(self.labels))
        images, labels = self if whole else self.pick(indices, device)
        yield from zip(images.split(size), labels.split(size), strict=True)

    def training_batches(self, feed: Feed) -> Generator[tuple[Tensor, Tensor]]:
        """Yield this process's augmented batches of the steps that are left."""
        augment = None if feed.augmentation == "none" else look_up(feed.augmentation, AUGMENTATIONS)
        for row in feed.rows:
            images = self.images[row]
            if augment:
                images = augment(images, padding=feed.padding, flip=feed.flip, generator=feed.generator)
            yield feed.own(images), feed.own(self.labels[row])
