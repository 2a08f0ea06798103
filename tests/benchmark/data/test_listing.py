"""The listing of an image folder: what is an image, in which order, what is left out and which folders are refused."""

import builtins
import io
import os
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.data.listing import list_folder
from benchmark.data.load import load_data
from benchmark.data.streamed import Files
from benchmark.runtime.errors import DataError
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.preset import DataSettings

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_a_listing_is_torchvisions(photos: Path) -> None:
    ensure_importable()
    from torchvision.datasets import ImageFolder

    (photos / "train" / "class001" / "notes.txt").touch()
    nested = photos / "train" / "class002" / "more"
    nested.mkdir()
    (photos / "train" / "class002" / "00002.jpg").rename(nested / "00002.JPEG")
    found = list_folder(photos)
    for split, (paths, labels) in (("train", found.train), ("test", found.test)):
        official = ImageFolder(str(photos / split))
        assert [(str(photos / os.fsdecode(p)), n) for p, n in zip(paths, labels.tolist(), strict=True)] == (
            official.samples
        )
        assert found.classes == official.classes
    assert labels.dtype == torch.int64


def test_no_file_is_opened_to_list_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (builtins, io, os):
        monkeypatch.setattr(module, "open", None)  # to call it is an error
    assert len(list_folder(photos).train[0]) == 20


def test_the_fingerprint_changes_with_names_and_sizes_and_not_with_the_place(photos: Path) -> None:
    first = list_folder(photos).fingerprint
    assert len(first) == 16
    moved = photos.rename("elsewhere")
    assert list_folder(moved).fingerprint == first
    image = moved / "test" / "class003" / "00003.jpg"
    content = image.read_bytes()
    image.write_bytes(content + b"\0")
    longer = list_folder(moved).fingerprint
    image.write_bytes(content[::-1])  # content is not read
    assert list_folder(moved).fingerprint == first != longer
    image.rename(image.with_name("another.jpg"))
    assert list_folder(moved).fingerprint != first


def test_the_order_in_which_a_file_system_tells_names_changes_nothing(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, scandir = list_folder(photos), os.scandir

    def backwards(path: bytes) -> "nullcontext[list[os.DirEntry[bytes]]]":
        return nullcontext(sorted(scandir(path), key=lambda entry: entry.name, reverse=True))

    monkeypatch.setattr(os, "scandir", backwards)
    again = list_folder(photos)
    assert (again.fingerprint, again.classes) == (first.fingerprint, first.classes)
    assert np.array_equal(again.train[0], first.train[0])


def emptied(folder: Path) -> None:
    folder.rename("moved")
    folder.mkdir()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: folder.rename("moved"), "there is no folder /.*/photos; a path starts at the current folder"),
        (
            lambda folder: (folder / "test").rename(folder / "valid"),
            "no image folder.*train/<class>/ and test/<class>/ or val/<class>/.*it has train/, valid/",
        ),
        (lambda folder: emptied(folder / "train" / "class001"), "train/ has no images for the classes class001"),
        (lambda folder: emptied(folder / "test"), "no image folder.*test/ has no classes"),
        (
            lambda folder: (folder / "test" / "class002").rename(folder / "test" / "dog"),
            "only one of train/ and test/: class002, dog",
        ),
    ],
    ids=["nothing", "no test", "empty class", "no classes", "other classes"],
)
def test_folders_that_are_no_image_folders_are_explained(
    photos: Path, harm: Callable[[Path], object], words: str
) -> None:
    harm(photos)
    with pytest.raises(DataError, match=words):
        list_folder(photos)


def listed(folder: Path) -> list[str]:
    found = list_folder(folder)
    return [os.fsdecode(path) for path in (*found.train[0], *found.test[0])]


def both_loaders(folder: Path) -> list[str]:
    """List a folder by both loaders, which must agree, and return its training images."""
    settings = DataSettings.model_validate({"dataset": f"./{folder}", "pixels": 8, "streamed": True})
    streamed = load_data(settings, [])
    resident = load_data(settings.model_copy(update={"streamed": False}), [])
    assert isinstance(streamed.train, Files)
    for name in ("train", "test"):
        files, split = getattr(streamed, name), getattr(resident, name)
        assert torch.equal(files.labels, split.labels)
        assert len(split.images) == len(files.labels)
    return [os.fsdecode(path) for path in streamed.train.paths]


