"""Data: official formats, stratified splits, the decoded cache, image folders with every kind of file."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_study import pixels_of
from torch import Tensor

from benchmark.data.cifar import cifar10, cifar100
from benchmark.data.datasets import decode_image, digits, image_folder
from benchmark.data.load import data_roots, load_data, stratified_order
from benchmark.data.synthetic import write_cifar, write_image_folder
from benchmark.runtime.errors import DataError, UsageError
from benchmark.settings.load import load_preset
from benchmark.settings.plan import make_plan, shared_settings
from benchmark.settings.preset import DataSettings

MADE_UP = DataSettings(dataset="cifar10", synthetic=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sba-benchmark" / "decoded"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_beginning_of_a_stratified_order_has_the_classes_in_proportion() -> None:
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)[torch.randperm(100, generator=generator(1))]
    order = stratified_order(labels, generator())
    assert sorted(order.tolist()) == list(range(100))
    for n in (10, 20, 50, 73):
        counts = torch.bincount(labels[order[:n]], minlength=3)
        assert (counts - n * torch.tensor([0.6, 0.3, 0.1])).abs().max() <= 1
    assert not torch.equal(order, stratified_order(labels, generator(2)))


def test_digits_are_scikit_learns_in_bytes() -> None:
    from sklearn.datasets import load_digits

    source = digits([], DataSettings(dataset="digits", pixels=8))
    train, test = source.read()
    assert (train.images.shape, test.images.shape) == ((1297, 1, 8, 8), (500, 1, 8, 8))
    bunch = load_digits()
    np.testing.assert_allclose(test.images[:, 0].numpy() * (16 / 255), bunch.images[1297:], atol=0.04)
    assert torch.cat([train.labels, test.labels]).tolist() == bunch.target.tolist()


@pytest.mark.parametrize(("find", "classes"), [(cifar10, 10), (cifar100, 100)])
def test_cifar_is_read_from_its_official_format(find: object, classes: int, tmp_path: Path) -> None:
    import pickle

    folder = write_cifar(tmp_path, classes, train=250, test=100)
    assert callable(find)
    source = find([tmp_path / "nothing here", tmp_path], MADE_UP)
    train, test = source.read()
    assert (len(train.labels), len(test.labels), len(source.classes)) == (250, 100, classes)
    raw = pickle.loads((folder / ("test" if classes == 100 else "test_batch")).read_bytes())
    assert test.images.dtype == torch.uint8
    labels = raw["fine_labels" if classes == 100 else "labels"]
    keyed = sorted(
        (hashlib.sha256(bytes([label]) + row.tobytes()).digest(), label, row.tobytes())
        for label, row in zip(labels, raw["data"], strict=True)
    )
    found = [(label, image.numpy().tobytes()) for label, image in zip(test.labels.tolist(), test.images, strict=True)]
    assert found == [(label, pixels) for _, label, pixels in keyed]


def test_a_changed_cifar_file_is_named(tmp_path: Path, official_cifar10: Callable[[Path], Path]) -> None:
    folder = official_cifar10(tmp_path)
    content = (folder / "data_batch_3").read_bytes()
    (folder / "data_batch_3").write_bytes(content[:-100])
    with pytest.raises(DataError, match=r"data_batch_3.*Delete the folder"):
        cifar10([tmp_path], DataSettings(dataset="cifar10"))


def test_made_up_files_are_read_where_the_settings_say_so(tmp_path: Path) -> None:
    write_cifar(tmp_path, 10, train=50, test=10)
    with pytest.raises(DataError, match="data_batch_1, data_batch_2"):
        load_data(DataSettings(dataset="cifar10"), [tmp_path])
    found = load_data(MADE_UP, [tmp_path])
    assert found.synthetic
    assert found.note is None
    again = load_data(MADE_UP, [tmp_path])  # decoded before
    assert again.fingerprint == found.fingerprint


def photo(path: Path, image: Image.Image, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)  # type: ignore[arg-type]


def test_grey_palette_transparent_and_cmyk_images_become_rgb(tmp_path: Path) -> None:
    colour = Image.new("RGB", (32, 32), (200, 30, 60))
    for mode, name in [("L", "grey.png"), ("P", "palette.png"), ("RGBA", "alpha.png"), ("CMYK", "cmyk.jpg")]:
        photo(tmp_path / name, colour.convert(mode))
        decoded = decode_image(tmp_path / name, 32)
        assert decoded.shape == (32, 32, 3)
        assert decoded.dtype == np.uint8
    assert np.ptp(decode_image(tmp_path / "grey.png", 32), axis=2).max() == 0


def test_an_image_is_scaled_to_the_shorter_side_and_cut_in_the_middle(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 255
    photo(tmp_path / "wide.png", Image.fromarray(wide))
    assert decode_image(tmp_path / "wide.png", 10)[:, 1:-1].min() > 200


def test_a_rotated_photo_is_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    photo(tmp_path / "rotated.png", Image.fromarray(pixels), exif=exif)
    assert decode_image(tmp_path / "rotated.png", 8)[7].min() == 255


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "set", 2, train=4, test=2, pixels=8)
    broken = next((tmp_path / "set" / "train" / "class001").iterdir())
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(DataError, match=rf"{broken.name} cannot be read"):
        image_folder(tmp_path / "set", 8).read()


def test_a_folder_without_the_layout_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"needs train/<class>/ and test/<class>/"):
        image_folder(tmp_path, 8)


def test_splits_with_different_classes_are_refused(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path / "set", 3, train=6, test=3, pixels=8)
    (folder / "test" / "class002").rename(folder / "test" / "another")
    with pytest.raises(DataError, match="another, class002"):
        image_folder(folder, 8)


def settings(folder: Path, **changes: int) -> DataSettings:
    return DataSettings.model_validate({"dataset": str(folder), "pixels": 8, **changes})


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
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_image_folder(tmp_path / "set", 2, train=8, test=4, pixels=8)
    first = load_data(settings(folder), [])
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr("benchmark.data.datasets.decode_image", None)
    second = load_data(settings(folder), [])
    assert torch.equal(pixels_of(first.train), pixels_of(second.train))
    assert (first.fingerprint, first.classes) == (second.fingerprint, 2)


def test_a_changed_file_and_a_damaged_cache_are_decoded_again(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_image_folder(tmp_path / "set", 2, train=8, test=4, pixels=8)
    first = load_data(settings(folder), [])
    next(cache.iterdir()).write_bytes(b"damaged")
    capsys.readouterr()
    assert load_data(settings(folder), []).fingerprint == first.fingerprint
    assert "damaged" in capsys.readouterr().out
    photo(next((folder / "train" / "class000").iterdir()), Image.new("RGB", (8, 8), (1, 2, 3)))
    assert load_data(settings(folder), []).fingerprint != first.fingerprint


def test_no_byte_of_the_cache_can_change_the_images(tmp_path: Path, cache: Path) -> None:
    folder = write_image_folder(tmp_path / "set", 2, train=4, test=2, pixels=8)
    first = load_data(settings(folder), [])
    kept = next(cache.iterdir())
    whole = kept.read_bytes()
    for place in range(0, len(whole), 61):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        again = load_data(settings(folder), [])
        assert again.fingerprint == first.fingerprint
        assert torch.equal(pixels_of(again.train), pixels_of(first.train))
        assert torch.equal(again.test.labels, first.test.labels)


def test_a_flipped_bit_in_the_cache_is_told(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_image_folder(tmp_path / "set", 2, train=4, test=2, pixels=8)
    first = load_data(settings(folder), [])
    kept = next(cache.iterdir())
    whole = bytearray(kept.read_bytes())
    whole[whole.index(pixels_of(first.test).numpy().tobytes()) + 5] ^= 1
    kept.write_bytes(whole)
    capsys.readouterr()
    assert torch.equal(pixels_of(load_data(settings(folder), []).test), pixels_of(first.test))
    assert "damaged (its images or labels have changed); decoding again" in capsys.readouterr().out
    assert kept.read_bytes() != bytes(whole)


def test_more_images_than_there_are_is_a_settings_error(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path / "set", 2, train=8, test=4, pixels=8)
    with pytest.raises(UsageError, match=r"has 8 training images.*validation_images = 4.*train_images = 5"):
        load_data(settings(folder, train_images=5, validation_images=4), [])


def test_data_roots_are_searched_in_the_documented_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, variable = tmp_path / "named", tmp_path / "variable"
    named.mkdir()
    variable.mkdir()
    monkeypatch.setenv("SBA_DATA_ROOT", str(variable))
    roots = data_roots(named)
    assert roots[:3] == [named, variable, Path("data")]
    assert roots[3].is_relative_to(tmp_path / "cache")
    monkeypatch.delenv("SBA_DATA_ROOT")
    assert data_roots(None)[0] == Path("data")
    with pytest.raises(DataError, match=r"--data-root names .*absent"):
        data_roots(tmp_path / "absent")
