"""Data that is missing, damaged or of no use: a message that says what and where, never a traceback."""

import hashlib
import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest
import requests
import torch
from saying import ONE_RUN, TINY, Say, in_a_process

from benchmark.data.catalogue import DATASETS, Dataset
from benchmark.data.datasets import Source
from benchmark.data.images import Split
from benchmark.data.synthetic import write_cifar, write_image_folder
from benchmark.evaluation.attacks import Victim
from benchmark.evaluation.joint import Subject, attack_jointly
from benchmark.networks.build import build_model
from benchmark.runtime.errors import BenchmarkError
from benchmark.settings.load import load_preset

pytestmark = pytest.mark.usefixtures("elsewhere")

JPEG = ("run", "cifar10_jpeg_cpu", "--arms", "erm", "--seeds", "0")
CIFAR = ("run", "cifar10_cpu", "--arms", "erm", "--seeds", "0")


CRAFTED = pickle.dumps(type("Crafted", (), {"__reduce__": lambda _self: (os.system, ("touch executed",))})(), 2)


def no_network(*_arguments: object, **_named: object) -> NoReturn:
    """A machine without a network."""
    raise requests.ConnectionError("no network in tests")


def test_missing_data_says_where_it_looked_in_order_how_to_get_it_and_its_size(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, variable = tmp_path / "named", tmp_path / "variable"
    for folder in (named, variable):
        folder.mkdir()
    monkeypatch.setenv("SBA_DATA_ROOT", str(variable))
    said = say(*JPEG, "--data-root", str(named))
    assert said.code == 3
    looked = [f"{named}/", f"{variable}/", "data/cifar10-jpeg", f"{tmp_path}/cache/"]
    assert said.has("cifar10-jpeg", "git clone https://", "GB", "--data-root", "SBA_DATA_ROOT", *looked)
    places = [line.strip() for line in said.error.splitlines() if line.startswith("  ")]
    assert [place.startswith(start) for place, start in zip(places, looked, strict=True)] == [True] * 4


def test_missing_tiny_imagenet_says_where_to_get_it(say: Say) -> None:
    said = say("run", "tiny_imagenet_100_cpu")
    assert said.code == 3
    assert said.has("tiny-imagenet-100", "data/tiny-imagenet-100", "GB", "http")


@pytest.mark.parametrize(("preset", "folder"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
def test_download_that_fails_says_where_it_looked_and_why(
    say: Say, monkeypatch: pytest.MonkeyPatch, preset: str, folder: str
) -> None:
    monkeypatch.setattr(requests, "get", no_network)
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda _seconds: None))
    said = say("run", f"{preset}_cpu")
    assert said.code == 3
    assert said.has(f"data/{folder}", "MB", "no network in tests", "--data-root", "SBA_DATA_ROOT")


def test_missing_data_in_a_process_ends_with_3_and_no_traceback() -> None:
    said = in_a_process(*JPEG)
    assert said.code == 3
    assert said.has("error: ", "cifar10-jpeg", "data/cifar10-jpeg")
    assert "Traceback" not in said.error


def test_data_root_that_does_not_exist_is_named_with_its_option(say: Say, tmp_path: Path) -> None:
    said = say(*JPEG, "--data-root", str(tmp_path / "nowhere"))
    assert said.code == 3
    assert said.has("--data-root", f"{tmp_path}/nowhere")


def test_data_root_variable_that_names_a_file_is_named(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").touch()
    monkeypatch.setenv("SBA_DATA_ROOT", "file")
    said = say(*JPEG)
    assert said.code == 3
    assert said.has("SBA_DATA_ROOT", "file")


def test_own_folder_that_is_no_image_folder_says_what_one_looks_like(say: Say) -> None:
    said = say(*JPEG, "--set", "data.dataset=./photos")
    assert said.code == 3
    assert said.has("photos", "train/", "test/", "val/")


def test_own_folder_whose_splits_have_other_classes_names_them(say: Say) -> None:
    write_image_folder(Path("photos"), 3, 6, 6, 32)
    Path("photos/test/class002").rename("photos/test/dog")
    said = say(*JPEG, "--set", "data.dataset=./photos")
    assert said.code == 3
    assert said.has("photos", "class002", "dog")


def test_truncated_image_is_named(say: Say) -> None:
    write_image_folder(Path("data/cifar10-jpeg"), 10, 20, 10, 32)
    broken = sorted(Path("data/cifar10-jpeg/train").rglob("*.jpg"))[7]
    broken.write_bytes(broken.read_bytes()[:300])
    said = say(*JPEG)
    assert said.code == 3
    assert said.has(str(broken))


def test_image_file_that_is_no_image_is_named(say: Say) -> None:
    write_image_folder(Path("data/cifar10-jpeg"), 10, 20, 10, 32)
    broken = sorted(Path("data/cifar10-jpeg/test").rglob("*.jpg"))[3]
    broken.write_text("not an image", encoding="utf-8")
    said = say(*JPEG)
    assert said.code == 3
    assert said.has(str(broken))


def png_that_claims(width: int, height: int) -> bytes:
    """A few bytes of PNG whose header promises a picture of this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_image_that_would_fill_the_memory_is_named(say: Say) -> None:
    write_image_folder(Path("data/cifar10-jpeg"), 10, 20, 10, 32)
    huge = Path("data/cifar10-jpeg/train/class000/huge.png")
    huge.write_bytes(png_that_claims(100_000, 100_000))
    said = say(*JPEG)
    assert said.code == 3
    assert said.has(str(huge))


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_truncated_cifar_file_is_named(say: Say, name: str, official_cifar10: Callable[[Path], Path]) -> None:
    broken = official_cifar10(Path("data")) / name
    broken.write_bytes(broken.read_bytes()[:-20])
    said = say(*CIFAR)
    assert said.code == 3
    assert said.has("CIFAR-10", "cifar-10-batches-py", name)
    assert "data_batch_1" not in said.error


def test_cifar_file_that_is_not_there_is_named(say: Say, official_cifar10: Callable[[Path], Path]) -> None:
    (official_cifar10(Path("data")) / "data_batch_5").unlink()
    said = say(*CIFAR)
    assert said.code == 3
    assert said.has("cifar-10-batches-py", "data_batch_5")


@pytest.mark.parametrize("root", [(), ("--data-root", "data")])
def test_no_file_in_the_folder_vouches_for_the_others(say: Say, root: tuple[str, ...]) -> None:
    folder = write_cifar(Path("data"), 10, 50, 20)
    (folder / "data_batch_1").write_bytes(CRAFTED)
    (folder / "batches.meta").write_bytes(CRAFTED)
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    for name in ("SYNTHETIC.json", "MD5SUMS", "checksums.json"):
        (folder / name).write_text(json.dumps(sums), encoding="utf-8")
    said = say(*CIFAR, *root)
    assert said.code == 3
    assert said.has("cifar-10-batches-py", "data_batch_1", "checksum")
    assert not Path("executed").exists()


MADE_UP = (*CIFAR, "--set", "data.synthetic=true")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (CRAFTED, "posix.system"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}, 2), "labels such as 10"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, -1]}, 2), "labels such as -1"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}, 2), "KeyError('labels')"),
        (pickle.dumps({"labels": [0, 1]}, 2), "KeyError('data')"),
        (pickle.dumps({"data": np.zeros((2, 3000), np.uint8), "labels": [0, 1]}, 2), "cannot reshape"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.int32), "labels": [0, 1]}, 2), "pixels of type int32"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.float32), "labels": [0, 1]}, 2), "not of whole numbers"),
        (pickle.dumps({"data": np.zeros((2, 3072), object), "labels": [0, 1]}, 2), "not of whole numbers"),
        (pickle.dumps([1, 2], 2), "official format"),
        (pickle.dumps({"data": 3, "labels": 4}, 2), "official format"),
        (b"", "no whole pickle"),
        (b"\x80\x02}q\x01(", "no whole pickle"),
    ],
)
def test_cifar_files_of_other_content_are_refused_in_one_sentence(say: Say, values: bytes, words: str) -> None:
    (write_cifar(Path("data"), 10, 50, 20) / "data_batch_2").write_bytes(values)
    said = say(*MADE_UP)
    assert said.code == 3
    assert said.has("data_batch_2", words)
    assert not Path("executed").exists()


def float_digits(_roots: object, _settings: object) -> Source:
    """A data set that hands out pixels from 0 to 255 as floats."""

    def split(n: int) -> Split:
        return Split(torch.linspace(0, 255, n * 64).reshape(n, 1, 8, 8), torch.arange(n) % 10)

    return Source(None, [str(i) for i in range(10)], lambda: (split(200), split(100)))


def test_data_set_with_images_outside_the_range_is_refused_before_training(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "digits", Dataset(f"{__name__}:float_digits", "floats", train_images=1297))
    said = say(*ONE_RUN, *TINY)
    assert said.code == 3
    assert said.has("digits", "uint8", "255")
    assert "epoch 1" not in said.out


@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (-1.0, 1.0)])
def test_attacks_refuse_images_outside_the_range(low: float, high: float) -> None:
    images = torch.from_numpy(np.linspace(low, high, 16 * 64, dtype=np.float32)).reshape(16, 1, 8, 8)
    labels = torch.arange(16) % 10
    model = Victim(build_model("small", torch.zeros(16, 1, 8, 8, dtype=torch.uint8), 10, 0))
    settings = load_preset("smoke").evaluation
    with pytest.raises(BenchmarkError, match=r"\[0, 1\]"):
        attack_jointly(Subject(model, images, labels, labels >= 0, 10, 0), settings, lambda _text, _share: None)
