"""Throughput: images/s of the training loop over its limit, for every method on every network."""

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

import torch
from torch.nn import functional as F

from benchmark.data.images import Split
from benchmark.data.load import Data, to_float
from benchmark.networks.flops import share_of_flops
from benchmark.settings.load import load_preset
from benchmark.settings.methods import METHODS
from benchmark.settings.plan import Run, make_plan
from benchmark.settings.preset import Arm, Preset
from benchmark.speed.lines import Line, Target, make_line
from benchmark.training.compile import compiles, warm_up
from benchmark.training.loop import autocast, train_epoch
from benchmark.training.state import State, start

ROUNDS, SECONDS_WARM, SECONDS_A_TURN, MOST_STEPS = 5, 1.0, 2.0, 256
CPU_BATCH = 32  # of PreActResNet-18 on a CPU, where a step of its own batch takes seconds
PART, TARGET = "training loop", Target(0.95, at_least=True)


class Round(NamedTuple):
    """Images/s of loop and limit in one round, and the ratio that the FLOPs of the loop's steps predict."""

    loop: float
    limit: float
    predicted: float


def loop_lines(device: torch.device) -> Iterator[Line]:
    """Yield a line for each network and method: the loop's images/s over the limit's.

    The limit is forward, backward and step of plain cross-entropy with the same network, batch size and precision
    on one resident batch: no data loading, augmentation or bookkeeping. Loop and limit take turns in alternating order,
    so that a machine that slows down slows both.
    """
    for preset in studies(device):
        for method in METHODS:
            run = run_of(preset, method)
            rounds = measure(run, device)
            figures = {
                "loop, images/s": median(r.loop for r in rounds),
                "limit, images/s": median(r.limit for r in rounds),
            }
            what = f"{preset.model.name}, {method}, batch {preset.recipe.batch_size}"
            ratios, predicted = [r.loop / r.limit for r in rounds], [r.predicted for r in rounds]
            yield make_line(PART, what, ratios, figures, predicted=predicted, target=TARGET)


def studies(device: torch.device) -> list[Preset]:
    """Return a preset for each network, with more epochs than any measurement reaches."""
    endless = "recipe.epochs=1000000"
    small = (f"recipe.batch_size={CPU_BATCH}",) if device.type == "cpu" else ()
    return [load_preset("cifar10_cpu", (endless,)), load_preset("cifar10_gpu", (endless, *small))]


def run_of(preset: Preset, method: str) -> Run:
    """Return the first seed's run of a method's arm, with the standard augmentation if there are several.

    A method without an arm in the study gets one, at the layers of the study's SBA.
    """
    arms = [name for name, arm in preset.arms.items() if arm.method == method]
    if not arms:
        settings = {"layers": preset.arms["sba"].settings["layers"]}
        own = Arm(method=method, augmentation="standard", settings=settings)
        preset, arms = preset.model_copy(update={"arms": preset.arms | {method: own}}), [method]
    chosen = next((name for name in arms if preset.arms[name].augmentation == "standard"), arms[0])
    return make_plan(preset, [chosen], preset.seeds[:1])[0]


def begin(run: Run, train: Split, device: torch.device) -> tuple[State, float]:
    """Return a run's state before its first step, and the seconds of its compilation, 0 if its recipe has none."""
    state = start(run, as_data(train), device)
    return state, warm_up(run, state, train) if compiles(run.preset.recipe, device) else 0.0


def measure(run: Run, device: torch.device) -> list[Round]:
    """Measure loop and limit of a run in `ROUNDS` rounds."""
    state, one, train = begin_turns(run, device)
    n, images = len(train.labels), to_float(one.images)
    share = functools.cache(lambda layer: share_of_flops(state.model, images[:1], layer))
    costs = list[float]()  # mean cost of a step in each turn, in plain steps

    def limit() -> None:
        for _ in range(n // len(images)):
            resident_step(run, state, images, one.labels)

    def loop() -> None:
        before = dict(state.virtual)
        train_epoch(run, state, train)
        added = {layer: virtual - before.get(layer, 0) for layer, virtual in state.virtual.items()}
        costs.append(1 + sum(virtual * share(layer) for layer, virtual in added.items()) / n)

    loop()
    rounds = []
    for number in range(ROUNDS):
        ours, best = in_turns([loop, limit], number, device)
        rounds.append(Round(n / ours, n / best, 1 / costs[-1]))
    return rounds


def begin_turns(run: Run, device: torch.device) -> tuple[State, Split, Split]:
    """Return a run's state before its first epoch, a batch, and the images of an epoch that takes a turn's time."""
    one = random_images(run.preset.recipe.batch_size, device)
    state, _ = begin(run, one, device)
    state.model.train()
    step = functools.partial(resident_step, run, state, to_float(one.images), one.labels)
    return state, one, random_images(len(one.labels) * steps_of_a_turn(step, device), device)


def steps_of_a_turn(step: Callable[[], object], device: torch.device) -> int:
    """Warm up, and return the number of steps that take `SECONDS_A_TURN`, in [2, `MOST_STEPS`]."""
    began = time.perf_counter()
    for done in itertools.count(1):
        seconds = timed(step, device)
        if done >= 2 and time.perf_counter() - began > SECONDS_WARM:
            break
    return min(MOST_STEPS, max(2, math.ceil(SECONDS_A_TURN / seconds)))


def in_turns(works: Sequence[Callable[[], object]], number: int, device: torch.device) -> list[float]:
    """Call every work once, in reverse order in odd rounds; return the seconds of each, in the given order."""
    order = range(len(works)) if number % 2 == 0 else reversed(range(len(works)))
    seconds = {i: timed(works[i], device) for i in order}
    return [seconds[i] for i in range(len(works))]


def resident_step(run: Run, state: State, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Take the cheapest possible step: plain cross-entropy on a resident float batch."""
    with autocast(run.preset.recipe, images.device):
        loss = F.cross_entropy(state.network(images).float(), labels)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    state.optimizer.step()


def random_images(n: int, device: torch.device) -> Split:
    """Return n random images of CIFAR-10's size with random labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Split(images.to(device), torch.randint(10, (n,), generator=generator).to(device))


def as_data(split: Split) -> Data:
    """Return random images as a data set of 10 classes."""
    return Data("random", 10, "random", True, split, split, split)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of `work`, with the device synchronized before and after."""
    accelerator = device.type == "cuda"
    if accelerator:
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    if accelerator:
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
