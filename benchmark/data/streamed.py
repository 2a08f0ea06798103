"""Images that stay files: decoded anew in every epoch, by worker processes, with draws that belong to an image."""

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from benchmark.data.decode import UnreadableImageError, read_rgb
from benchmark.data.images import Feed, Split
from benchmark.data.seeds import image_seed
from benchmark.data.skipped import Skipped
from benchmark.data.workers import prepared
from benchmark.runtime.environment import cores
from benchmark.runtime.torchvision import ensure_importable

CPU = torch.device("cpu")
DECODED_BATCH = 50
MOST_DECODERS = 16
AT_ONCE = 50  # images for which starting workers does not pay


class Files(NamedTuple):
    """One split whose images stay files; see `Images`.

    Attributes:
        folder: the image folder.
        paths: (N,) paths relative to it, as bytes.
        labels: (N,) int64, on the CPU.
        pixels: height and width of the images that come out.
        resize: shorter side to which an image is resized before its centre is cut out, at least `pixels`.
        skipped: takes the damaged files of the whole data set, each replaced by the next readable one of its split;
            None where none may be.
    """

    folder: Path
    paths: np.ndarray
    labels: Tensor
    pixels: int
    resize: int
    skipped: Skipped | None = None

    @property
    def damaged(self) -> dict[str, str]:
        """Return the damaged files that others replaced."""
        return self.skipped.files if self.skipped else {}

    def add_damaged(self, files: dict[str, str]) -> None:
        """Add damaged files that another process met."""
        if self.skipped:
            self.skipped.add(self.folder, files.items())

    def subset(self, indices: Tensor) -> Self:
        """Return some of the images."""
        return self._replace(paths=self.paths[indices.numpy()], labels=self.labels[indices])

    def to(self, device: torch.device) -> Self:  # noqa: ARG002 (files stay files)
        """Return the images on a device."""
        return self

    def pick(self, indices: Sequence[int], device: torch.device) -> Split:
        """Return some images in memory."""
        return decoded(self, indices, workers=decoders() if len(indices) > AT_ONCE else 0, device=device)

    def batches(self, indices: range, size: int, device: torch.device) -> Generator[tuple[Tensor, Tensor]]:
        """Yield a part of the split in batches."""
        return evaluation_batches(self, indices, batch_size=size, workers=decoders(), device=device)

    def training_batches(self, feed: Feed) -> Generator[tuple[Tensor, Tensor]]:
        """Yield this process's augmented batches of the steps that are left."""
        rows = [feed.own(row) for row in feed.rows]
        if rows:
            yield from training_batches(
                self,
                torch.cat(rows),
                augmentation=feed.augmentation,
                seed=feed.seed,
                batch_size=len(rows[0]),
                workers=decoders(),
                flip=feed.flip,
                device=feed.device,
            )


def decoders() -> int:
    """Return the number of worker processes that decode: the cores, divided among a machine's training processes."""
    return min(max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))), MOST_DECODERS)


def training_batches(
    files: Files,
    order: Tensor,
    *,
    augmentation: Literal["none", "standard"],
    seed: int,
    batch_size: int,
    workers: int,
    flip: bool = True,
    device: torch.device = CPU,
) -> Generator[tuple[Tensor, Tensor]]:
    """Yield uint8 images (batch_size, 3, pixels, pixels) and labels (batch_size,) in order, whole batches only.

    "standard" is torchvision's RandomResizedCrop (area 8% to 100%, ratio 3/4 to 4/3, bilinear with antialiasing) and
    mirroring with probability 1/2, after Szegedy et al., CVPR 2015, arXiv:1409.4842, section 6; "none" is the centre,
    as in evaluation. All draws of image i come from (seed, i), neither from the workers nor from its place in the
    order, so that an interrupted epoch goes on exactly with the rest of its order.

    Args:
        files: the split.
        order: indices of images; in a group of processes this one's part of it.
        augmentation: of the arm.
        seed: of this epoch; the same for all arms, another one for each epoch.
        batch_size: images in a batch.
        workers: processes that decode ahead, closed with this generator; 0: none, it decodes itself.
        flip: mirror half of the images.
        device: where the batches go.

    Raises:
        DataError: more damaged files than may be skipped.
    """
    whole = len(order) // batch_size * batch_size
    rows = order[:whole].cpu().reshape(-1, batch_size)
    crop = random_crop(files.pixels, flip) if augmentation == "standard" else centre_crop(files)
    return _batches(files, rows, crop, seed, workers, device)


