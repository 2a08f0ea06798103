"""CIFAR-10 and CIFAR-100, as the official Python files or as a lossless image folder: the same images either way."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.data.decode import UnreadableImageError, is_shortage, read_rgb
from benchmark.data.folders import missing_data
from benchmark.data.images import Source, Split
from benchmark.data.listing import File, print_left_out, scan
from benchmark.data.pickled import UnsafePickleError, load_plain
from benchmark.runtime.console import print_line
from benchmark.runtime.errors import DataError, UsageError, shorten
from benchmark.runtime.files import is_folder
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.preset import DataSettings

PIXELS = 32
SPLITS = ("train", "test")
PNG = b"\x89PNG\r\n\x1a\n"
GREY = (0, 4)  # colour types of PNG without colours, the byte at 25
PICTURES = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")


@dataclass(frozen=True)
class Cifar:
    """Everything about one of the two data sets.

    Attributes:
        title: its official name; without punctuation it names torchvision's class, which holds the official address and
            MD5 checksums.
        archive: size in bytes of the official archive.
        labels: key of the labels in the official files.
        classes: in the order of the official labels, which is alphabetical.
        images: of each class in the training and the test split.
        digest: see `digest`.
        parts: the first four hex digits of the digest of each class (see `class_digests`).
    """

    title: str
    archive: int
    labels: str
    classes: tuple[str, ...]
    images: tuple[int, int]
    digest: str
    parts: str

    @property
    def name(self) -> str:
        """The data set's name in presets."""
        return self.title.lower().replace("-", "")

    @property
    def size(self) -> str:
        """Size of the official archive, for messages."""
        return f"{self.archive / 1e6:.0f} MB"


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
    title="CIFAR-10",
    archive=170_498_071,
    labels="labels",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    images=(5000, 1000),
    digest="ddebce9ce6051e498af055d32e42c831f59d52782228f4e12e770cc9eb8dea4c",
    parts="e54ff2de9be1054af3106b1010ca3e38d0b283bb5b3e99b3c71cbbebb3bbf70efbe9f9169c3973bf",
)
CIFAR100 = Cifar(
    title="CIFAR-100",
    archive=169_001_437,
    labels="fine_labels",
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


def cifar10(roots: Sequence[Path], settings: DataSettings) -> Source:
    """Find CIFAR-10, or download its official Python files (170 MB); 50,000 + 10,000 images."""
    return find(CIFAR10, roots, settings)


def cifar100(roots: Sequence[Path], settings: DataSettings) -> Source:
    """Find CIFAR-100, or download its official Python files (169 MB); 50,000 + 10,000 images."""
    return find(CIFAR100, roots, settings)


def find(cifar: Cifar, roots: Sequence[Path], settings: DataSettings) -> Source:
    """Find the official Python files or a lossless image folder, in this order in each data root, or download.

    The images of a split come in canonical order, by their SHA-256 (see `canonical`), so that both forms give the same
    tensors.

    Raises:
        DataError: no such data, or other data under its name.
        UsageError: `data.pixels` is not 32.
    """
    if settings.pixels != PIXELS:
        raise UsageError(
            f"{cifar.title} has 32 x 32 images; data.pixels = {settings.pixels} is not possible, set it to 32."
        )
    ensure_importable()
    from torchvision import datasets as tv

    official: Any = getattr(tv, cifar.title.replace("-", ""))
    for root in roots:
        if is_folder(root / official.base_folder):
            return _official(cifar, official, root / official.base_folder, settings.synthetic)
        folder = image_folder_in(root, cifar)
        if folder:
            return _lossless(cifar, folder)
    _download(cifar, official, roots)
    return _official(cifar, official, roots[0] / official.base_folder, settings.synthetic)


# The order and the digest of the images, in either form


def digests(split: Split) -> list[bytes]:
    """Return the SHA-256 of each image: of its label as one byte, then its (3, 32, 32) pixels."""
    pixels, labels = split.images.contiguous().numpy(), split.labels.tolist()
    return [
        hashlib.sha256(bytes([label]) + image.tobytes()).digest() for label, image in zip(labels, pixels, strict=True)
    ]


def canonical(split: Split) -> Split:
    """Return a split in canonical order: by the SHA-256 of label and pixels. Identical images are all kept.

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
    """Return four hex digits for each class of the training split, then of the test split, to name differences."""
    wholes = [hashlib.sha256() for _ in range(2 * classes)]
    for start, split in ((0, train), (classes, test)):
        for key, label in zip(digests(split), split.labels.tolist(), strict=True):
            wholes[start + label].update(key)
    return [whole.hexdigest()[:4] for whole in wholes]


# The official Python files


def _official(cifar: Cifar, official: Any, folder: Path, synthetic: bool) -> Source:
    """Return the official files, each checked by its MD5, or made-up ones in their format."""
    from torchvision.datasets.utils import check_integrity

    files = [*official.train_list, *official.test_list, [official.meta["filename"], official.meta["md5"]]]
    try:
        damaged = [name for name, md5 in files if not check_integrity(str(folder / name), None if synthetic else md5)]
    except OSError as error:
        raise DataError(f"{cifar.title} in {folder} cannot be read: {error}.") from error
    if damaged:
        raise DataError(
            f"{cifar.title} in {folder}: missing or damaged (wrong checksum): {', '.join(damaged)}. "
            "Delete the folder; the next run downloads it again."
        )

    def read() -> tuple[Split, Split]:
        train, test = (
            canonical(_read_files(cifar, [folder / name for name, _ in part]))
            for part in (official.train_list, official.test_list)
        )
        return train, test

    stats = [(folder / name).stat() for name, _ in files] if synthetic else []
    known = [(stat.st_size, stat.st_mtime_ns) for stat in stats] or sorted(map(tuple, files))
    key = hashlib.sha256(f"canonical, contiguous {known}".encode()).hexdigest()
    return Source(key, cifar.classes, read, digest, None if synthetic else cifar.digest)


def _read_files(cifar: Cifar, paths: Sequence[Path]) -> Split:
    """Return the images of official files, one file after the other; DataError where one has another format."""
    images, labels = list[np.ndarray](), list[int]()
    for path in paths:
        try:
            content = load_plain(path.read_bytes())
            pixels, theirs = np.asarray(content["data"]), [int(label) for label in content[cifar.labels]]
            images.append(pixels.reshape(len(theirs), 3, PIXELS, PIXELS))
        except (UnsafePickleError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is no file of {cifar.title} in the official format: {error!r}.") from error
        odd = [label for label in theirs if not 0 <= label < len(cifar.classes)]
        if odd or pixels.dtype != np.uint8:
            found = f"labels such as {odd[0]}" if odd else f"pixels of type {pixels.dtype}"
            raise DataError(f"{path} has {found}; {cifar.title} has labels below {len(cifar.classes)} and bytes.")
        labels += theirs
    return Split(torch.from_numpy(np.concatenate(images)), torch.tensor(labels, dtype=torch.int64))


def _download(cifar: Cifar, official: Any, roots: Sequence[Path]) -> None:
    """Download into the first data root, or unpack the archive that is there, or explain how to get the data."""
    from benchmark.data.download import DownloadError, fetch, source_of, unpack  # seconds that only a download needs

    target, url = roots[0], source_of(official.url)
    archive, folders = target / official.filename, f"{official.base_folder} (or {cifar.name}-png)"
    print_line(
        f"{cifar.title} is in none of {', '.join(map(str, roots))}, neither as {official.base_folder} nor as an image "
        f"folder {cifar.name}-png; getting {archive.name} ({cifar.size}) into {target}."
    )
    try:
        target.mkdir(parents=True, exist_ok=True)
        fetch(url, official.tgz_md5, cifar.archive, archive)
        unpack(archive, target / official.base_folder)
    except DownloadError as error:
        how = f"{error} Or get it as PNGs, {cifar.name}-png/{{train,test}}/<class>/*.png."
        raise missing_data(cifar.title, folders, cifar.size, roots, how) from error
    except OSError as error:
        how = f"{target} cannot hold it: {error}. Make room there, allow writing, or choose another folder."
        raise missing_data(cifar.title, folders, cifar.size, roots, how) from error


# Lossless image folders, {train,test}/<class>/*.png, which must hold exactly the originals


def image_folder_in(root: Path, cifar: Cifar) -> Path | None:
    """Return the data set's image folder in a data root: "cifar10-png", "CIFAR-10-images" and the like."""
    names = [cifar.name + ending for ending in ("png", "images", "dataset", "")]

    def rank(folder: Path) -> int:
        plain = "".join(filter(str.isalnum, folder.name.lower()))
        return names.index(plain) if plain in names else len(names)

    try:
        found = [folder for folder in root.iterdir() if rank(folder) < len(names) and is_folder(folder / "train")]
    except OSError:  # no folder, or one that may not be listed: looked for in the others
        return None
    return min(found, key=lambda folder: (rank(folder), folder.name), default=None)


def _lossless(cifar: Cifar, folder: Path) -> Source:
    """Return an image folder, checked now for number and names of its images, and for their content when it is read.

    Raises:
        DataError: other classes, images missing or too many, images that are no PNGs; each with counts.
    """
    files = _pngs(cifar, folder)
    counts = [
        f"{split}/{name} has {found:,} of {wanted:,}"
        for split, wanted in zip(SPLITS, cifar.images, strict=True)
        for tally in [Counter(label for _, label in files[split])]
        for label, name in enumerate(cifar.classes)
        if (found := tally[label]) != wanted
    ]
    if counts:
        raise _refused(cifar, folder, f"images are missing or too many: {shorten(', '.join(counts), 300)}")

    def read() -> tuple[Split, Split]:
        train, test = (canonical(_decode(cifar, folder, files[split])) for split in SPLITS)
        if digest(train, test) != cifar.digest:
            raise _refused(cifar, folder, _differing(cifar, train, test))
        return train, test

    key = hashlib.sha256(f"canonical, contiguous {cifar.digest}\n".encode())
    for file in (file for split in SPLITS for file, _ in files[split]):
        key.update(b"%s %d %d\n" % file)
    return Source(key.hexdigest(), cifar.classes, read, digest, cifar.digest)


def _refused(cifar: Cifar, folder: Path, reason: str) -> DataError:
    jpeg = " Images saved as JPEG are the data set cifar10_jpeg, in a folder cifar10-jpeg." if cifar is CIFAR10 else ""
    train, test = (number * len(cifar.classes) for number in cifar.images)
    return DataError(
        f"{folder} is not {cifar.title}: {reason}. It must hold the {train:,} + {test:,} original images, lossless, "
        f"as {{train,test}}/<class>/*.png. Rename or delete it to have the official files downloaded.{jpeg}"
    )


def _pngs(cifar: Cifar, folder: Path) -> dict[str, list[tuple[File, int]]]:
    """Return the PNGs of each split with their labels; an image's class is the folder that contains it.

    Raises:
        DataError: images that are no PNGs, and classes of other names; with counts.
    """
    labels = {name: label for label, name in enumerate(cifar.classes)}
    found, strange, others = dict[str, list[tuple[File, int]]](), list[str](), list[str]()
    tree = scan(folder, SPLITS, (".png", *PICTURES))
    print_left_out(folder, tree.left_out, (".png",))
    for split, classes in tree.splits.items():
        found[split] = []
        for file in (file for files in classes.values() for file in files):
            path = os.fsdecode(file.path)
            kind = path.split("/")[-2]
            label = labels.get(kind.lower().replace(" ", "_").replace("-", "_"))
            if not path.lower().endswith(".png"):
                others.append(f"{split}/{kind}")
            elif label is None:
                strange.append(f"{split}/{kind}")
            else:
                found[split].append((file, label))
    if others:
        raise _refused(cifar, folder, f"{len(others):,} images are no PNGs ({_tally(others)})")
    if strange:
        raise _refused(cifar, folder, f"it has no such classes: {_tally(strange)}")
    return found


def _decode(cifar: Cifar, folder: Path, files: Sequence[tuple[File, int]]) -> Split:
    """Decode files in order; DataError with counts where images are damaged, grey, of another size or no PNGs."""
    paths = [os.fsdecode(file.path) for file, _ in files]
    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(lambda path: _pixels(folder / path), paths))
    faults = [(fault, path.split("/")) for path, fault in zip(paths, decoded, strict=True) if isinstance(fault, str)]
    if faults:
        worst = Counter(fault for fault, _ in faults).most_common(1)[0][0]
        where = [f"{parts[0]}/{parts[-2]}" for fault, parts in faults if fault == worst]
        raise _refused(cifar, folder, f"{len(where):,} images {worst} ({_tally(where)})")
    images = np.stack([image for image in decoded if not isinstance(image, str)])
    return Split(torch.from_numpy(images), torch.tensor([label for _, label in files]))


