"""Image folders whose images stay files: what is found, how it is told apart, and what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from saying import Say

from benchmark.data import listing
from benchmark.data.listing import list_folder
from benchmark.data.load import load_data
from benchmark.data.streamed import Files, decoded
from benchmark.data.synthetic import MARKER, write_image_folder, write_imagenet, write_synthetic
from benchmark.runtime.errors import DataError, UsageError
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.load import load_preset
from benchmark.settings.preset import DataSettings

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def photos() -> Path:
    """An image folder: 4 classes, 20 + 8 images, whose pixels are made up."""
    return write_image_folder(Path("photos"), 4, train=20, test=8, pixels=10)


def settings(dataset: object, **changes: object) -> DataSettings:
    values: dict[str, object] = {"dataset": str(dataset), "pixels": 8, "streamed": True} | changes
    return DataSettings.model_validate(values)


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
    monkeypatch.setattr(listing, "open", None, raising=False)
    for path in photos.rglob("*.jpg"):
        path.chmod(0)
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
    class Reversed:
        def __init__(self, path: object) -> None:
            self.entries = sorted(scandir(path), key=lambda entry: entry.name, reverse=True)  # type: ignore[call-overload]

        def __enter__(self) -> "list[os.DirEntry[str]]":
            return self.entries

        def __exit__(self, *_: object) -> None: ...

        def __iter__(self) -> object:
            return iter(self.entries)

    first, scandir = list_folder(photos), os.scandir
    monkeypatch.setattr(os, "scandir", Reversed)
    again = list_folder(photos)
    assert (again.fingerprint, again.classes) == (first.fingerprint, first.classes)
    assert np.array_equal(again.train[0], first.train[0])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("no test", "no image folder.*test/<class>/ or val/<class>/"),
        ("empty class", "no image folder.*train/ has no images for the classes class001"),
        ("no classes", "no image folder.*test/ has no classes"),
        ("other classes", "only one of train/ and test/: class002, dog"),
        ("broken link", "train cannot be listed: .*lost.jpg"),
    ],
)
def test_folders_that_are_no_image_folders_are_explained(photos: Path, harm: str, words: str) -> None:
    if harm == "no test":
        (photos / "test").rename("moved")
    elif harm == "empty class":
        (photos / "train" / "class001").rename("moved")
        (photos / "train" / "class001").mkdir()
    elif harm == "no classes":
        (photos / "test").rename("moved")
        (photos / "test").mkdir()
    elif harm == "other classes":
        (photos / "test" / "class002").rename(photos / "test" / "dog")
    else:
        (photos / "train" / "class001" / "lost.jpg").symlink_to("nowhere")
    with pytest.raises(DataError, match=words):
        list_folder(photos)


def test_streamed_data_are_the_same_images_and_subsets_as_decoded_ones(photos: Path) -> None:
    parts = {"train_images": 8, "validation_images": 4, "test_images": 4}
    streamed = load_data(settings("./photos", pixels=10, **parts), [])
    resident = load_data(settings("./photos", pixels=10, streamed=False, **parts), [])
    assert (streamed.name, streamed.classes, streamed.synthetic) == (resident.name, 4, True)
    for name, count in (("train", 8), ("validation", 4), ("test", 4)):
        files, split = getattr(streamed, name), getattr(resident, name)
        assert isinstance(files, Files)
        assert len(files.labels) == count
        images, labels = decoded(files, list(range(count)), workers=0)
        assert torch.equal(labels, split.labels)
        assert torch.equal(images, split.images)  # which are as large as they are asked for
    assert streamed.to(torch.device("meta")).train is streamed.train
    assert streamed.fingerprint == list_folder(photos).fingerprint


def test_the_shorter_side_is_as_many_pixels_unless_the_settings_say_more() -> None:
    write_image_folder(Path("photos"), 2, train=4, test=2, pixels=10)
    for chosen, resize in ((settings("./photos"), 8), (settings("./photos", resize=9), 9)):
        train = load_data(chosen, []).train
        assert isinstance(train, Files)
        assert (train.pixels, train.resize) == (8, resize)


def test_more_images_than_there_are_is_a_settings_error(photos: Path) -> None:
    with pytest.raises(UsageError, match=r"photos has 20 training images.*train_images = 21"):
        load_data(settings(f"./{photos}", train_images=21), [])


def test_data_sets_that_are_no_folders_cannot_be_streamed() -> None:
    with pytest.raises(UsageError, match=r"data.streamed = true.*digits"):
        load_data(settings("digits"), [])


def test_images_that_the_memory_cannot_hold_are_told_to_be_streamed(photos: Path) -> None:
    with pytest.raises(UsageError, match=r"28 images of 1000000 x .* GB.*data.streamed = true"):
        load_data(settings(f"./{photos}", pixels=1_000_000, streamed=False), [])


def test_tiny_imagenet_can_be_streamed_from_a_data_root() -> None:
    write_image_folder(Path("mine/tiny-imagenet-100"), 100, train=200, test=100, pixels=16)
    found = load_data(settings("tiny_imagenet_100", train_images=100), [Path("nothing"), Path("mine")])
    assert isinstance(found.train, Files)
    assert (found.classes, torch.bincount(found.train.labels).tolist()) == (100, [1] * 100)


def test_made_up_imagenet_has_the_official_layout_and_says_what_it_is() -> None:
    folder = write_imagenet(Path("mine/imagenet"), classes=30, images=2)
    found = load_data(settings("imagenet"), [Path("mine")])
    assert isinstance(found.train, Files)
    assert (found.classes, found.synthetic) == (30, True)
    assert (len(found.train.labels), len(found.test.labels)) == (60, 60)
    assert all(path.relative_to(folder).parts[0] in ("train", "val") for path in folder.rglob("*.JPEG"))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_imagenet(folder, classes=30, images=2) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_smoke_runs_of_imagenet_have_made_up_images_for_all_its_classes() -> None:
    preset = load_preset("tiny_imagenet_100_cpu", ("data.dataset=imagenet", "data.streamed=true"))
    data = load_data(preset.data, [write_synthetic(preset.data, Path("mine"))])
    assert (data.classes, data.synthetic) == (1000, True)
    assert torch.bincount(data.test.labels).tolist() == [2] * 1000


def test_a_part_of_imagenet_does_not_pass_for_the_whole() -> None:
    (write_imagenet(Path("mine/imagenet"), classes=3) / MARKER).unlink()
    with pytest.raises(DataError, match=r"ImageNet.*1,281,167 .* and 50,000 .*here are 6 and 6.*data\.dataset"):
        load_data(settings("imagenet"), [Path("mine")])
    assert load_data(settings("./mine/imagenet"), []).synthetic is False


def test_missing_imagenet_says_where_it_looked_how_to_get_it_and_its_size(tmp_path: Path, say: Say) -> None:
    with pytest.raises(DataError) as missing:
        load_data(settings("imagenet"), [tmp_path / "one", tmp_path / "two"])
    words = (
        "150 GB",
        f"\n  {tmp_path}/one/imagenet\n  {tmp_path}/two/imagenet\n",
        "image-net.org",
        "devkit",
        "val/<wnid>",
    )
    assert all(word in str(missing.value) for word in (*words, "never downloaded", "--data-root", "SBA_DATA_ROOT"))
    assert "imagenet" in say("list", "datasets").out
