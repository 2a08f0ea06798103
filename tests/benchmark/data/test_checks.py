"""The form of data sets: rows of DATASETS that do not work, each refused in one message before any training."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.data.catalogue import DATASETS, Dataset
from benchmark.data.images import Source, Split
from benchmark.data.load import Data, data_roots, load_data
from benchmark.runtime.errors import BenchmarkError, DataError, UsageError
from benchmark.settings.preset import DataSettings

PIXELS = {"digits": 8}  # of rows, where it is not 32
CLASSES = ["ant", "bee", "cat", "dog", "eel"]


def images(n: int, *shape: int) -> Tensor:
    return torch.arange(n, dtype=torch.uint8).reshape(n, *[1] * len(shape)).expand(n, *shape).clone()


def labels(n: int, classes: int = 5) -> Tensor:
    return torch.arange(n) % classes


TRAIN, TEST = Split(images(100, 1, 8, 8), labels(100)), Split(images(50, 1, 8, 8), labels(50))


def source(train: Any = TRAIN, test: Any = TEST, **changes: Any) -> Source:
    return Source(None, CLASSES, lambda: (train, test))._replace(**changes)


def changed(split: Split, **values: Any) -> Split:
    return split._replace(**values)


def raising() -> Any:
    raise KeyError("nothing")


def loaded(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], **changes: Any) -> Data:
    monkeypatch.setitem(DATASETS, "mine", Dataset("sets:mine", "made up", train_images=100))
    monkeypatch.setattr("benchmark.data.load.look_up", lambda *_: function)
    return load_data(DataSettings.model_validate({"dataset": "mine", "pixels": 8, **changes}), [])


WRONG: dict[str, tuple[Any, tuple[str, ...]]] = {  # the splits that `read` returns, parts of the message
    "no_channel": ((Split(images(100, 8, 8), labels(100)), TEST), ("training images are 100 x 8 x 8", "one channel")),
    "channels_last": (
        (Split(images(100, 8, 8, 3), labels(100)), TEST),
        ("training images are 100 x 8 x 8 x 3, with C = 8", "1 (grey) or 3 (RGB)", "permute(0, 3, 1, 2)"),
    ),
    "two_channels": ((Split(images(100, 2, 8, 8), labels(100)), TEST), ("C = 2 channels; C must be 1 (grey) or 3",)),
    "other_channels": ((TRAIN, Split(images(50, 3, 8, 8), labels(50))), ("training images have 1 ", "images 3")),
    "other_size": ((TRAIN, Split(images(50, 1, 9, 9), labels(50))), ("test images are 9 x 9", "data.pixels = 8")),
    "floats": ((TRAIN._replace(images=images(100, 1, 8, 8) / 255), TEST), ("torch.float32 on cpu", "uint8")),
    "meta": ((TRAIN, TEST._replace(images=images(50, 1, 8, 8).to("meta"))), ("torch.uint8 on meta", "on the CPU")),
    "arrays": ((changed(TRAIN, images=images(100, 1, 8, 8).numpy()), TEST), ("images are ndarray", "a tensor")),
    "label_array": ((TRAIN, changed(TEST, labels=labels(50).numpy())), ("test labels are ndarray", "int64")),
    "float_labels": ((TRAIN, TEST._replace(labels=labels(50).float())), ("torch.float32 of 1 dimensions", "int64")),
    "one_hot": ((TRAIN._replace(labels=torch.eye(5).long()), TEST), ("torch.int64 of 2 dimensions", "(N,)")),
    "few_labels": ((TRAIN._replace(labels=labels(98)), TEST), ("training split has 100 images and 98 labels",)),
    "no_images": ((TRAIN, TEST.subset(slice(0))), ("test split has 0 images",)),
    "from_one": ((TRAIN._replace(labels=labels(100) + 1), TEST), ("training labels are 1 to 5", "must be 0 to 4")),
    "negative": ((TRAIN, TEST._replace(labels=labels(50) - 1)), ("test labels are -1 to 3", "must be 0 to 4")),
    "too_high": ((TRAIN, TEST._replace(labels=labels(50, 7))), ("test labels are 0 to 6", "with 5 classes")),
    "one_split": (TRAIN, ("Source.read returned Split of Tensor, Tensor", "two Splits, training and test")),
    "pairs": ((tuple(TRAIN), tuple(TEST)), ("returned tuple of tuple, tuple", "two Splits")),
    "nothing": (None, ("Source.read returned NoneType",)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_splits_of_another_form_are_refused_with_their_values(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    splits, parts = WRONG[wrong]
    with pytest.raises(DataError) as refused:
        loaded(monkeypatch, lambda *_: source(read=lambda: splits))
    said = str(refused.value)
    assert said.startswith("data set 'mine' (sets:mine): ")
    assert not [part for part in parts if part not in said], said


@pytest.mark.parametrize(
    ("function", "kind", "parts"),
    [
        (lambda *_: (TRAIN, TEST), UsageError, ("returned tuple", "(data roots, DataSettings) -> Source")),
        (lambda _: None, UsageError, ("(data roots, DataSettings)", "TypeError", "takes 1 positional argument")),
        (lambda *_: raising(), UsageError, ("KeyError: 'nothing'", f"({__file__}, line ")),
        (lambda *_: source(read=raising), DataError, ("cannot be read: KeyError: 'nothing'", f"({__file__}, line ")),
        (lambda *_: source(digest=lambda *_: raising()), DataError, ("KeyError: 'nothing'",)),
        (lambda *_: source(read=TRAIN), DataError, ("cannot be read: TypeError: 'Split' object is not callable",)),
        (lambda *_: source(classes=5), UsageError, ("Source.classes is 5", "list of class names")),
        (lambda *_: source(classes="abcde"), UsageError, ("Source.classes is 'abcde'",)),
        (lambda *_: source(key=3), UsageError, ("Source.key is 3",)),
    ],
)
def test_a_function_that_fails_or_returns_something_else_is_named(
    function: Callable[..., Any], kind: type[BenchmarkError], parts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(kind) as refused:
        loaded(monkeypatch, function)
    said = str(refused.value)
    assert said.startswith("data set 'mine' (sets:mine)")
    assert not [part for part in parts if part not in said], said


def test_a_module_that_fails_when_it_is_imported_is_named_with_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_set.py").write_text("import os\n\nraise SystemExit(os.name)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(DATASETS, "mine", Dataset("broken_set:mine", "made up", train_images=100))
    with pytest.raises(UsageError, match=r"^'mine' .* broken_set:mine: SystemExit: .*broken_set\.py, line 3"):
        load_data(DataSettings(dataset="mine"), [])


@pytest.mark.parametrize("name", [name for name, row in DATASETS.items() if not row.synthetic])
def test_a_data_set_is_whole_and_the_same_when_it_is_loaded_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    roots, row = data_roots(None), DATASETS[name]
    if row.folder and not any((root / row.folder).exists() for root in roots):
        pytest.skip(f"{row.folder} is in none of the data roots")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = DataSettings.model_validate({"dataset": name, "pixels": PIXELS.get(name, 32)})
    first, again = load_data(settings, roots), load_data(settings, roots)
    assert first.fingerprint == again.fingerprint
    assert len(first.train.labels) == row.train_images
    assert "Warning" not in capsys.readouterr().out  # about classes without an image


@pytest.mark.parametrize("colours", [1, 3])
def test_grey_and_colour_images_are_loaded_without_a_word(
    colours: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = loaded(monkeypatch, lambda *_: source(*(Split(images(n, colours, 8, 8), labels(n)) for n in (100, 50))))
    assert data.sample.shape == (100, colours, 8, 8)
    assert capsys.readouterr().out == ""


def test_classes_without_an_image_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded(monkeypatch, lambda *_: source(test=Split(images(50, 1, 8, 8), labels(50, 3))))
    assert capsys.readouterr().out == (
        "Warning: data set 'mine' (sets:mine) has no image of 2 of 5 classes (dog, eel) among the 50 test images.\n"
    )
    loaded(monkeypatch, lambda *_: source(), train_images=4, validation_images=5, test_images=4)
    absent = r"1 of 5 classes \(\w+\) among the 4"
    both = rf"Warning: [^\n]* has no image of {absent} training images; and none of {absent} test images\.\n"
    assert re.fullmatch(both, capsys.readouterr().out)


def test_a_cache_whose_images_do_not_fit_the_row_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys differ in any of their characters, and the form is checked again when the cache is read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bright = TEST._replace(images=TEST.images + 1)
    first = loaded(monkeypatch, lambda *_: source(key="files of 2024-01-01, version 1"))
    other = loaded(monkeypatch, lambda *_: source(test=bright, key="files of 2024-01-01, version 2"))
    again = loaded(monkeypatch, lambda *_: source(read=raising, key="files of 2024-01-01, version 1"))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    three = source(TRAIN._replace(labels=labels(100, 3)), TEST._replace(labels=labels(50, 3)), classes=CLASSES[:3])
    now = loaded(monkeypatch, lambda *_: three._replace(key="files of 2024-01-01, version 1"))
    assert (now.classes, int(now.train.labels.max())) == (3, 2)
