"""The two CIFAR data sets: what is known of them, and the order and digest of their images."""

import hashlib
from dataclasses import dataclass

import torch

from benchmark.data.images import Split

PIXELS = 32
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Cifar:
    """Everything about one of the two data sets.

    Attributes:
        name: the data set's name in presets.
        title, size: for people.
        archive: size in bytes of the official archive.
        official: name of torchvision's class, which holds the official address and MD5 checksums.
        labels: key of the labels in the official files.
        folders: names of image folders, in lower case without punctuation.
        classes: in the order of the official labels, which is alphabetical.
        images: of each class in the training and the test split.
        digest: see `digest`.
        parts: the first four hex digits of the digest of each class (see `class_digests`).
    """

    name: str
    title: str
    size: str
    archive: int
    official: str
    labels: str
    folders: tuple[str, ...]
    classes: tuple[str, ...]
    images: tuple[int, int]
    digest: str
    parts: str


CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree
wolf woman worm
"""
# The digest of CIFAR-10 was computed from the seven official files, each equal to the original by MD5; that of
# CIFAR-100 from the PNGs of https://github.com/cyizhuo/CIFAR-100-dataset (commit b105b30e), whose sums and sums of
# squares by channel and split equal those that the published means and standard deviations imply, to the last digit.
CIFAR10 = Cifar(
    name="cifar10",
    title="CIFAR-10",
    size="170 MB",
    archive=170_498_071,
    official="CIFAR10",
    labels="labels",
    folders=("cifar10png", "cifar10images", "cifar10dataset", "cifar10"),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    images=(5000, 1000),
    digest="ddebce9ce6051e498af055d32e42c831f59d52782228f4e12e770cc9eb8dea4c",
    parts="e54ff2de9be1054af3106b1010ca3e38d0b283bb5b3e99b3c71cbbebb3bbf70efbe9f9169c3973bf",
)
CIFAR100 = Cifar(
    name="cifar100",
    title="CIFAR-100",
    size="169 MB",
    archive=169_001_437,
    official="CIFAR100",
    labels="fine_labels",
    folders=("cifar100png", "cifar100images", "cifar100dataset", "cifar100"),
    classes=tuple(CIFAR100_CLASSES.split()),
    images=(500, 100),
    digest="3cd8509f12fd17bd5c33e08c51fe305d018216080ede36625a50ad3e09403f16",
    parts=(
        "b2ad8effb08bb2b041014af39063f9fb7b87c799c077f7aa196b69921590b8b0caa0c179c9f261587d54854c31de4c235670"
        "6cdd8d55905b3dc8d6e15382745a07e804a4f0254e09215cc8f89c4d2bdcfccdb9673af39bc93ff5d4551663cd3e696a1555"
        "f164c3fa8b3afe71bc952a1466df5123ed302fd7b228ac7138b31ac1a315c17aa511eb6b6c32261f2d871f978885401507fc"
        "57b772c542cef857486cf4e7470e4ed377d574a013d566080a81d60678f1d88b6f89342ebc7c1680c9719c00acc1369bef1d"
        "1d6d3d6bd49a83e133961a4dd6fbeb10bd3cc8c4c427e82363a4a2abb948096e4534cfdfb86f01b0cd0853ae31db18d7baa9"
        "8974c564b0d5b564f02d2744099be7d209753e94d4cec43d114b0e1c312f4baa0b17a7e2f635360898121f5f2cadc4a411ca"
        "426817134248ba8d1c6a00e58d6191e24d949da5d9e66ac3f5def1cab78f3bb47115e58452b562d1be492d1a1c1abfccd005"
        "9c73764f2c4b51863cb6076236cae413f2eeaf17abc0a0036a0ecd00a4cb71a71205b0ec3d6cd66369da0d788ab6af590e53"
    ),
)


def digests(split: Split) -> list[bytes]:
    """Return the SHA-256 of each image: of its label as one byte, then its (3, 32, 32) pixels."""
    pixels, labels = split.images.contiguous().numpy(), split.labels.tolist()
    return [
        hashlib.sha256(bytes([label]) + image.tobytes()).digest() for label, image in zip(labels, pixels, strict=True)
    ]


def canonical(split: Split) -> Split:
    """Return a split in canonical order: by the SHA-256 of label and pixels. Identical images all stay.

    The images are contiguous: sums over images of another layout differ in their last bits.
    """
    keys = digests(split)
    order = torch.tensor(sorted(range(len(keys)), key=keys.__getitem__))
    return Split(split.images[order].contiguous(), split.labels[order])


def digest(train: Split, test: Split) -> str:
    """Return the digest of a data set: the SHA-256 of its images' SHA-256, in their order, split by split."""
    whole = hashlib.sha256()
    for name, split in zip(SPLITS, (train, test), strict=True):
        whole.update(b"%s %d\n" % (name.encode(), len(split.labels)))
        whole.update(b"".join(digests(split)))
    return whole.hexdigest()


def class_digests(classes: int, train: Split, test: Split) -> list[str]:
    """Return four hex digits for each class of each split, the training split's first, to name what is wrong."""
    wholes = [hashlib.sha256() for _ in range(2 * classes)]
    for start, split in ((0, train), (classes, test)):
        for key, label in zip(digests(split), split.labels.tolist(), strict=True):
            wholes[start + label].update(key)
    return [whole.hexdigest()[:4] for whole in wholes]
