"""Loading: stratified splits, the cache of decoded images, where data is looked for, data of no use."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from studies.saying import Say
from studies.tiny_study import pixels_of
from torch import Tensor

from benchmark.data.load import data_roots, load_data, stratified_order
from benchmark.data.synthetic import write_image_folder, write_synthetic
from benchmark.runtime.errors import DataError, UsageError
from benchmark.settings.load import load_preset
from benchmark.settings.plan import make_plan, shared_settings
from benchmark.settings.preset import DataSettings


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sba-benchmark" / "decoded"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_image_folder(tmp_path / "set", 2, train=8, test=4, pixels=8)


def settings(folder: Path, **changes: int) -> DataSettings:
    return DataSettings.model_validate({"dataset": str(folder), "pixels": 8, **changes})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_prefix_of_a_stratified_order_has_the_classes_in_proportion() -> None:
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)[torch.randperm(100, generator=generator(1))]
    order = stratified_order(labels, generator())
    assert sorted(order.tolist()) == list(range(100))
    for n in (10, 20, 50, 73):
        counts = torch.bincount(labels[order[:n]], minlength=3)
        assert (counts - n * torch.tensor([0.6, 0.3, 0.1])).abs().max() <= 1
    assert not torch.equal(order, stratified_order(labels, generator(2)))


def tally(labels: Tensor) -> Counter[int]:
    return Counter(labels.tolist())


def test_subsets_and_validation_are_stratified_disjoint_and_fixed_by_their_own_seed(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path / "set", 4, train=80, test=20, pixels=8)
    first, again, other = (
        load_data(settings(folder, train_images=40, validation_images=20, test_images=8, split_seed=seed), [])
        for seed in (0, 0, 1)
    )
    assert tally(first.train.labels) == dict.fromkeys(range(4), 10)
    assert tally(first.validation.labels) == dict.fromkeys(range(4), 5)
    assert tally(first.test.labels) == dict.fromkeys(range(4), 2)
    pixels = {image.numpy().tobytes() for image in pixels_of(first.train)}
    assert not pixels & {image.numpy().tobytes() for image in pixels_of(first.validation)}
    assert torch.equal(pixels_of(first.train), pixels_of(again.train))
    assert not torch.equal(pixels_of(first.train), pixels_of(other.train))
    assert first.fingerprint == other.fingerprint


def test_an_own_folder_is_known_by_its_name_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_image_folder(tmp_path / "home" / "photos", 4, train=80, test=20, pixels=8)
    parts = {"train_images": 40, "validation_images": 20, "test_images": 8}
    first = load_data(settings(folder, **parts), [])
    (tmp_path / "home").rename(tmp_path / "disk")
    monkeypatch.chdir(tmp_path / "disk")
    for place in (f"{tmp_path}/disk/photos", "./photos/", "../disk/photos"):
        again = load_data(DataSettings.model_validate({"dataset": place, "pixels": 8, **parts}), [])
        assert again.name == first.name == "./photos"
        assert torch.equal(pixels_of(again.train), pixels_of(first.train))
        assert torch.equal(pixels_of(again.validation), pixels_of(first.validation))
    preset = load_preset("smoke", (f"data.dataset={tmp_path}/disk/photos",))
    assert shared_settings(preset)["data"]["dataset"] == "./photos"
    assert str(tmp_path) not in json.dumps(make_plan(preset, None, None)[0].settings)


def test_the_second_start_reads_the_cache_and_decodes_nothing(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_data(settings(folder), [])
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr("benchmark.data.folders.decode_image", None)
    second = load_data(settings(folder), [])
    assert torch.equal(pixels_of(first.train), pixels_of(second.train))
    assert (first.fingerprint, first.classes) == (second.fingerprint, 2)


def test_a_changed_file_is_decoded_again(folder: Path) -> None:
    first = load_data(settings(folder), [])
    Image.new("RGB", (8, 8), (1, 2, 3)).save(next((folder / "train" / "class000").iterdir()))
    assert load_data(settings(folder), []).fingerprint != first.fingerprint


def test_no_byte_of_the_cache_can_change_the_images(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_image_folder(tmp_path / "set", 2, train=4, test=2, pixels=8)
    first = load_data(settings(folder), [])
    kept = next(cache.iterdir())
    whole = kept.read_bytes()
    pixel = whole.index(pixels_of(first.test).numpy().tobytes()) + 5
    for place in (*range(0, len(whole), 151), pixel):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        capsys.readouterr()
        again = load_data(settings(folder), [])
        assert again.fingerprint == first.fingerprint
        assert torch.equal(pixels_of(again.train), pixels_of(first.train))
        assert torch.equal(pixels_of(again.test), pixels_of(first.test))
        assert torch.equal(again.test.labels, first.test.labels)
    assert "damaged (its images or labels have changed); decoding again" in capsys.readouterr().out
    assert kept.read_bytes()[pixel] == whole[pixel]


def test_more_images_than_there_are_is_a_settings_error(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"has 8 training images.*validation_images = 4.*train_images = 5"):
        load_data(settings(folder, train_images=5, validation_images=4), [])


def test_a_smoke_run_takes_the_images_that_are_there_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_data(settings(folder, train_images=600, validation_images=2), [], fewer=True)
    assert (len(data.train.labels), len(data.validation.labels)) == (6, 2)
    assert f"{folder} has 8 training images: 6 are taken, not 600." in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"has 8 training images.*validation_images = 8"):
        load_data(settings(folder, train_images=600, validation_images=8), [], fewer=True)


def test_data_roots_are_searched_in_the_documented_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, variable = tmp_path / "named", tmp_path / "variable"
    named.mkdir()
    variable.mkdir()
    monkeypatch.setenv("SBA_DATA_ROOT", str(variable))
    roots = data_roots(named)
    assert roots[:3] == [named, variable, Path("data")]
    assert roots[3].is_relative_to(tmp_path / "cache")
    monkeypatch.setenv("SBA_DATA_ROOT", __file__)
    with pytest.raises(DataError, match=rf"SBA_DATA_ROOT names {__file__}, which is no folder"):
        data_roots(None)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SBA_DATA_ROOT", "~/variable")  # as quotes leave it
    assert data_roots(None)[0] == variable
    monkeypatch.delenv("SBA_DATA_ROOT")
    assert data_roots(None)[0] == Path("data")
    with pytest.raises(DataError, match=r"--data-root names .*absent"):
        data_roots(tmp_path / "absent")


@pytest.mark.usefixtures("elsewhere")
def test_missing_data_says_where_it_looked_in_order_how_to_get_it_and_its_size(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, variable = tmp_path / "named", tmp_path / "variable"
    for folder in (named, variable):
        folder.mkdir()
    monkeypatch.setenv("SBA_DATA_ROOT", str(variable))
    said = say("run", "cifar10_jpeg_cpu", "--arms", "erm", "--seeds", "0", "--data-root", str(named))
    assert said.code == 3
    looked = [f"{named}/", f"{variable}/", "data/cifar10-jpeg", f"{tmp_path}/cache/"]
    assert said.has("cifar10-jpeg (0.2 GB)", "git clone https://", "--data-root", "SBA_DATA_ROOT", *looked)
    places = [line.strip() for line in said.error.splitlines() if line.startswith("  ")]
    assert [place.startswith(start) for place, start in zip(places, looked, strict=True)] == [True] * 4


def test_folders_that_may_not_be_searched_are_passed_over_unless_the_user_named_them(
    folder: Path, cache: Path, close: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_data(settings(folder), [])
    private, readable = folder.parent / "private", folder.parent / "readable"
    private.mkdir()
    for closed in (cache.parent, private):
        close(closed)
    assert load_data(settings(folder), []).fingerprint == first.fingerprint  # decoded again
    for name in ("cifar10", "tiny_imagenet_100"):
        made_up = DataSettings(dataset=name, pixels=32, train_images=10, test_images=10, synthetic=True)
        write_synthetic(made_up, readable)
        assert len(load_data(made_up, [private, readable]).test.labels) == 10
    with pytest.raises(DataError, match=r"--data-root names .*private, which may not be read: Permission denied"):
        data_roots(private)
    monkeypatch.setenv("SBA_DATA_ROOT", str(private / "deeper"))
    with pytest.raises(DataError, match=r"SBA_DATA_ROOT names .*deeper, which may not be read: Permission denied"):
        data_roots(None)
    for closed in (private, private / "tiny-imagenet-100"):
        with pytest.raises(DataError, match=rf"image folder {closed} may not be read: Permission denied"):
            load_data(settings(closed), [])
