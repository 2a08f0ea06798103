"""Made-up images in the official file formats, so that the real loaders run where no data is (smoke runs, tests)."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmark.data.catalogue import DATASETS
from benchmark.runtime.errors import UsageError
from benchmark.settings.names import load
from benchmark.settings.preset import DataSettings

COMPLETE = ".whole.json"  # in a made-up ImageNet that was written to the end: its classes and images


def write_synthetic(settings: DataSettings, root: Path) -> Path:
    """Write made-up images in the official format of a data set below a data root, and return the root.

    Raises:
        UsageError: the data set has no official format: it is embedded, or the user's own folder.
    """
    row = DATASETS.get(settings.dataset)
    if row is None or not row.synthetic:
        raise UsageError(
            f"--synthetic: there is no official format to imitate for the data set {settings.dataset!r}. Leave it out."
        )
    train = settings.train_images + settings.validation_images
    folder = root / Path(row.folder).parts[0]
    load(row.synthetic)(folder, row.classes, train, settings.test_images, settings.pixels)
    return root


def cifar(folder: Path, classes: int, train: int, test: int, _pixels: int) -> None:
    """Write CIFAR-10 or CIFAR-100, whose folder has its official name."""
    write_cifar(folder.parent, classes, train, test)


def make_images(labels: np.ndarray, classes: int, pixels: int, rng: np.random.Generator) -> np.ndarray:
    """Return (N, pixels, pixels, 3) uint8 images: each class a colour gradient of its own, under noise."""
    palette = np.random.default_rng(0).uniform(40, 215, (classes, 2, 3))
    ramp = np.linspace(0, 1, pixels)[:, None, None, None]  # (H, 1, 1, 1)
    colours = palette[labels]  # (N, 2, 3)
    image = colours[:, 0] * (1 - ramp) + colours[:, 1] * ramp  # (H, 1, N, 3)
    image = np.broadcast_to(image, (pixels, pixels, len(labels), 3)).transpose(2, 0, 1, 3)
    return np.clip(image + rng.normal(0, 25, image.shape), 0, 255).astype(np.uint8)


def write_cifar(root: Path, classes: int, train: int, test: int) -> Path:
    """Write made-up CIFAR-10 (classes = 10) or CIFAR-100 files in the official Python format.

    Returns:
        The folder "cifar-10-batches-py" or "cifar-100-python" under root.
    """
    rng = np.random.default_rng(classes)
    fine = classes == 100
    folder = root / ("cifar-100-python" if fine else "cifar-10-batches-py")
    folder.mkdir(parents=True, exist_ok=True)
    key = "fine_labels" if fine else "labels"
    parts = ["train"] if fine else [f"data_batch_{i}" for i in range(1, 6)]
    sizes = [train] if fine else [len(part) for part in np.array_split(np.arange(train), 5)]
    for name, size in [*zip(parts, sizes, strict=True), ("test" if fine else "test_batch", test)]:
        labels = np.arange(size) % classes
        images = make_images(labels, classes, 32, rng).transpose(0, 3, 1, 2).reshape(size, -1)
        _dump(folder / name, {"data": images, key: labels.tolist()})
    names = [f"class {i}" for i in range(classes)]
    _dump(folder / ("meta" if fine else "batches.meta"), {"fine_label_names" if fine else "label_names": names})
    return folder


def _dump(path: Path, values: dict[str, Any]) -> None:
    path.write_bytes(pickle.dumps(values, protocol=2))  # as the originals


def write_image_folder(folder: Path, classes: int, train: int, test: int, pixels: int) -> Path:
    """Write a made-up image folder, train/<class>/*.jpg and test/<class>/*.jpg, and return it."""
    rng = np.random.default_rng(classes)
    for split, count in (("train", train), ("test", test)):
        labels = np.arange(count) % classes
        for i, image in enumerate(make_images(labels, classes, pixels, rng)):
            path = folder / split / f"class{labels[i]:03d}" / f"{i:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, quality=95)
    return folder


def write_imagenet(folder: Path, classes: int, *_sizes: int) -> Path:
    """Write a made-up ImageNet in torchvision's layout, train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, and return it.

    Each class has two images in each split, whatever numbers and size of images a preset names: all classes are needed
    for the labels of the official folder. Heights and widths differ as photos' do, and every tenth image is grey-scale.
    A folder that an earlier call completed is kept.
    """
    marker, made = folder / COMPLETE, json.dumps({"classes": classes, "images": 2})
    if marker.is_file() and marker.read_text(encoding="utf-8") == made:
        return folder
    rng = np.random.default_rng(classes)
    labels = np.arange(2 * classes) % classes
    for split in ("train", "val"):
        pixels = make_images(labels, classes, 48, rng)
        for i, (label, height, width) in enumerate(zip(labels, *rng.integers(32, 49, (2, len(labels))), strict=True)):
            path = folder / split / f"n{label:08d}" / f"n{label:08d}_{i // classes}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(pixels[i, :height, :width])
            (image.convert("L") if i % 10 == 0 else image).save(path, "JPEG", quality=75)
    marker.write_text(made, encoding="utf-8")
    return folder
