"""Missing and damaged data at the command line: exit code 3 and one message, which names the file or the folders."""

from pathlib import Path

import pytest
from studies.saying import Say

from benchmark.data.synthetic import write_image_folder

pytestmark = pytest.mark.usefixtures("elsewhere")
JPEG = ("run", "cifar10_jpeg_cpu", "--arms", "erm", "--seeds", "0")


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
    assert said.has("cifar10-jpeg (0.2 GB)", "git clone https://", "--data-root", "SBA_DATA_ROOT", *looked)
    places = [line.strip() for line in said.error.splitlines() if line.startswith("  ")]
    assert [place.startswith(start) for place, start in zip(places, looked, strict=True)] == [True] * 4


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("tiny_imagenet_100_cpu", ["tiny-imagenet-100 (0.2 GB)", "data/tiny-imagenet-100", "http", "val/<wnid>"]),
        (
            "imagenet",
            ["ImageNet (ILSVRC2012) (150 GB)", "data/imagenet", "image-net.org", "never downloaded"],
        ),
    ],
)
def test_missing_folders_say_where_to_get_them(preset: str, words: list[str], say: Say) -> None:
    said = say("run", preset)
    assert said.code == 3
    assert said.has(*words, "--data-root", "SBA_DATA_ROOT")


@pytest.mark.parametrize("content", [b"", b"not an image"], ids=["empty", "text"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_an_unreadable_image_is_named(split: str, content: bytes, say: Say) -> None:
    write_image_folder(Path("photos"), 10, 20, 10, 32)
    broken = sorted(Path("photos", split).rglob("*.jpg"))[3]
    broken.write_bytes(content)
    said = say(*JPEG, "--set", "data.dataset=./photos")
    assert said.code == 3
    assert said.has(f"image {broken} cannot be read", "Restore or remove")


def test_own_folder_that_is_no_image_folder_says_what_one_looks_like(say: Say) -> None:
    said = say(*JPEG, "--set", "data.dataset=./photos")
    assert said.code == 3
    assert said.has(f"there is no folder {Path('photos').absolute()}", "current folder")
    write_image_folder(Path("photos"), 2, 4, 4, 8)
    Path("photos/test").rename("photos/valid")
    said = say(*JPEG, "--set", "data.dataset=./photos")
    assert said.code == 3
    assert said.has(
        "photos is no image folder", "train/<class>/", "test/<class>/", "val/<class>/", "it has train/, valid/"
    )
