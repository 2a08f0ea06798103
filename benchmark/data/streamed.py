"""Images that stay files: decoded anew in every epoch, by worker processes, with draws that belong to an image."""

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from benchmark.data.decode import UnreadableImageError, read_rgb
from benchmark.data.images import Feed, Split
from benchmark.data.seeds import image_seed
from benchmark.data.workers import prepared
from benchmark.runtime.console import print_line
from benchmark.runtime.environment import cores
from benchmark.runtime.errors import DataError
from benchmark.runtime.torchvision import ensure_importable

PICKED_BATCH = 50  # up to one batch is decoded without starting workers
MAX_WORKERS = 16

Crop = Callable[[Image.Image], Image.Image]


@dataclass
class Skipped:
    """The damaged image files that a run has found, each once, and the number of them that may be replaced.

    Attributes:
        may_skip: the largest number of different damaged files that is no error.
        files: path, relative to the data set's folder, -> reason, in the order in which they were found.
    """

    may_skip: int = 0
    files: dict[str, str] = field(default_factory=dict)

    def add(self, folder: Path, damaged: Iterable[tuple[str, str]]) -> None:
        """Add the (path, reason) of damaged files, and print a line for each new one.

        Raises:
            DataError: they are more than may be skipped; it names all of them.
        """
        for path, reason in damaged:
            if path not in self.files:
                self.files[path] = reason
                if len(self.files) <= self.may_skip:
                    print_line(f"{folder / path} is replaced by the image after it: it cannot be read ({reason}).")
        if len(self.files) > self.may_skip:
            raise self.error(folder)

    def error(self, folder: Path) -> DataError:
        """Return the message that names all damaged files and the remedies."""
        found = [f"\n  {folder / path}: {reason}" for path, reason in self.files.items()]
        return DataError(
            f"{len(found)} damaged image file{'s'[: len(found) != 1]}, and {self.may_skip} may be skipped:"
            f"{''.join(found)}\nRestore these files from the original archives, or let N different files be replaced "
            "by the images after them and listed in the record: --skip-corrupt N."
        )


class Files(NamedTuple):
    """One split whose images stay files; implements `Images`.

    Attributes:
        folder: the image folder.
        paths: (N,) paths relative to it, as bytes.
        labels: (N,) int64, on the CPU.
        pixels: height and width of the images returned.
        resize: shorter side to which an image is resized before its centre is cut out, at least `pixels`.
        skipped: collects the damaged files of the whole data set, each replaced by the next readable one of its split.
        workers: processes that decode ahead, 0 for none; None for the cores of the machine divided among its training
            processes.
    """

    folder: Path
    paths: np.ndarray
    labels: Tensor
    pixels: int
    resize: int
    skipped: Skipped
    workers: int | None = None

    @property
    def damaged(self) -> dict[str, str]:
        """See `Images`."""
        return self.skipped.files

    def add_damaged(self, files: dict[str, str]) -> None:
        """See `Images`."""
        self.skipped.add(self.folder, files.items())

    def subset(self, indices: Tensor) -> Self:
        """See `Images`."""
        return self._replace(paths=self.paths[indices.numpy()], labels=self.labels[indices])

    def to(self, device: torch.device) -> Self:  # noqa: ARG002 (files stay files)
        """See `Images`."""
        return self

    def pick(self, indices: Sequence[int], device: torch.device) -> Split:
        """See `Images`."""
        images = torch.empty((len(indices), 3, self.pixels, self.pixels), dtype=torch.uint8, device=device)
        labels = torch.empty(len(indices), dtype=torch.int64, device=device)
        files = self if len(indices) > PICKED_BATCH else self._replace(workers=self.workers or 0)
        for number, (some, theirs) in enumerate(files.batches(indices, PICKED_BATCH, device)):
            rows = slice(number * PICKED_BATCH, number * PICKED_BATCH + len(theirs))
            images[rows], labels[rows] = some, theirs
        return Split(images, labels)

    def batches(self, indices: Sequence[int], size: int, device: torch.device) -> Generator[tuple[Tensor, Tensor]]:
        """See `Images`; channels_last, the last batch may be short."""
        rows = torch.as_tensor(indices, dtype=torch.int64).cpu().split(size) if len(indices) else ()
        return self._batches(rows, _crop(self, "none"), 0, device)

    def training_batches(self, feed: Feed) -> Generator[tuple[Tensor, Tensor]]:
        """See `Images`; channels_last.

        "standard" is torchvision's RandomResizedCrop (area 8% to 100%, ratio 3/4 to 4/3, bilinear with antialiasing)
        and mirroring with probability 1/2, after Szegedy et al., CVPR 2015, arXiv:1409.4842, section 6; "none" is the
        centre, as in evaluation. All draws of image i come from (seed, i), neither from the workers nor from its place
        in the order, so that an interrupted epoch continues exactly with the rest of its order.
        """
        rows = [feed.own(row).cpu() for row in feed.rows]
        return self._batches(rows, _crop(self, feed.augmentation, feed.flip), feed.seed, feed.device)

    def _batches(
        self, rows: Iterable[Tensor], crop: Crop, seed: int, device: torch.device
    ) -> Generator[tuple[Tensor, Tensor]]:
        workers = self.workers
        if workers is None:
            workers = min(max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))), MAX_WORKERS)
        for batch in prepared(Decoder(self, crop, seed), rows, workers, pin_memory=device.type == "cuda"):
            self.skipped.add(self.folder, batch.damaged)
            if batch.images is None:
                raise self.skipped.error(self.folder)
            yield batch.images.to(device, non_blocking=True), self.labels[batch.indices].to(device, non_blocking=True)


