"""Image folders as data sets: in memory and streamed alike, found by name, refused where images are missing."""

import tracemalloc
from pathlib import Path

import pytest
import torch
from studies.photos import decoded

from benchmark.data.catalogue import DATASETS, NAMED_FOLDER, Dataset
from benchmark.data.folders import image_folder
from benchmark.data.listing import list_folder
from benchmark.data.load import load_data
from benchmark.data.streamed import Files
from benchmark.data.synthetic import write_image_folder, write_imagenet, write_synthetic
from benchmark.runtime.errors import DataError, UsageError
from benchmark.settings.load import load_preset
from benchmark.settings.preset import DataSettings

pytestmark = pytest.mark.usefixtures("elsewhere")


def settings(dataset: object, **changes: object) -> DataSettings:
    values: dict[str, object] = {"dataset": str(dataset), "pixels": 8, "streamed": True} | changes
    return DataSettings.model_validate(values)


def test_streamed_data_are_the_same_images_and_subsets_as_decoded_ones(photos: Path) -> None:
    parts = {"train_images": 8, "validation_images": 4, "test_images": 4}
    streamed = load_data(settings("./photos", pixels=10, **parts), [])
    resident = load_data(settings("./photos", pixels=10, streamed=False, **parts), [])
    assert (streamed.name, streamed.classes, streamed.synthetic) == (resident.name, 4, False)
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


def test_data_sets_that_are_no_folders_cannot_be_streamed() -> None:
    with pytest.raises(UsageError, match=r"data.streamed = true.*digits"):
        load_data(settings("digits"), [])


def test_images_that_do_not_fit_into_memory_are_refused(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**20}.__getitem__)  # 4.3 GB
    with pytest.raises(UsageError, match=r"28 images of 8192 x .* take 6 GB.* 4 GB of memory.*data.streamed = true"):
        load_data(settings(f"./{photos}", pixels=8192, streamed=False), [])


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_unreadable_image_is_named(split: str, photos: Path) -> None:
    broken = photos / split / "class002" / "00002.jpg"
    broken.write_bytes(b"")
    with pytest.raises(DataError, match=rf"^image {broken} cannot be read \(it is no image .*\)\. Restore or remove"):
        load_data(settings(f"./{photos}", streamed=False), [])


def test_images_are_decoded_into_the_memory_that_is_asked_for() -> None:
    listing = list_folder(write_image_folder(Path("photos"), 2, train=200, test=2, pixels=64))
    tracemalloc.start()
    try:
        train, _ = image_folder(listing, 64).read()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert train.images.numel() == 200 * 3 * 64 * 64 <= peak < 1.5 * train.images.numel()


@pytest.mark.parametrize("folder", ["birds", "birds/training", "train", ""])
def test_a_row_whose_folder_does_not_end_in_train_is_refused(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "birds", Dataset(NAMED_FOLDER, "made up", train_images=20, folder=folder))
    with pytest.raises(UsageError, match=rf"DATASETS\['birds'\] .*folder = '{folder}' must be .*'<folder>/train'"):
        load_data(settings("birds"), [Path("mine")])


@pytest.mark.parametrize(
    ("row", "first", "last"),
    [
        ({}, "birds was not found.", "Name the folder that holds it"),
        ({"size": "1 GB"}, "birds (1 GB) was not found.", "Name the folder that holds it"),
        ({"instructions": "Ask Ann."}, "birds was not found.", "Ask Ann. Then name the folder that holds it"),
        ({"title": "Birds (2011)"}, "Birds (2011) was not found.", "Name the folder that holds it"),
    ],
)
def test_missing_data_of_a_row_without_size_or_instructions(
    row: dict[str, str], first: str, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    birds = Dataset(NAMED_FOLDER, "x", train_images=20, folder="birds/train")._replace(**row)  # type: ignore[arg-type]
    monkeypatch.setitem(DATASETS, "birds", birds)
    with pytest.raises(DataError) as raised:
        load_data(settings("birds"), [Path("mine")])
    lines = str(raised.value).splitlines()
    assert lines[0].startswith(first)
    assert lines[1] == "  mine/birds"
    assert lines[2].startswith(last)
    assert "--data-root DIR" in lines[2]


def test_every_named_folder_has_its_size_and_where_to_get_it_and_keeps_its_name() -> None:
    rows = [row for row in DATASETS.values() if row.target == NAMED_FOLDER]
    assert all(row.size and "http" in row.instructions for row in rows)
    assert [row.folder for row in rows] == ["cifar10-jpeg/train", "tiny-imagenet-100/train", "imagenet/train"]


def test_made_up_imagenet_has_the_official_layout_and_says_what_it_is() -> None:
    folder = write_imagenet(Path("mine/imagenet"), classes=30)
    found = load_data(settings("imagenet", synthetic=True), [Path("nothing"), Path("mine")])
    assert isinstance(found.train, Files)
    assert (found.classes, found.synthetic) == (30, True)
    assert (len(found.train.labels), len(found.test.labels)) == (60, 60)
    assert all(path.relative_to(folder).parts[0] in ("train", "val") for path in folder.rglob("*.JPEG"))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write_imagenet(folder, classes=30) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_smoke_runs_of_imagenet_have_made_up_images_for_all_its_classes() -> None:
    preset = load_preset(
        "tiny_imagenet_100_cpu", ("data.dataset=imagenet", "data.streamed=true", "data.synthetic=true")
    )
    data = load_data(preset.data, [write_synthetic(preset.data, Path("mine"))])
    assert (data.classes, data.synthetic) == (1000, True)
    assert torch.bincount(data.test.labels).tolist() == [2] * 1000


def test_a_part_of_a_named_data_set_does_not_pass_for_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    write_imagenet(Path("mine/imagenet"), classes=3)
    with pytest.raises(DataError, match=r"ImageNet.*1,281,167 .* and 50,000 .*here are 6 and 6.*data\.dataset"):
        load_data(settings("imagenet"), [Path("mine")])
    for train, test, complete in ((6, 6, True), (6, 0, True), (6, 7, False), (7, 6, False), (7, 0, False)):
        row = Dataset(NAMED_FOLDER, "x", train_images=train, folder="imagenet/train", test_images=test)
        monkeypatch.setitem(DATASETS, "mine", row)
        if complete:
            assert len(load_data(settings("mine"), [Path("mine")]).train.labels) == 6
        else:
            counts = f"mine has {train} training and {test or 6} test images; here are 6 and 6"
            with pytest.raises(DataError, match=counts):
                load_data(settings("mine"), [Path("mine")])
    assert load_data(settings("./mine/imagenet"), []).synthetic is False