def test_everything_that_is_no_image_is_left_out_and_counted_in_one_line(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = listed(photos)
    train, one = photos / "train", photos / "train" / "class001"
    (train / ".ipynb_checkpoints").mkdir()
    (train / ".ipynb_checkpoints" / "a.jpg").touch()
    (train / "__MACOSX").mkdir()
    (train / "labels.jpg").touch()
    (one / "._x.jpg").touch()
    for number in range(60):
        (one / f"{number}.heic").touch()
    (one / "README").touch()
    (one / "lost.jpg").symlink_to("nowhere")
    (one / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(one / "pipe.jpg")
    (one / "again").symlink_to(".")
    (one / "up").symlink_to("../..")
    (one / "other").symlink_to("../class002")
    (photos / "val").mkdir()
    capsys.readouterr()
    assert listed(photos) == before == [*both_loaders(photos), *before[20:]]
    lines = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert len(set(lines)) == 1
    words = ["73 entries", "60 .heic", "3 hidden", "2 links to folders", "2 folders that are read", "2 dead links"]
    words += [
        "1 val/ beside test/",
        "1 neither files nor folders",
        "1 without ending",
        "1 outside of the classes' folders",
        ".webp",
    ]
    assert [word for word in words if word not in lines[0]] == []


def test_a_folder_elsewhere_is_read_through_a_link_and_once(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "train" / "class001").rename("big disk")
    (photos / "train" / "class001").symlink_to(Path("big disk").absolute())
    (photos / "train" / "class002" / "more").mkdir()
    (photos / "train" / "class002" / "00002.jpg").rename(photos / "train" / "class002" / "more" / "z.jpg")
    Path("shared").mkdir()
    (photos / "train" / "class000" / "00000.jpg").rename("shared/a.jpg")
    for number in (1, 2):
        (photos / "train" / "class000" / f"link{number}").symlink_to(Path("shared").absolute())
    found = both_loaders(photos)
    assert len(found) == 20
    assert found[4] == "train/class000/link1/a.jpg"  # after the files beside its folder
    assert "train/class001/00001.jpg" in found
    assert "1 links to folders that are read elsewhere" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("link", "target", "words"),
    [
        ("test", "train", "test/ is the same folder as train/"),
        ("train/class009", "class001", "train/class009/ is the same folder as train/class001/"),
        ("train/again", ".", "train/again/ is the same folder as train/"),
        ("test/class001", "../train/class001", "test/class001/ is the same folder as train/class001/"),
    ],
)
def test_a_folder_in_two_places_is_refused(photos: Path, link: str, target: str, words: str) -> None:
    if (photos / link).exists():
        (photos / link).rename("moved")
    (photos / link).symlink_to(target)
    with pytest.raises(DataError, match=words):
        list_folder(photos)


def test_names_that_are_no_utf_8_are_names(photos: Path) -> None:
    strange = os.fsdecode(b"caf\xe9")
    for split in ("train", "test"):
        (photos / split / "class003").rename(photos / split / strange)
    image = next((photos / "train" / strange).iterdir())
    image.rename(image.with_name(strange + ".jpg"))
    assert f"train/{strange}/{strange}.jpg" in both_loaders(photos)
    (photos / "test" / strange).rename(photos / "test" / "dog")
    with pytest.raises(DataError, match="only one of"):
        list_folder(photos)


@pytest.mark.parametrize("harm", ["in both splits", "one in each split"])
def test_classes_that_only_look_the_same_are_shown_as_such(photos: Path, harm: str) -> None:
    for split in ("train", "test"):
        (photos / split / "class003").rename(photos / split / "caf\u00e9")
        if harm == "in both splits":
            (photos / split / "class002").rename(photos / split / "cafe\u0301")
    if harm == "one in each split":
        (photos / "test" / "caf\u00e9").rename(photos / "test" / "cafe\u0301")
    with pytest.raises(DataError, match=r"look the same.*'cafe\\u0301' and 'caf\\xe9'"):
        list_folder(photos)


def folder_inside(place: int, name: str) -> int:
    os.mkdir(name, dir_fd=place)
    inner = os.open(name, os.O_RDONLY, dir_fd=place)
    os.close(place)
    return inner


def test_an_image_inside_twelve_hundred_folders_is_read_and_a_path_that_is_too_long_explained(photos: Path) -> None:
    content, one = (photos / "train" / "class000" / "00000.jpg").read_bytes(), photos / "train" / "class001"
    place = os.open(one, os.O_RDONLY)
    for _ in range(1200):
        place = folder_inside(place, "d")
    with os.fdopen(os.open("deep.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=place), "wb") as file:
        file.write(content)
    os.close(place)
    try:
        assert len(both_loaders(photos)) == 21
        place = os.open(one, os.O_RDONLY)
        for _ in range(20):
            place = folder_inside(place, "x" * 220)
        os.close(place)
        with pytest.raises(DataError, match=r"cannot be listed: .*too long"):
            list_folder(photos)
    finally:
        subprocess.run(["rm", "-r", one], check=True)  # pytest removes folders by recursion


def test_a_folder_that_may_not_be_listed_is_refused_in_the_same_words(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "train").rename("elsewhere")

    def forbidden(_path: Path) -> None:
        raise PermissionError("Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(DataError, match=r"is no image folder: it needs train/<class>/"):
        list_folder(photos)
