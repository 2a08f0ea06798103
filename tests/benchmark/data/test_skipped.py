"""Damaged image files: replaced by the next readable one, named once, and never more than allowed."""

import os
from pathlib import Path

import pytest
import torch
from studies.photos import as_files, decoded, evaluation_batches, training_batches, write_photos
from torch import Tensor

from benchmark.data.streamed import Files, Skipped
from benchmark.runtime.errors import DataError

# Workers are more than the cores of a small machine, and Python 3.12 warns of forks where threads are.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:This process .* multi-threaded")

N = 24


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Photos of which a truncated one, a text and an empty file (3, 10, 11), and the last one, cannot be read."""
    paths = write_photos(tmp_path / "train", N)
    paths[3].write_bytes(paths[3].read_bytes()[:-60])
    paths[10].write_text("not an image", encoding="utf-8")
    paths[11].write_bytes(b"")
    paths[23].unlink()
    return as_files(paths, tmp_path)


def epoch(files: Files, skipped: Skipped, workers: int, order: Tensor | None = None) -> tuple[Tensor, list[int]]:
    order = torch.arange(N) if order is None else order
    batches = list(training_batches(files._replace(skipped=skipped), order, seed=5, batch_size=4, workers=workers))
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches]).tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_the_next_readable_one_and_is_named_once(
    files: Files, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    skipped = Skipped(4)
    files = files._replace(skipped=skipped)
    images, labels = epoch(files, skipped, workers)
    replaced = {3: 4, 10: 12, 11: 12, 23: 0}
    assert labels == [replaced.get(i, i) for i in range(N)]
    assert list(skipped.files) == [f"train/{i:03d}.JPEG" for i in (3, 10, 11, 23)]
    reasons = ["truncated", "no image", "no image", "No such file"]
    assert all(word in reason for word, reason in zip(reasons, skipped.files.values(), strict=True))
    said = capsys.readouterr().out
    assert [said.count(f"{files.folder}/train/{i:03d}.JPEG is replaced") for i in (3, 10, 11, 23)] == [1] * 4
    again, _ = epoch(files, skipped, workers)
    assert torch.equal(again, images)
    assert len(skipped.files) == 4
    assert capsys.readouterr().out == ""
    assert not torch.equal(images[3], images[4])  # a crop of its own


def test_what_replaces_an_image_depends_neither_on_the_workers_nor_on_the_order(files: Files) -> None:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    images, labels = epoch(files, Skipped(4), 0)
    others, theirs = epoch(files, Skipped(9), 2, order)
    assert torch.equal(others, images[order])
    assert theirs == [labels[i] for i in order.tolist()]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_one_more_than_allowed_ends_it_and_names_them_all(
    files: Files, workers: int, allowed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default none is allowed."""
    skipped = Skipped(allowed) if allowed else Skipped()
    with pytest.raises(DataError, match=rf"and {allowed} may be skipped") as error:
        epoch(files, skipped, workers)
    assert len(skipped.files) > allowed
    message = str(error.value)
    assert all(f"{files.folder}/{path}: {reason}" in message for path, reason in skipped.files.items())
    assert f"{files.folder}/train/003.JPEG: image file is truncated" in message
    assert "--skip-corrupt N" in message
    assert capsys.readouterr().out.count("is replaced") == allowed


def test_evaluation_and_attacked_images_share_the_account(files: Files) -> None:
    skipped = Skipped(4)
    replacing = files._replace(skipped=skipped)
    labels = torch.cat([labels for _, labels in evaluation_batches(replacing, batch_size=7, workers=2)])
    split = decoded(replacing, [10, 3, 0], workers=0)
    assert split[1].tolist() == [12, 4, 0]
    assert labels[[10, 3, 0]].tolist() == [12, 4, 0]
    assert len(skipped.files) == 4
    with pytest.raises(DataError, match=r"010\.JPEG"):
        decoded(files, [0, 10], workers=0)


def test_a_split_without_one_readable_image_ends_it(tmp_path: Path) -> None:
    paths = write_photos(tmp_path / "train", 3)
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"3 damaged image files, and 100 may be skipped"):
        decoded(as_files(paths, tmp_path)._replace(skipped=Skipped(100)), [1], workers=0)


def test_where_all_files_are_gone_no_more_are_tried_than_may_be_skipped(files: Files) -> None:
    (files.folder / "train").rename(files.folder / "unmounted")
    skipped = Skipped(2)
    with pytest.raises(DataError, match=r"3 damaged image files, and 2 may be skipped"):
        decoded(files._replace(skipped=skipped), list(range(N)), workers=1)
    assert list(skipped.files) == [f"train/{i:03d}.JPEG" for i in range(3)]


def test_names_that_are_no_text_can_be_told(tmp_path: Path) -> None:
    paths = write_photos(tmp_path / "train", 2)
    odd = tmp_path / "train" / os.fsdecode(b"x\xff.JPEG")
    odd.touch()
    files = as_files([odd, *paths], tmp_path)
    skipped = Skipped(1)
    decoded(files._replace(skipped=skipped), [0], workers=0)
    assert list(skipped.files) == ["train/x\\xff.JPEG"]
