"""CIFAR from official files and from lossless image folders: the same images, and nothing else under their name."""

import dataclasses
import errno
import hashlib
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from studies.saying import Say
from studies.tiny_study import pixels_of
from torch import Tensor

from benchmark.data import cifar as reader
from benchmark.data.cifar import CIFAR10, CIFAR100, Cifar, canonical, class_digests, digest, find, image_folder_in
from benchmark.data.images import Source, Split
from benchmark.data.load import Data, load_data
from benchmark.data.synthetic import write_cifar
from benchmark.runtime.errors import DataError
from benchmark.runtime.files import cache_folder
from benchmark.settings.preset import DataSettings

pytestmark = pytest.mark.usefixtures("elsewhere")
TRAIN, TEST = 10, 2  # images of each class
BOTH = pytest.mark.parametrize("cifar", [CIFAR10, CIFAR100], ids=lambda cifar: cifar.name)


def load(name: str, root: Path, synthetic: bool = False) -> Data:
    return load_data(DataSettings(dataset=name, validation_images=10, split_seed=3, synthetic=synthetic), [root])


# Official files


@BOTH
def test_official_files_are_read_in_canonical_order(cifar: Cifar, tmp_path: Path) -> None:
    classes = len(cifar.classes)
    folder = write_cifar(tmp_path, classes, train=250, test=100)
    source = find(cifar, [tmp_path / "nothing here", tmp_path], DataSettings(dataset=cifar.name, synthetic=True))
    train, test = source.read()
    assert (len(train.labels), len(test.labels), len(source.classes)) == (250, 100, classes)
    raw = pickle.loads((folder / ("test" if classes == 100 else "test_batch")).read_bytes())
    assert test.images.dtype == torch.uint8
    keyed = sorted(
        (hashlib.sha256(bytes([label]) + row.tobytes()).digest(), label, row.tobytes())
        for label, row in zip(raw[cifar.labels], raw["data"], strict=True)
    )
    found = [(label, image.numpy().tobytes()) for label, image in zip(test.labels.tolist(), test.images, strict=True)]
    assert found == [(label, pixels) for _, label, pixels in keyed]


def test_made_up_files_are_read_where_the_settings_say_so(tmp_path: Path) -> None:
    write_cifar(tmp_path, 10, train=50, test=10)
    with pytest.raises(DataError, match="data_batch_1, data_batch_2"):
        load("cifar10", tmp_path)
    found = load("cifar10", tmp_path, synthetic=True)
    assert found.synthetic
    assert found.note is None
    assert load("cifar10", tmp_path, synthetic=True).fingerprint == found.fingerprint  # decoded before


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
@pytest.mark.parametrize("harm", ["truncated", "missing"])
def test_a_damaged_official_file_is_named(name: str, harm: str, official_cifar10: Callable[[Path], Path]) -> None:
    broken = official_cifar10(Path("data")) / name
    if harm == "missing":
        broken.unlink()
    else:
        broken.write_bytes(broken.read_bytes()[:-20])
    message = (
        rf"^CIFAR-10 in data/cifar-10-batches-py: missing or damaged \(wrong checksum\): {name}\. Delete the folder"
    )
    with pytest.raises(DataError, match=message):
        load("cifar10", Path("data"))


def test_official_files_that_may_not_be_opened_are_one_message(
    official_cifar10: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: str, *_: object) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    official_cifar10(Path("data"))
    monkeypatch.setattr("torchvision.datasets.utils.check_integrity", denied)
    with pytest.raises(DataError, match=r"CIFAR-10 in data/cifar-10-batches-py cannot be read: .*Permission denied"):
        load("cifar10", Path("data"))


