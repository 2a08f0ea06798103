"""CIFAR from official files and from lossless image folders: the same images, and nothing else under their name."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from saying import Say

from benchmark.data import cifar as reader
from benchmark.data import cifar_sets, lossless
from benchmark.data.cifar import find
from benchmark.data.cifar_sets import CIFAR10, CIFAR100, Cifar, canonical, class_digests, digest
from benchmark.data.datasets import Source
from benchmark.data.images import Split
from benchmark.data.load import Data, load_data
from benchmark.data.synthetic import write_cifar
from benchmark.runtime.errors import DataError
from benchmark.settings.preset import DataSettings

TRAIN, TEST = 10, 2  # images of each class


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def official_files(root: Path, cifar: Cifar) -> Path:
    """Write made-up files in the official format."""
    write_cifar(root, len(cifar.classes), TRAIN * len(cifar.classes), TEST * len(cifar.classes))
    return root


def write_pngs(source: Source, folder: Path, rename: Callable[[str], str] = str) -> Path:
    """Write the images of a source as PNGs, in another order than that of the source."""
    for name, split in zip(("train", "test"), source.read(), strict=True):
        order = torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(1)).tolist()
        for number, index in enumerate(order):
            path = folder / name / rename(source.classes[int(split.labels[index])]) / f"{number:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(split.images[index].permute(1, 2, 0).numpy()).save(path)
    return folder


def made_up(cifar: Cifar, root: Path, monkeypatch: pytest.MonkeyPatch) -> Cifar:
    """Write official files below root, and let their images be those of the data set from now on."""
    splits = find(cifar, [official_files(root, cifar)], made_up_settings(cifar)).read()
    own = dataclasses.replace(
        cifar,
        images=(TRAIN, TEST),
        digest=digest(*splits),
        parts="".join(class_digests(len(cifar.classes), *splits)),
    )
    monkeypatch.setattr(reader, cifar.name.upper(), own)
    return own


def made_up_settings(cifar: Cifar) -> DataSettings:
    return DataSettings(dataset=cifar.name, synthetic=True)


def load(name: str, root: Path, synthetic: bool = False) -> Data:
    return load_data(DataSettings(dataset=name, validation_images=10, split_seed=3, synthetic=synthetic), [root])


@pytest.mark.parametrize("cifar", [CIFAR10, CIFAR100], ids=lambda cifar: cifar.name)
@pytest.mark.parametrize(
    ("folder", "rename"),
    [("{}-png", str), ("CIFAR-{}-images", str.title), ("data", lambda name: f"group/{name}".replace("_", " "))],
    ids=["png", "images", "groups"],
)
def test_both_forms_give_the_same_data(
    cifar: Cifar, folder: str, rename: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = made_up(cifar, tmp_path / "official", monkeypatch)
    title = {"{}-png": cifar.name, "CIFAR-{}-images": cifar.name.removeprefix("cifar")}.get(folder, "")
    target = tmp_path / "pngs" / (folder.format(title) if title else cifar.name)
    write_pngs(find(own, [tmp_path / "official"], made_up_settings(own)), target, rename)
    first, second = load(cifar.name, tmp_path / "official", synthetic=True), load(cifar.name, tmp_path / "pngs")
    assert first.fingerprint == second.fingerprint == own.digest[:16]
    assert second.note is None
    for one, other in ((first.train, second.train), (first.validation, second.validation), (first.test, second.test)):
        assert isinstance(one, Split)
        assert isinstance(other, Split)
        assert torch.equal(one.images, other.images)
        assert (
            one.images.stride() == other.images.stride() == (3072, 1024, 32, 1)
        )  # else sums differ in their last bits
        assert torch.equal(one.labels, other.labels)
    again = load(cifar.name, tmp_path / "pngs")  # from the cache
    assert again.fingerprint == first.fingerprint


def test_identical_images_all_stay_and_the_order_is_by_label_and_pixels() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8))
    images[3] = images[0]  # the same image, once with the same label and once with another
    images[4] = images[0]
    split = Split(images, torch.tensor([1, 0, 2, 1, 5, 0]))
    ordered = canonical(split)
    assert sorted(ordered.labels.tolist()) == [0, 0, 1, 1, 2, 5]
    keys = cifar_sets.digests(ordered)
    assert keys == sorted(keys)
    assert len(set(keys)) == 5
    mixed = torch.tensor([5, 3, 1, 0, 2, 4])
    shuffled = canonical(Split(images[mixed], split.labels[mixed]))
    assert torch.equal(shuffled.images, ordered.images)
    assert digest(ordered, shuffled) == digest(shuffled, ordered)


def test_class_names_are_those_of_the_official_labels() -> None:
    for cifar, number in ((CIFAR10, 10), (CIFAR100, 100)):
        assert len(set(cifar.classes)) == number
        assert list(cifar.classes) == sorted(cifar.classes)
        assert len(cifar.parts) == 8 * number
        assert len(cifar.digest) == 64


def jpeg(path: Path) -> None:
    Image.open(path).save(path.with_suffix(".jpg"), quality=90)
    path.unlink()


def jpeg_in_png(path: Path) -> None:
    jpeg(path)
    Image.open(path.with_suffix(".jpg")).save(path)
    path.with_suffix(".jpg").unlink()


def jpeg_by_name(path: Path) -> None:
    jpeg(path)
    path.with_suffix(".jpg").rename(path)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "saved as JPEG": (jpeg, r"2 images are no PNGs \(train/cat 2\)"),
    "named .png": (jpeg_by_name, r"2 images are named .png and are none \(train/cat 2\)"),
    "once saved as JPEG": (jpeg_in_png, r"differ from the originals in 1 of 20 folders \(train/cat\)"),
    "missing": (Path.unlink, r"train/cat has 8 of 10\."),
    "extra": (lambda path: shutil.copy(path, path.with_name(f"x{path.name}")), r"train/cat has 12 of 10\."),
    "another size": (
        lambda path: Image.open(path).resize((64, 64)).save(path),
        r"2 images are not 32 x 32 but 64 x 64 \(train/cat 2\)",
    ),
    "grey": (lambda path: Image.open(path).convert("L").save(path), r"2 images are grey \(train/cat 2\)"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:60]), r"2 images cannot be read \(train/cat 2\)"),
    "another class": (lambda path: path.rename(path.parents[1] / "dog" / "x.png"), r"train/cat has 8 of 10, train/dog"),
    "a strange class": (
        lambda path: path.parent.rename(path.parents[1] / "lion") if path.is_file() else None,
        r"no such classes: train/lion 10",
    ),
    "one colour": (
        lambda path: Image.fromarray(np.asarray(Image.open(path)) ^ np.uint8(1)).save(path),
        r"differ from the originals in 1 of 20 folders \(train/cat\)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_other_images_under_the_name_are_refused_with_counts_and_classes(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = made_up(CIFAR10, tmp_path / "official", monkeypatch)
    folder = write_pngs(find(own, [tmp_path / "official"], made_up_settings(own)), tmp_path / "pngs" / "cifar10-png")
    spoil, message = FAULTS[fault]
    for path in sorted((folder / "train" / "cat").iterdir())[:2]:
        spoil(path)
    with pytest.raises(DataError, match=rf"cifar10-png is not CIFAR-10: .*{message}"):
        load("cifar10", tmp_path / "pngs")


def test_hidden_files_and_lists_of_labels_are_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = made_up(CIFAR10, tmp_path / "official", monkeypatch)
    folder = write_pngs(find(own, [tmp_path / "official"], made_up_settings(own)), tmp_path / "pngs" / "cifar10-png")
    (folder / "train" / "cat" / "._0.png").write_bytes(b"resource fork")
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    (folder / "train" / ".ipynb_checkpoints" / "a.png").touch()
    (folder / "labels.txt").write_text("airplane")
    assert load("cifar10", tmp_path / "pngs").fingerprint == own.digest[:16]


def test_official_files_of_another_digest_are_accepted_and_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: Callable[..., bytes]
) -> None:
    official()  # made-up files that have the official MD5 from now on
    monkeypatch.chdir(tmp_path)
    data = load("cifar10", tmp_path / "data")
    assert data.note is not None
    assert data.fingerprint in data.note
    assert CIFAR10.digest[:16] in data.note


@pytest.mark.usefixtures("elsewhere")
def test_missing_data_names_both_forms(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBA_DATA_MIRROR", "http://127.0.0.1:9/")
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda _seconds: None))
    said = say("run", "cifar100_cpu", "--data-root", ".")
    assert said.code == 3
    assert said.has("cifar-100-python", "cifar100-png", "{train,test}/<class>/*.png")


def test_the_png_ending_decides_nothing_about_folders_of_other_names(tmp_path: Path) -> None:
    (tmp_path / "cifar10-jpeg" / "train").mkdir(parents=True)
    assert lossless.image_folder_in(tmp_path, CIFAR10) is None
    (tmp_path / "CIFAR-10-images" / "train").mkdir(parents=True)
    (tmp_path / "cifar10_png" / "train").mkdir(parents=True)
    assert lossless.image_folder_in(tmp_path, CIFAR10) == tmp_path / "cifar10_png"
    assert lossless.image_folder_in(tmp_path, CIFAR100) is None