def _crop(files: Files, augmentation: Literal["none", "standard"], flip: bool = False) -> Crop:
    """Return a random crop that draws from torch's global generator or, with "none", the centre."""
    ensure_importable()
    from torchvision.transforms import v2

    resized: dict[str, Any] = {"interpolation": v2.InterpolationMode.BILINEAR, "antialias": True}
    if augmentation == "none":
        steps = [v2.Resize(files.resize, **resized), v2.CenterCrop(files.pixels)]
    else:
        steps = [
            v2.RandomResizedCrop(files.pixels, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), **resized),
            v2.RandomHorizontalFlip(0.5 if flip else 0.0),
        ]
    crop: Crop = v2.Compose(steps)
    return crop


class Batch(NamedTuple):
    """A decoded batch.

    Attributes:
        images: (B, 3, pixels, pixels) uint8, channels_last; None: no image of the split can be read.
        indices: of these images; a damaged file's index is replaced.
        damaged: (path, reason) of files that could not be read.
    """

    images: Tensor | None
    indices: list[int]
    damaged: list[tuple[str, str]]


@dataclass(frozen=True)
class Decoder(Dataset[Batch]):
    """Decodes the batch of a list of indices, in this process or in a worker."""

    files: Files
    crop: Crop
    seed: int

    def __getitem__(self, indices: list[int]) -> Batch:
        pixels, used, damaged = self.files.pixels, list[int](), list[tuple[str, str]]()
        images = np.empty((len(indices), pixels, pixels, 3), dtype=np.uint8)
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            for row, wanted in enumerate(indices):
                found = self._readable(wanted, damaged)
                if found is None:
                    return Batch(None, [], damaged)
                index, image = found
                torch.default_generator.manual_seed(image_seed(self.seed, wanted))
                images[row] = np.asarray(self.crop(image))
                used.append(index)
        return Batch(torch.from_numpy(images).permute(0, 3, 1, 2), used, damaged)

    def _readable(self, wanted: int, damaged: list[tuple[str, str]]) -> tuple[int, Image.Image] | None:
        """Return the wanted image or the next readable one, with its index; None after more than may be skipped."""
        images = len(self.files.paths)
        for step in range(min(self.files.skipped.may_skip + 1, images)):
            index = (wanted + step) % images
            path: bytes = self.files.paths[index]
            try:
                return index, read_rgb(self.files.folder / os.fsdecode(path))
            except UnreadableImageError as error:
                damaged.append((path.decode(errors="backslashreplace"), str(error)))
        return None