@pytest.mark.parametrize(
    "harm",
    [
        lambda images, labels: (images, labels + 999),
        lambda images, labels: (images[:-1], labels),
        lambda images, labels: (images.float().requires_grad_(), labels),
        lambda images, labels: (images, labels.sum()),
        lambda images, _labels: (images, None),
    ],
    ids=["no class", "fewer images", "no bytes", "no list", "no labels"],
)
def test_a_cache_that_holds_something_else_is_decoded_again(
    harm: Callable[[Tensor, Tensor], object],
    official_cifar10: Callable[[Path], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    official_cifar10(Path("data"))
    first = load("cifar10", Path("data"))
    (kept,) = (cache_folder() / "decoded").iterdir()
    values = torch.load(kept)
    torch.save(values | {"test": harm(*values["test"])}, kept)
    capsys.readouterr()
    again = load("cifar10", Path("data"))
    assert "damaged (it holds something else than images and labels); decoding again" in capsys.readouterr().out
    assert torch.equal(pixels_of(again.test), pixels_of(first.test))


CRAFTED = pickle.dumps(type("Crafted", (), {"__reduce__": lambda _self: (os.system, ("touch executed",))})(), 2)


def test_no_file_in_the_folder_vouches_for_the_others(say: Say) -> None:
    folder = write_cifar(Path("data"), 10, 50, 20)
    (folder / "data_batch_1").write_bytes(CRAFTED)
    (folder / "batches.meta").write_bytes(CRAFTED)
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    for name in ("SYNTHETIC.json", "MD5SUMS", "checksums.json"):
        (folder / name).write_text(json.dumps(sums), encoding="utf-8")
    said = say("run", "cifar10_cpu")
    assert said.code == 3
    assert said.has("cifar-10-batches-py", "data_batch_1", "checksum")
    assert not Path("executed").exists()


def batch(**values: object) -> bytes:
    return pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1], **values}, 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (CRAFTED, "posix.system"),
        (batch(labels=[0, 10]), "labels such as 10"),
        (batch(labels=[0, -1]), "labels such as -1"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}, 2), "KeyError('labels')"),
        (pickle.dumps({"labels": [0, 1]}, 2), "KeyError('data')"),
        (batch(data=np.zeros((2, 3000), np.uint8)), "cannot reshape"),
        (batch(data=np.zeros((2, 3072), np.int32)), "pixels of type int32"),
        (batch(data=np.zeros((2, 3072), np.float32)), "not of whole numbers"),
        (batch(data=np.zeros((2, 3072), object)), "not of whole numbers"),
        (pickle.dumps([1, 2], 2), "official format"),
        (batch(data=3, labels=4), "official format"),
        (b"", "no whole pickle"),
        (b"\x80\x02}q\x01(", "no whole pickle"),
    ],
)
def test_files_of_other_content_are_refused_in_one_sentence(content: bytes, words: str) -> None:
    (write_cifar(Path("data"), 10, 50, 20) / "data_batch_2").write_bytes(content)
    with pytest.raises(DataError, match=rf"^data/cifar-10-batches-py/data_batch_2 .*{re.escape(words)}"):
        load("cifar10", Path("data"), synthetic=True)
    assert not Path("executed").exists()


def test_official_files_of_another_digest_are_accepted_and_noted(official: Callable[..., bytes]) -> None:
    official()  # made-up files that have the official MD5 from now on
    data = load("cifar10", Path("data"))
    assert data.note is not None
    assert data.fingerprint in data.note
    assert CIFAR10.digest[:16] in data.note


# Lossless folders


def write_pngs(source: Source, folder: Path, rename: Callable[[str], str] = str) -> Path:
    """Write the images of a source as PNGs, in another order than that of the source."""
    for name, split in zip(("train", "test"), source.read(), strict=True):
        order = torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(1)).tolist()
        for number, index in enumerate(order):
            path = folder / name / rename(source.classes[int(split.labels[index])]) / f"{number:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(split.images[index].permute(1, 2, 0).numpy()).save(path)
    return folder


def made_up(cifar: Cifar, monkeypatch: pytest.MonkeyPatch) -> tuple[Cifar, Source]:
    """Write official files below "official", and let their images be those of the data set from now on."""
    classes = len(cifar.classes)
    write_cifar(Path("official"), classes, TRAIN * classes, TEST * classes)
    source = find(cifar, [Path("official")], DataSettings(dataset=cifar.name, synthetic=True))
    splits = source.read()
    parts = "".join(class_digests(classes, *splits))
    own = dataclasses.replace(cifar, images=(TRAIN, TEST), digest=digest(*splits), parts=parts)
    monkeypatch.setattr(reader, cifar.name.upper(), own)
    return own, source


@pytest.fixture
def pngs(monkeypatch: pytest.MonkeyPatch) -> tuple[Cifar, Path]:
    """A made-up CIFAR-10, and the folder of its PNGs."""
    own, source = made_up(CIFAR10, monkeypatch)
    return own, write_pngs(source, Path("pngs") / "cifar10-png")


