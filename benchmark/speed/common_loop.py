"""Our training loop over the common one: DataLoader, PIL, torchvision's transforms, the same network."""

import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler

from benchmark.data.synthetic import make_images
from benchmark.runtime.environment import cores
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.plan import Run
from benchmark.speed import throughput
from benchmark.speed.lines import Line, Target, make_line
from benchmark.speed.throughput import as_data, begin_turns, random_images, run_of, timed
from benchmark.training.loop import autocast, train_epoch
from benchmark.training.state import start

IMAGES, _CLASSES, _PIXELS = 2000, 10, 32
PREFETCH = 2  # batches that each worker of a DataLoader prefetches, by default
ROUNDS = 3
_PART = "over the common loop"
_AHEAD, _FIVE_TIMES = Target(1.0, at_least=True), Target(5.0, at_least=True)
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)  # of CIFAR-10, as commonly used


class Decoded(Dataset[tuple[Any, int]]):
    """Images in memory as arrays, converted to PIL images on access, as by torchvision's CIFAR10."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[[Any], Any]) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def common_lines(device: torch.device) -> Iterator[Line]:
    """Yield the ratios of our images/s over the common loop's, for images as PNG files and as arrays in memory.

    Plain cross-entropy with crops and flips; the same network, optimizer and precision. On a CPU PreActResNet-18 is
    not measured: its steps dominate the time of any loop.
    """
    for preset in throughput.studies(device):
        small = preset.model.name == "fast"
        target = _AHEAD if small else _FIVE_TIMES
        for source in ("PNG files", "arrays in memory"):
            what = f"{preset.model.name}, {source}, batch {preset.recipe.batch_size}"
            if not small and device.type != "cuda":
                yield make_line(_PART, what, [], {}, target=target)
                continue
            rates = measure(run_of(preset, "erm"), source, device)
            ours, theirs = (median(of_loop) for of_loop in zip(*rates, strict=True))
            figures = {"our loop, images/s": ours, "common loop, images/s": theirs}
            figures["workers of its DataLoader"] = float(cores())
            yield make_line(_PART, what, [a / b for a, b in rates], figures, target=target)


def measure(run: Run, source: str, device: torch.device) -> list[tuple[float, float]]:
    """Return images/s of (our loop, the common loop) in each round; the loader's workers run in its own turns only."""
    state, one, train = begin_turns(run, device)
    n = len(train.labels)
    ours = functools.partial(train_epoch, run, state, train)
    ours()
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        steps = n // len(one.labels)
        common = functools.partial(common_seconds, run, make_dataset(source, Path(folder)), steps, device)
        for number in range(ROUNDS):
            first = timed(ours, device) if number % 2 == 0 else 0.0
            theirs = common()
            rounds.append((n / (first or timed(ours, device)), n / theirs))
    return rounds


def make_dataset(source: str, folder: Path) -> Dataset[tuple[Any, int]]:
    """Return synthetic images with the common transforms: "PNG files" in `folder`, or "arrays in memory"."""
    ensure_importable()
    from torchvision import datasets, transforms

    crop_and_flip = [transforms.RandomCrop(_PIXELS, padding=4), transforms.RandomHorizontalFlip()]
    transform = transforms.Compose([*crop_and_flip, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    labels = np.arange(IMAGES) % _CLASSES
    images = make_images(labels, _CLASSES, _PIXELS, np.random.default_rng(0))
    if source == "arrays in memory":
        return Decoded(images, labels, transform)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / str(label) / f"{number:05d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    found: Dataset[tuple[Any, int]] = datasets.ImageFolder(str(folder), transform)
    return found


def common_seconds(run: Run, dataset: Dataset[tuple[Any, int]], steps: int, device: torch.device) -> float:
    """Return the seconds of `steps` steps of the common loop in its steady state, with its prefetch queue full.

    The transforms normalise, so the network's own normalisation is removed.
    """
    recipe, workers = run.preset.recipe, cores()
    state = start(run, as_data(random_images(recipe.batch_size, device)), device)
    state.model.add_module("normalize", nn.Identity())
    ready = PREFETCH * workers
    draws = torch.Generator().manual_seed(0)
    sampler = RandomSampler(dataset, True, (2 * ready + steps) * recipe.batch_size, generator=draws)  # type: ignore[arg-type]
    cuda = device.type == "cuda"
    loader = DataLoader(
        dataset, recipe.batch_size, sampler=sampler, num_workers=workers, pin_memory=cuda, generator=draws
    )
    began = running_loss = 0.0
    for number, (images, labels) in enumerate(loader):
        if number == ready:
            began = time.perf_counter()
        if number == ready + steps:
            return time.perf_counter() - began
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        with autocast(recipe, device):
            loss = F.cross_entropy(state.model(images), labels)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        running_loss += loss.item()
    raise AssertionError("the sampler has more batches than are used")
