"""Images that stay files: crops, seeds that belong to an image, workers, resumption, damaged files."""

import math
import os
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from studies.photos import CPU, as_files, decoded, evaluation_batches, imagenet_sample, training_batches, write_photos
from studies.tiny_study import random_states
from torch import Tensor

from benchmark.data.load import Data
from benchmark.data.seeds import image_seed
from benchmark.data.streamed import Files, Skipped
from benchmark.runtime.errors import DataError
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.load import load_preset
from benchmark.settings.plan import Run, make_plan
from benchmark.training import loop
from benchmark.training.state import start

ensure_importable()
from torchvision.transforms.v2 import functional as tv  # noqa: E402

# Workers are more than the cores of a small machine, and Python 3.12 warns of forks where threads are.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:This process .* multi-threaded")

N = 24


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("set")
    return as_files(write_photos(folder / "train", N), folder)


def shuffled(n: int = N, seed: int = 0) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def train(
    files: Files,
    order: Tensor,
    *,
    augmentation: Literal["none", "standard"] = "standard",
    workers: int = 0,
    seed: int = 7,
) -> Tensor:
    """The images of all batches of five, one after the other, and after them nothing."""
    batches = list(training_batches(files, order, augmentation=augmentation, seed=seed, batch_size=5, workers=workers))
    assert all(images.shape == (5, 3, 24, 24) and images.dtype == torch.uint8 for images, _ in batches)
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _ in batches)
    assert torch.cat([labels for _, labels in batches]).tolist() == order[: len(order) // 5 * 5].tolist()
    return torch.cat([images for images, _ in batches])


def open_file(files: Files, index: int) -> Image.Image:
    with Image.open(files.folder / files.paths[index].decode()) as image:
        return image.convert("RGB")


def mode_of(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


def crop_of(image: Image.Image, seed: int, pixels: int) -> Tensor:
    """RandomResizedCrop and a flip as torchvision documents them, from a generator of its own."""
    generator, area = torch.Generator().manual_seed(seed), image.width * image.height
    ratios = torch.log(torch.tensor([3 / 4, 4 / 3]))
    for _ in range(10):
        target = area * torch.empty(1).uniform_(0.08, 1.0, generator=generator).item()
        low, high = ratios.tolist()
        ratio = torch.exp(torch.empty(1).uniform_(low, high, generator=generator)).item()
        width, height = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < width <= image.width and 0 < height <= image.height:
            top = int(torch.randint(image.height - height + 1, (1,), generator=generator))
            left = int(torch.randint(image.width - width + 1, (1,), generator=generator))
            break
    else:
        raise AssertionError("choose another image: the fallback of torchvision is not written again here")
    crop = tv.resized_crop(image, top, left, height, width, [pixels, pixels], tv.InterpolationMode.BILINEAR)
    return as_tensor(tv.horizontal_flip(crop) if torch.rand(1, generator=generator) < 0.5 else crop)


def centre_of(image: Image.Image, pixels: int, resize: int) -> Tensor:
    shorter = min(image.size)
    width, height = (int(resize * side / shorter) for side in image.size)
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - pixels) / 2), round((height - pixels) / 2)
    return as_tensor(scaled.crop((left, top, left + pixels, top + pixels)))


def test_crops_are_torchvisions_with_the_seed_of_each_image(files: Files) -> None:
    order = shuffled()
    images = train(files, order)
    expected = [crop_of(open_file(files, i), image_seed(7, i), 24) for i in order.tolist()[:20]]
    assert torch.equal(images, torch.stack(expected))
    mirrored = [tv.horizontal_flip(image) for image in expected]
    assert not torch.equal(images, torch.stack(mirrored))


def test_without_augmentation_and_in_evaluation_an_image_is_its_resized_centre(files: Files) -> None:
    expected = torch.stack([centre_of(open_file(files, i), 24, 32) for i in range(N)])
    batches = list(evaluation_batches(files, batch_size=7, workers=0))
    assert [len(labels) for _, labels in batches] == [7, 7, 7, 3]
    assert torch.equal(torch.cat([images for images, _ in batches]), expected)
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(N))
    order = shuffled()
    assert torch.equal(train(files, order, augmentation="none"), expected[order[:20]])
    assert torch.equal(train(files, order, augmentation="none", seed=8), expected[order[:20]])


def test_chosen_images_are_decoded_into_memory_in_their_order(files: Files) -> None:
    chosen = [9, 3, 3, 21]
    images, labels = decoded(files, chosen, workers=0)
    assert labels.tolist() == chosen
    assert images.is_contiguous()
    assert torch.equal(images, torch.stack([centre_of(open_file(files, i), 24, 32) for i in chosen]))
    some = files.subset(torch.tensor([4, 9]))
    assert some.labels.tolist() == [4, 9]
    assert torch.equal(decoded(some, [1], workers=1)[0][0], images[0])
    assert decoded(files, [], workers=0)[0].shape == (0, 3, 24, 24)