@pytest.mark.parametrize(
    ("cifar", "folder", "rename"),
    [
        (CIFAR10, "cifar10-png", str),
        (CIFAR10, "CIFAR-10-images", str.title),
        (CIFAR100, "cifar100", lambda name: f"group/{name.title()}".replace("_", " ")),
    ],
    ids=["png", "images", "groups"],
)
def test_both_forms_give_the_same_data(
    cifar: Cifar, folder: str, rename: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, source = made_up(cifar, monkeypatch)
    write_pngs(source, Path("pngs") / folder, rename)
    first, second = load(cifar.name, Path("official"), synthetic=True), load(cifar.name, Path("pngs"))
    assert first.fingerprint == second.fingerprint == own.digest[:16]
    assert second.note is None
    for part in ("train", "validation", "test"):
        one, other = pixels_of(getattr(first, part)), pixels_of(getattr(second, part))
        assert torch.equal(one, other)
        assert one.stride() == other.stride() == (3072, 1024, 32, 1)  # else sums differ in their last bits
        assert torch.equal(getattr(first, part).labels, getattr(second, part).labels)
    assert load(cifar.name, Path("pngs")).fingerprint == first.fingerprint  # from the cache


def test_identical_images_all_stay_and_the_order_is_by_label_and_pixels() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (6, 3, 32, 32), dtype=np.uint8))
    images[3] = images[0]  # the same image, once with the same label and once with another
    images[4] = images[0]
    split = Split(images, torch.tensor([1, 0, 2, 1, 5, 0]))
    ordered = canonical(split)
    assert sorted(ordered.labels.tolist()) == [0, 0, 1, 1, 2, 5]
    keys = reader.digests(ordered)
    assert keys == sorted(keys)
    assert len(set(keys)) == 5
    mixed = torch.tensor([5, 3, 1, 0, 2, 4])
    shuffled = canonical(Split(images[mixed], split.labels[mixed]))
    assert torch.equal(shuffled.images, ordered.images)
    assert digest(ordered, shuffled) == digest(shuffled, ordered)


@BOTH
def test_class_names_are_those_of_the_official_labels(cifar: Cifar) -> None:
    number = int(cifar.name.removeprefix("cifar"))
    assert len(set(cifar.classes)) == number
    assert list(cifar.classes) == sorted(cifar.classes)
    assert len(cifar.parts) == 8 * number
    assert len(cifar.digest) == 64


def jpeg(path: Path) -> None:
    Image.open(path).save(path.with_suffix(".jpg"), quality=90)
    path.unlink()


def jpeg_by_name(path: Path) -> None:
    jpeg(path)
    path.with_suffix(".jpg").rename(path)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "saved as JPEG": (jpeg, r"2 images are no PNGs \(train/cat 2\)"),
    "named .png": (jpeg_by_name, r"2 images are named .png and are none \(train/cat 2\)"),
    "another size": (
        lambda path: Image.open(path).resize((64, 64)).save(path),
        r"2 images are not 32 x 32 but 64 x 64 \(train/cat 2\)",
    ),
    "grey": (lambda path: Image.open(path).convert("L").save(path), r"2 images are grey \(train/cat 2\)"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:60]), r"2 images cannot be read \(train/cat 2\)"),
    "another class": (
        lambda path: path.rename(path.parents[1] / "dog" / f"x{path.name}"),
        r"train/cat has 8 of 10, train/dog has 12 of 10\.",
    ),
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
def test_other_images_under_the_name_are_refused_with_counts_and_classes(fault: str, pngs: tuple[Cifar, Path]) -> None:
    spoil, message = FAULTS[fault]
    for path in sorted((pngs[1] / "train" / "cat").iterdir())[:2]:
        spoil(path)
    with pytest.raises(DataError, match=rf"cifar10-png is not CIFAR-10: .*{message}"):
        load("cifar10", Path("pngs"))


def test_hidden_files_and_lists_of_labels_are_no_images(pngs: tuple[Cifar, Path]) -> None:
    own, folder = pngs
    (folder / "train" / "cat" / "._0.png").write_bytes(b"resource fork")
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    (folder / "train" / ".ipynb_checkpoints" / "a.png").touch()
    (folder / "labels.txt").write_text("airplane")
    assert load("cifar10", Path("pngs")).fingerprint == own.digest[:16]


def test_missing_data_names_both_forms(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBA_DATA_MIRROR", "http://127.0.0.1:9/")
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda _seconds: None))
    said = say("run", "cifar100_cpu", "--data-root", ".")
    assert said.code == 3
    assert said.has("CIFAR-100 (169 MB)", "cifar-100-python", "cifar100-png", "{train,test}/<class>/*.png")


def test_the_names_of_lossless_folders(tmp_path: Path) -> None:
    (tmp_path / "cifar10-jpeg" / "train").mkdir(parents=True)
    assert image_folder_in(tmp_path, CIFAR10) is None
    (tmp_path / "CIFAR-10-images" / "train").mkdir(parents=True)
    (tmp_path / "cifar10_png" / "train").mkdir(parents=True)
    assert image_folder_in(tmp_path, CIFAR10) == tmp_path / "cifar10_png"
    assert image_folder_in(tmp_path, CIFAR100) is None