def _pixels(path: Path) -> np.ndarray | str:
    """Return (3, 32, 32) uint8 pixels, or the reason why the image is refused."""
    try:
        with path.open("rb") as file:
            start = file.read(26)
        if not start.startswith(PNG):
            return "are named .png and are none"
        image = read_rgb(path)
    except (OSError, UnreadableImageError) as error:
        if is_shortage(error):
            raise
        return "cannot be read"
    if image.size != (PIXELS, PIXELS):
        return f"are not {PIXELS} x {PIXELS} but {image.size[0]} x {image.size[1]}"
    return "are grey" if start[25] in GREY else np.asarray(image).transpose(2, 0, 1)


def _differing(cifar: Cifar, train: Split, test: Split) -> str:
    names = [f"{split}/{name}" for split in SPLITS for name in cifar.classes]
    found = class_digests(len(cifar.classes), train, test)
    wanted = [cifar.parts[4 * number : 4 * number + 4] for number in range(len(names))]
    wrong = [name for name, one, other in zip(names, found, wanted, strict=True) if one != other]
    return (
        f"its images differ from the originals in {len(wrong)} of {len(names)} folders ({shorten(', '.join(wrong))}), "
        "as they do when they were saved as JPEG or resized once"
    )


def _tally(places: Iterable[str]) -> str:
    """Return the number of images in each class: "train/cat 12, train/dog 3"."""
    return shorten(", ".join(f"{place} {number:,}" for place, number in sorted(Counter(places).items())), 300)