def test_the_number_of_workers_changes_no_bit(files: Files) -> None:
    order = shuffled()
    alone = train(files, order)
    for workers in (1, 2):
        assert torch.equal(train(files, order, workers=workers), alone)


def test_the_rest_of_an_order_goes_on_exactly(files: Files) -> None:
    order = shuffled()
    whole = train(files, order)
    for done in (5, 15):
        assert torch.equal(train(files, order[done:], workers=1), whole[done:])


def test_draws_change_with_the_seed_of_the_epoch_and_with_the_image_alone(files: Files) -> None:
    order = shuffled()
    first, again, other = train(files, order), train(files, order.flip(0)), train(files, order, seed=8)
    both = order[4:20]  # are in the whole batches of either order
    place, reverse = {int(i): n for n, i in enumerate(order)}, {int(i): n for n, i in enumerate(order.flip(0))}
    assert all(torch.equal(first[place[i]], again[reverse[i]]) for i in both.tolist())
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert len({image_seed(seed, i) for seed in range(50) for i in range(50)}) == 2500


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generators_are_left_alone(files: Files, workers: int) -> None:
    before = random_states()
    train(files, shuffled(), workers=workers)
    decoded(files, [1, 2], workers=workers)
    assert random_states() == before


def test_mirroring_can_be_left_out_and_the_crops_stay(files: Files) -> None:
    order = shuffled()
    (plain,) = training_batches(
        files, order[:20], augmentation="standard", seed=7, batch_size=20, workers=0, flip=False
    )
    mirrored = train(files, order)
    same = [torch.equal(a, b) for a, b in zip(plain[0], mirrored, strict=True)]
    turned = [torch.equal(a.flip(2), b) for a, b in zip(plain[0], mirrored, strict=True)]
    assert [a ^ b for a, b in zip(same, turned, strict=True)] == [True] * 20
    assert 3 < sum(turned) < 17


