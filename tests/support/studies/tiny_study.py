"""A tiny study on real digits: its settings, how to run it and how to read its records."""

import copy
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
from records.planted import completed, record
from torch import Tensor

from benchmark.cli import main
from benchmark.data.images import Images, Split
from benchmark.data.load import Data
from benchmark.execution.files import Folders, RunPaths
from benchmark.execution.lock import RunLock
from benchmark.execution.run import Attempt, Worker
from benchmark.records.store import write_record
from benchmark.runtime.signals import Stop
from benchmark.settings.plan import Run
from benchmark.training import loop as train

ARMS, SEEDS = ("erm", "standard", "mixup", "sba"), (0, 1)
ATTACKS = {"fgsm": 1, "apgd_dlr": 2}  # name -> steps
EPS = (4.0, 16.0)
EPOCHS, BATCH, ATTACKED, TEST_IMAGES = 3, 64, 24, 500
TINY = (
    "--set=seeds=[0, 1]",
    "--set=data.train_images=400",
    f"--set=recipe.epochs={EPOCHS}",
    f"--set=evaluation.images={ATTACKED}",
    f"--set=evaluation.eps={list(EPS)}",
    "--set=evaluation.attacks=[" + ", ".join(f'{{name = "{name}", steps = {n}}}' for name, n in ATTACKS.items()) + "]",
)


def run(*arguments: str) -> int:
    """Run the tiny study, or the part that the arguments select."""
    return main(["run", "smoke", *TINY, *arguments])


def worker(data: Data, folders: Folders) -> Worker:
    """A worker on the CPU that nobody stops."""
    return Worker(data, folders, torch.device("cpu"), Stop(), 500)


def attempt(run: Run, worker: Worker) -> Attempt:
    """A start of a run by a worker that holds its lock."""
    return Attempt(run, worker, cast("RunLock", SimpleNamespace(holds=lambda: True)), "[1/1]")


def recorded(one: Run, folders: Folders, **changes: Any) -> RunPaths:
    """Write a record of a run that was never trained."""
    paths = RunPaths(one, folders)
    entry: Any = record(one.arm, one.seed, 900, preset=one.preset.name, settings=one.settings, **changes)
    write_record(paths.record, completed(entry))
    return paths


def pixels_of(split: Images) -> Tensor:
    """The images of a split that is in memory."""
    assert isinstance(split, Split)
    return split.images


def path_of(arm: str, seed: int, results: Path = Path("results")) -> Path:
    """Where the contract puts a record of the preset smoke."""
    return results / "smoke" / arm / f"seed-{seed}.json"


def read(path: Path) -> dict[str, Any]:
    """A record as another program sees it."""
    return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))


def at_step(number: int, act: Callable[[], object]) -> Callable[..., Any]:
    """The training step; before the one of this number, from 1, something happens."""
    original, taken = train.train_step, itertools.count(1)

    def step(*arguments: Any, **named: Any) -> Any:
        if next(taken) == number:
            act()
        return original(*arguments, **named)

    return step


def interrupt() -> None:
    """Press Ctrl-C."""
    raise KeyboardInterrupt


def change_weights(checkpoint: Path) -> None:
    """Change the weights in a checkpoint a little, as another epoch would."""
    values = torch.load(checkpoint, weights_only=True)
    weights = values["model"]
    values["model"] = {key: value * 1.01 if value.is_floating_point() else value for key, value in weights.items()}
    torch.save(values, checkpoint)


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    """The record without times, dates and memory."""
    kept = copy.deepcopy(record)
    for epoch in kept["epochs"]:
        del epoch["seconds"], epoch["images_per_second"]
    for key in ("train_seconds", "attack_seconds", "peak_memory_bytes"):
        del kept["cost"][key]
    del kept["environment"]["date"]
    kept.pop("sha256", None)
    return kept


class Study(NamedTuple):
    """A finished tiny study in a folder of its own."""

    folder: Path
    records: dict[tuple[str, int], dict[str, Any]]
    code: int
    random_states: tuple[bool, bool, bool]


def random_states() -> tuple[bytes, str, str]:
    """The states of the global generators of torch, NumPy and Python."""
    return torch.get_rng_state().numpy().tobytes(), str(np.random.get_state()), str(random.getstate())


def work_in(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """Make `folder` the working folder, with a cache folder of its own and no data root."""
    patch.chdir(folder)
    patch.setenv("XDG_CACHE_HOME", str(cache))
    patch.delenv("SBA_DATA_ROOT", raising=False)
