"""The images of one split, in memory or as files, and a data set that was found but not decoded yet."""

import hashlib
from collections.abc import Callable, Generator, Sequence
from typing import Literal, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from benchmark.settings.names import load

STANDARD = "baselines.augment:crop_and_flip"  # of images in memory


class Feed(NamedTuple):
    """How the images of an epoch are drawn.

    Attributes:
        rows: (B,) indices of the images of each remaining step, over all processes.
        own: returns this process's part of a batch.
        augmentation: the arm's.
        padding, flip: of the standard augmentation of images in memory; `flip` also of files.
        generator: draws for images in memory. Every process augments whole batches, so that the draws do not depend on
            the number of processes.
        seed: of the draws for files, which belong to an image.
        device: of the batches.
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
    """The images of one split, uint8 (N, C, H, W) when they are read, and their labels, int64 (N,)."""

    @property
    def labels(self) -> Tensor:
        """Class indices (N,)."""

    @property
    def damaged(self) -> dict[str, str]:
        """Damaged files that were replaced by others, with the reason; see `Skipped.files`."""

    def add_damaged(self, files: dict[str, str]) -> None:
        """Add the damaged files that another process found.

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

        Where a damaged file was replaced, the label is that of the replacement.
        """

    def training_batches(self, feed: Feed) -> Generator[tuple[Tensor, Tensor]]:
        """Yield this process's augmented images and labels of every step."""


class Split(NamedTuple):
    """Images (N, C, H, W) uint8 and labels (N,) int64 in memory; implements `Images`."""

    images: Tensor
    labels: Tensor

    @property
    def damaged(self) -> dict[str, str]:
        """See `Images`."""
        return {}

    def add_damaged(self, files: dict[str, str]) -> None:
        """See `Images`."""

    def subset(self, indices: Tensor | slice) -> Self:
        """See `Images`."""
        return self._replace(images=self.images[indices], labels=self.labels[indices])

    def to(self, device: torch.device) -> Self:
        """See `Images`."""
        return self._replace(images=self.images.to(device), labels=self.labels.to(device))

    def pick(self, indices: Sequence[int], device: torch.device) -> "Split":  # noqa: ARG002 (already in memory)
        """See `Images`."""
        return self.subset(torch.as_tensor(indices, device=self.labels.device))

    def batches(self, indices: range, size: int, device: torch.device) -> Generator[tuple[Tensor, Tensor]]:
        """See `Images`."""
        whole = indices == range(len(self.labels))
        images, labels = self if whole else self.pick(indices, device)
        yield from zip(images.split(size), labels.split(size), strict=True)

    def training_batches(self, feed: Feed) -> Generator[tuple[Tensor, Tensor]]:
        """See `Images`."""
        augment = None if feed.augmentation == "none" else load(STANDARD)
        for row in feed.rows:
            images = self.images[row]
            if augment:
                images = augment(images, padding=feed.padding, flip=feed.flip, generator=feed.generator)
            yield feed.own(images), feed.own(self.labels[row])


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
        key: text that changes with the files; names the decoded cache. None: quick to read, not cached.
        classes: class names in the order of their labels.
        read: decodes and returns the training and the test split.
        digest: returns the digest of both splits; the fingerprint is its beginning.
        expected: the known digest of the data set, if it has one.
    """

    key: str | None
    classes: Sequence[str]
    read: Callable[[], tuple[Split, Split]]
    digest: Callable[[Split, Split], str] = digest_of_tensors
    expected: str | None = None