def seen_by(run: Run, files: Files) -> Tensor:
    """The crops of a run's first epoch, which the training loop asks for."""
    files = files._replace(workers=0)
    state = start(run, Data(run.preset.data.name, N, "", False, files, files, files), CPU)
    state.position = loop.begin_epoch(state, files, N // 5)
    return torch.cat([images for images, _ in loop.training_batches(run, state, files)])


def test_arms_that_differ_in_method_see_the_same_crops(files: Files) -> None:
    plan = make_plan(load_preset("cifar10_cpu", ("recipe.batch_size=5",)), ["erm", "standard", "sba"], [0, 1])
    seen = {(run.arm, run.seed): seen_by(run, files) for run in plan}
    assert torch.equal(seen["standard", 0], seen["sba", 0])
    assert not torch.equal(seen["standard", 0], seen["standard", 1])
    centres = decoded(files, list(range(N)), workers=0)[0]
    assert all(any(torch.equal(image, centre) for centre in centres) for image in seen["erm", 0])
    assert not any(torch.equal(a, b) for a, b in zip(seen["erm", 0], seen["standard", 0], strict=True))


def test_real_photos_among_them_all_grey_ones_are_cropped_as_torchvision_does() -> None:
    paths = imagenet_sample()
    grey = [i for i, path in enumerate(paths) if mode_of(path) == "L"]
    assert len(grey) == 23 < len(paths)
    chosen = sorted({*grey, *range(0, len(paths), max(1, len(paths) // 25))})
    files = as_files(paths, paths[0].parents[1], pixels=224, resize=256)
    order = torch.tensor(chosen)
    batches = training_batches(files, order, augmentation="standard", seed=1, batch_size=len(order), workers=2)
    ((images, labels),) = batches
    assert labels.tolist() == chosen
    for image, index in zip(images, chosen, strict=True):
        assert torch.equal(image, crop_of(open_file(files, index), image_seed(1, index), 224))


def test_every_real_photo_is_decoded_and_the_grey_ones_stay_grey() -> None:
    paths = imagenet_sample()
    files = as_files(paths, paths[0].parents[1], pixels=224, resize=256)
    grey = []
    for images, labels in evaluation_batches(files, batch_size=50, workers=2):
        assert images.shape == (len(labels), 3, 224, 224)
        colourless = (images == images[:, :1]).all(1).flatten(1).all(1)
        grey += labels[colourless].tolist()
        number = int(labels[0])
        assert torch.equal(images[0], centre_of(open_file(files, number), 224, 256))
    assert {i for i, path in enumerate(paths) if mode_of(path) == "L"} <= set(grey)
    assert len(grey) < 40


def test_seeds_of_neighbouring_images_are_unrelated() -> None:
    firsts = [torch.rand(1, generator=torch.Generator().manual_seed(image_seed(0, i))).item() for i in range(1000)]
    assert abs(np.mean(firsts) - 0.5) < 0.03
    assert abs(np.corrcoef(list(pairwise(firsts)), rowvar=False)[0, 1]) < 0.1


def test_folders_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "Fötos [*] 图"
    files = as_files(write_photos(folder / "träin", 5), folder)
    assert len(train(files, torch.arange(5))) == 5


# Damaged files


@pytest.fixture
def damaged(tmp_path: Path) -> Files:
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
    damaged: Files, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    skipped = Skipped(4)
    images, labels = epoch(damaged, skipped, workers)
    replaced = {3: 4, 10: 12, 11: 12, 23: 0}
    assert labels == [replaced.get(i, i) for i in range(N)]
    assert list(skipped.files) == [f"train/{i:03d}.JPEG" for i in (3, 10, 11, 23)]
    reasons = ["truncated", "no image", "no image", "No such file"]
    assert all(word in reason for word, reason in zip(reasons, skipped.files.values(), strict=True))
    said = capsys.readouterr().out
    assert [said.count(f"{damaged.folder}/train/{i:03d}.JPEG is replaced") for i in (3, 10, 11, 23)] == [1] * 4
    again, _ = epoch(damaged, skipped, workers)
    assert torch.equal(again, images)
    assert len(skipped.files) == 4
    assert capsys.readouterr().out == ""
    assert not torch.equal(images[3], images[4])  # a crop of its own


def test_what_replaces_an_image_depends_neither_on_the_workers_nor_on_the_order(damaged: Files) -> None:
    order = shuffled(seed=1)
    images, labels = epoch(damaged, Skipped(4), 0)
    others, theirs = epoch(damaged, Skipped(9), 2, order)
    assert torch.equal(others, images[order])
    assert theirs == [labels[i] for i in order.tolist()]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_one_more_than_allowed_ends_it_and_names_them_all(
    damaged: Files, workers: int, allowed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default none is allowed."""
    skipped = Skipped(allowed) if allowed else Skipped()
    with pytest.raises(DataError, match=rf"and {allowed} may be skipped") as error:
        epoch(damaged, skipped, workers)
    assert len(skipped.files) > allowed
    message = str(error.value)
    assert all(f"{damaged.folder}/{path}: {reason}" in message for path, reason in skipped.files.items())
    assert f"{damaged.folder}/train/003.JPEG: image file is truncated" in message
    assert "--skip-corrupt N" in message
    assert capsys.readouterr().out.count("is replaced") == allowed


def test_evaluation_and_attacked_images_share_the_account(damaged: Files) -> None:
    skipped = Skipped(4)
    replacing = damaged._replace(skipped=skipped)
    labels = torch.cat([labels for _, labels in evaluation_batches(replacing, batch_size=7, workers=2)])
    split = decoded(replacing, [10, 3, 0], workers=0)
    assert split[1].tolist() == [12, 4, 0]
    assert labels[[10, 3, 0]].tolist() == [12, 4, 0]
    assert len(skipped.files) == 4
    with pytest.raises(DataError, match=r"010\.JPEG"):
        decoded(damaged, [0, 10], workers=0)


def test_a_split_without_one_readable_image_ends_it(tmp_path: Path) -> None:
    paths = write_photos(tmp_path / "train", 3)
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"3 damaged image files, and 100 may be skipped"):
        decoded(as_files(paths, tmp_path)._replace(skipped=Skipped(100)), [1], workers=0)


def test_where_all_files_are_gone_no_more_are_tried_than_may_be_skipped(damaged: Files) -> None:
    (damaged.folder / "train").rename(damaged.folder / "unmounted")
    skipped = Skipped(2)
    with pytest.raises(DataError, match=r"3 damaged image files, and 2 may be skipped"):
        decoded(damaged._replace(skipped=skipped), list(range(N)), workers=1)
    assert list(skipped.files) == [f"train/{i:03d}.JPEG" for i in range(3)]


def test_names_that_are_no_text_can_be_told(tmp_path: Path) -> None:
    paths = write_photos(tmp_path / "train", 2)
    odd = tmp_path / "train" / os.fsdecode(b"x\xff.JPEG")
    odd.touch()
    skipped = Skipped(1)
    decoded(as_files([odd, *paths], tmp_path)._replace(skipped=skipped), [0], workers=0)
    assert list(skipped.files) == ["train/x\\xff.JPEG"]
