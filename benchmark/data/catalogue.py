"""The data sets that presets may name; any other name with a slash in it is the path of an image folder."""

from typing import NamedTuple

from benchmark.settings.names import Row


class Dataset(NamedTuple):
    """One data set.

    Attributes:
        target: "module:name" of what finds it, (data roots, `DataSettings`) -> `Source` or the path of an image
            folder.
        source: its origin, in one line.
        train_images: number of training images.
        folder: what is looked for below each data root; empty where it comes with a dependency.
        synthetic: "module:name" of what writes made-up images in its official format, (data root, training images, test
            images, pixels) -> None; empty where nothing does.
    """

    target: str
    source: str
    train_images: int
    folder: str = ""
    synthetic: str = ""


DATASETS = {
    "digits": Dataset(
        "benchmark.data.datasets:digits", "UCI handwritten digits, 8x8, embedded in scikit-learn", train_images=1297
    ),
    "cifar10": Dataset(
        "benchmark.data.cifar:cifar10",
        "Krizhevsky 2009, official Python files or lossless image folder",
        train_images=50_000,
        folder="cifar-10-batches-py",
        synthetic="benchmark.data.synthetic:cifar10",
    ),
    "cifar100": Dataset(
        "benchmark.data.cifar:cifar100",
        "Krizhevsky 2009, official Python files or lossless image folder",
        train_images=50_000,
        folder="cifar-100-python",
        synthetic="benchmark.data.synthetic:cifar100",
    ),
    "cifar10_jpeg": Dataset(
        "benchmark.data.named_folders:cifar10_jpeg",
        "CIFAR-10 saved as JPEG (lossy; not CIFAR-10), image folder",
        train_images=50_000,
        folder="cifar10-jpeg/train",
        synthetic="benchmark.data.synthetic:cifar10_jpeg",
    ),
    "tiny_imagenet_100": Dataset(
        "benchmark.data.named_folders:tiny_imagenet_100",
        "first 100 classes of Tiny ImageNet, image folder",
        train_images=50_000,
        folder="tiny-imagenet-100/train",
        synthetic="benchmark.data.synthetic:tiny_imagenet_100",
    ),
    "imagenet": Dataset(
        "benchmark.data.named_folders:imagenet",
        "ImageNet (Russakovsky et al., IJCV 2015), image folder, never downloaded",
        train_images=1_281_167,
        folder="imagenet/train",
        synthetic="benchmark.data.synthetic:imagenet",
    ),
}

# Augmentations of uint8 batches (images, padding, flip, generator) -> images.
AUGMENTATIONS = {
    "standard": Row(
        "baselines.augment:crop_and_flip",
        "padded random crop and horizontal flip; random resized crop and flip of images that stay files",
    ),
}