def evaluation_batches(
    files: Files,
    indices: Sequence[int] | Tensor | None = None,
    *,
    batch_size: int,
    workers: int,
    device: torch.device = CPU,
) -> Generator[tuple[Tensor, Tensor]]:
    """Yield the centres of the images, uint8 (B, 3, pixels, pixels), and labels (B,); the last batch may be short.

    The labels are those of the images that come out: where a file is damaged, those of the image that replaces it.

    Args:
        files: the split.
        indices: which images, in this order; all of them by default.
        batch_size, workers, device: as in `training_batches`.

    Raises:
        DataError: more damaged files than may be skipped.
    """
    chosen = torch.arange(len(files.labels)) if indices is None else torch.as_tensor(indices, dtype=torch.int64).cpu()
    rows = chosen.split(batch_size) if len(chosen) else ()
    return _batches(files, rows, centre_crop(files), 0, workers, device)


def decoded(
    files: Files,
    indices: Sequence[int] | Tensor,
    *,
    workers: int,
    device: torch.device = CPU,
) -> Split:
    """Return the centres of some images in memory, in the order of the indices; see `evaluation_batches`."""
    images = torch.empty((len(indices), 3, files.pixels, files.pixels), dtype=torch.uint8, device=device)
    labels = torch.empty(len(indices), dtype=torch.int64, device=device)
    batches = evaluation_batches(files, indices, batch_size=DECODED_BATCH, workers=workers, device=device)
    for number, (some, theirs) in enumerate(batches):
        rows = slice(number * DECODED_BATCH, number * DECODED_BATCH + len(theirs))
        images[rows], labels[rows] = some, theirs
    return Split(images, labels)


Crop = Callable[[Image.Image], Image.Image]


def random_crop(pixels: int, flip: bool) -> Crop:
    """Return the standard augmentation of images of any size; it draws from torch's global generator."""
    ensure_importable()
    from torchvision.transforms import v2

    resized = v2.RandomResizedCrop(
        pixels,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        interpolation=v2.InterpolationMode.BILINEAR,
        antialias=True,
    )
    crop: Crop = v2.Compose([resized, v2.RandomHorizontalFlip(0.5 if flip else 0.0)])
    return crop


def centre_crop(files: Files) -> Crop:
    """Return what cuts out the centre: shorter side resized, bilinear with antialiasing, then cropped."""
    ensure_importable()
    from torchvision.transforms import v2

    resized = v2.Resize(files.resize, interpolation=v2.InterpolationMode.BILINEAR, antialias=True)
    crop: Crop = v2.Compose([resized, v2.CenterCrop(files.pixels)])
    return crop


class Batch(NamedTuple):
    """What a worker hands over: images (None: no image of the split can be read), what they are, and what is damaged.

    Attributes:
        images: (B, 3, pixels, pixels) uint8, channels_last.
        indices: of the images that came out.
        damaged: (path, reason) of files that could not be read.
    """

    images: Tensor | None
    indices: list[int]
    damaged: list[tuple[str, str]]


@dataclass(frozen=True)
class Decoder(Dataset[Batch]):
    """Gives the batch of a list of indices, wherever it is asked for it."""

    files: Files
    crop: Crop
    seed: int
    may_skip: int

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
        for step in range(min(self.may_skip + 1, images)):
            index = (wanted + step) % images
            path: bytes = self.files.paths[index]
            try:
                return index, read_rgb(self.files.folder / os.fsdecode(path))
            except UnreadableImageError as error:
                damaged.append((path.decode(errors="backslashreplace"), str(error)))
        return None


def _batches(
    files: Files,
    rows: Iterable[Tensor],
    crop: Crop,
    seed: int,
    workers: int,
    device: torch.device,
) -> Generator[tuple[Tensor, Tensor]]:
    """Yield the batches of the rows of indices, and account for damaged files."""
    skipped = files.skipped or Skipped()
    dataset = Decoder(files, crop, seed, skipped.may_skip)
    for batch in prepared(dataset, rows, workers, pin_memory=device.type == "cuda"):
        skipped.add(files.folder, batch.damaged)
        if batch.images is None:
            raise skipped.error(files.folder)
        yield batch.images.to(device, non_blocking=True), files.labels[batch.indices].to(device, non_blocking=True)
