"""Several trainings on one device at a time: what all of them reach together."""

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from threading import Barrier

import torch

from benchmark.runtime.environment import choose_device
from benchmark.speed.lines import Line, make_line
from benchmark.speed.throughput import begin, random_images, run_of, studies
from benchmark.training.loop import train_epoch

JOBS, SECONDS, STEPS, PATIENCE = (4, 16), 5.0, 64, 300.0  # PATIENCE: seconds for all processes to be warm
_together: Barrier | None = None  # of this process and the others of its pool


def jobs_lines(device: torch.device) -> Iterator[Line]:
    """Yield what several processes that train the small network on one device reach, over what one reaches."""
    alone = rate_of(1, device)
    for jobs in JOBS:
        rate = rate_of(jobs, device)
        what = f"fast, {jobs} processes over one"
        figures = {"all, images/s": rate, "one, images/s": alone}
        yield make_line("--jobs", what, [rate / alone], figures)


def rate_of(jobs: int, device: torch.device) -> float:
    """Return the images/s of so many processes together, which begin at the same time.

    Raises:
        BrokenBarrierError, BrokenProcessPool: one of them failed before it was warm.
    """
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    barrier = context.Barrier(jobs)
    with ProcessPoolExecutor(jobs, context, _join, (barrier,)) as pool:
        return sum(pool.map(_train, [str(device)] * jobs, [SECONDS] * jobs, [STEPS] * jobs))


def _join(barrier: Barrier) -> None:
    global _together
    _together = barrier


def _train(name: str, wanted: float, steps: int) -> float:
    """Train the small network for so many seconds, in epochs of so many steps; return images/s."""
    device = choose_device(name)
    run = run_of(studies(device)[0], "erm")
    state, _ = begin(run, device)
    batch = run.preset.recipe.batch_size
    train = random_images(batch * steps, device)
    train_epoch(run, state, train)
    assert _together is not None
    _together.wait(PATIENCE)
    began, images = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < wanted:
        train_epoch(run, state, train)  # its end waits for the device
        images += batch * steps
    return images / spent
