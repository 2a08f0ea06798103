"""Throughput: the training loop's images/s beside the limit, in one run on the machine it is on."""

import time
from collections.abc import Callable
from statistics import median

import torch
from tabulate import tabulate
from torch.nn import functional as F

from benchmark.data import Data, to_float
from benchmark.datasets import Split
from benchmark.environment import describe_environment
from benchmark.plan import Run, make_plan
from benchmark.preset_files import load_preset
from benchmark.state import State, start
from benchmark.train import autocast, train_epoch

STEPS, REPEATS, SECONDS_WARM = 16, 5, 2


def speed_table(device: torch.device) -> str:
    """Return a table of images/s of each arm's training loop and of the limit.

    The limit is forward, backward and step of plain cross-entropy with the same network, batch size and precision
    on one batch that stays where it is: no data, augmentation or bookkeeping. Loop and limit take turns and each
    shows its median, so that a machine that slows down slows both.
    """
    endless = "recipe.epochs=1000000"  # no turn reaches the end of the training
    preset = load_preset(f"cifar10_{'gpu' if device.type == 'cuda' else 'cpu'}", (endless,))
    rows = []
    for run in make_plan(preset, None, preset.seeds[:1]):
        loop, limit = measure(run, device)
        arm = preset.arms[run.arm]
        rows.append([run.arm, arm.method, arm.augmentation, f"{loop:,.0f}", f"{limit:,.0f}", f"{loop / limit:.2f}"])
    about = describe_environment(device)
    recipe = preset.recipe
    table = tabulate(
        rows,
        ["arm", "method", "augmentation", "loop", "limit", "ratio"],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left"] * 3 + ["right"] * 3,
    )
    return (
        f"Training images/s, network {preset.model.name}, batch {recipe.batch_size}, {recipe.precision}, "
        f"on {about['device_name']} ({about['threads']} threads), torch {about['torch']}, {about['date'][:10]}.\n"
        f"Median of {REPEATS} turns of {STEPS} steps. The ratio is the loop's share of the limit; methods that compute "
        f"more than ERM are below it by what they compute.\n\n{table}"
    )


def measure(run: Run, device: torch.device) -> tuple[float, float]:
    """Return images/s of (the training loop, the limit) for one run's network, method and augmentation."""
    batch = run.preset.recipe.batch_size
    data = random_data(batch * STEPS, device)
    state = start(run, data, device)
    images, labels = to_float(data.train.images[:batch]), data.train.labels[:batch]

    def loop() -> None:
        train_epoch(run, state, data.train)

    def limit() -> None:
        for _ in range(STEPS):
            resident_step(run, state, images, labels)

    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS_WARM:
        loop()
        limit()
    turns = [(timed(loop, device), timed(limit, device)) for _ in range(REPEATS)]
    return batch * STEPS / median(turn[0] for turn in turns), batch * STEPS / median(turn[1] for turn in turns)


def resident_step(run: Run, state: State, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Take the cheapest possible step: plain cross-entropy on a float batch that is already there."""
    with autocast(run.preset.recipe, images.device):
        loss = F.cross_entropy(state.model(images).float(), labels)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    state.optimizer.step()


def random_data(n: int, device: torch.device) -> Data:
    """Return n random 32x32 RGB images of 10 classes as training data."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.randint(10, (n,), generator=generator))
    return Data("random", 10, "random", True, split, split, split).to(device)


def timed(work: Callable[[], None], device: torch.device) -> float:
    """Return the seconds `work` takes, the device's queue emptied before and after."""
    accelerator = device.type == "cuda"
    if accelerator:
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if accelerator:
        torch.cuda.synchronize()
    return time.perf_counter() - began
