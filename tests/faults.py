"""Fault injection: studies of digits are killed at random moments until they are done, and must leave the same records.

`python tests/faults.py` (nox -s faults) kills as often as it is told and prints what it compared: every field of every
record with those of a study that nobody disturbed, except times. The suite has a short form.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tiny_study import ARMS, path_of, read, without_times

PROJECT = Path(__file__).resolve().parent.parent
SMALL = (
    "--set=data.train_images=400",
    "--set=recipe.epochs=4",
    "--set=recipe.batch_size=20",
    "--set=evaluation.images=48",
    "--set=evaluation.batch_size=16",
)
COMMAND = ("run", "smoke", *SMALL, "--checkpoint-steps", "3")
THREAD = {"OMP_NUM_THREADS": "1"}  # one, so that sums of floats have one order
LIMIT = 600  # seconds after which a study counts as hung

Start = Callable[[Path], int]  # starts the study in a folder and returns its process


def forked(seeds: str, folder: Path) -> int:
    """Start the study in a fork of this process, which has imported everything and run nothing."""
    from benchmark import run_command  # noqa: F401  # imported before the fork, once
    from benchmark.cli import main

    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        log = os.open(folder / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = main([*COMMAND, "--seeds", seeds])
    finally:
        os._exit(code)


def with_two_workers(seeds: str, folder: Path) -> int:
    """Start the study with --jobs 2 in a process of its own."""
    with (folder / "log").open("ab") as log:
        study = subprocess.Popen(
            [sys.executable, "-m", "benchmark", *COMMAND, "--seeds", seeds, "--jobs", "2"],
            cwd=folder,
            env=os.environ | THREAD | {"PYTHONPATH": str(PROJECT), "XDG_CACHE_HOME": str(folder / "cache")},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return study.pid


def workers_of(parent: int) -> list[int]:
    """Return the living workers of a study (Linux)."""
    found = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def kill_until_done(start: Start, folder: Path, moments: random.Random, longest: float, most: int) -> int:
    """Start a study again and again and kill it, or one of its workers, until it ends by itself; return the kills.

    Args:
        start: starts it.
        folder: where it is.
        moments: draws when and whom to kill.
        longest: seconds after a start, or the last kill, until the next.
        most: kills after which it is left alone.

    Raises:
        RuntimeError: it ended badly, or hangs.
    """
    kills, began = 0, time.monotonic()
    while True:
        study = start(folder)
        while True:
            pause = moments.uniform(0, longest) if kills < most else LIMIT
            if (status := ended(study, pause)) is not None:
                break
            if time.monotonic() - began > LIMIT:
                raise RuntimeError(f"the study hangs:\n{log_of(folder)}")
            victim = moments.choice([study, *workers_of(study)])
            os.kill(victim, signal.SIGKILL)
            kills += 1
        if not os.WIFSIGNALED(status):
            if os.WEXITSTATUS(status) == 0:
                return kills
            if not (folder / "log").read_text(encoding="utf-8").rstrip().endswith("not all runs are done."):
                raise RuntimeError(f"the study ended with {os.WEXITSTATUS(status)}:\n{log_of(folder)}")


def ended(process: int, seconds: float) -> int | None:
    """Wait so long for the end of a child; return its status, None where it is still alive."""
    until = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return status
        if time.monotonic() >= until:
            return None
        time.sleep(0.01)


def log_of(folder: Path) -> str:
    """Return the last lines that a study printed."""
    return "\n".join((folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()[-30:])


def differences(folder: Path, reference: Path, seeds: range) -> tuple[int, list[str]]:
    """Compare the records of two studies; return how many, and each field that differs."""
    compared, found = 0, []
    for arm in ARMS:
        for seed in seeds:
            one, other = (without_times(read(path_of(arm, seed, place / "results"))) for place in (folder, reference))
            found += [f"{arm} seed {seed}: {key}" for key in other if one.get(key) != other[key]]
            compared += 1
    leftovers = [path.name for path in folder.rglob("*") if path.suffix in (".tmp", ".lock", ".damaged")]
    return compared, found + leftovers


def undisturbed(seeds: str, folder: Path) -> None:
    """Run the study that the others are compared with."""
    folder.mkdir()
    if kill_until_done(partial(forked, seeds), folder, random.Random(0), LIMIT, 0):
        raise RuntimeError("somebody killed the reference")


def inject(kills: int, seed: int, root: Path) -> None:
    """Kill as often as told, four times of five a study in one process, else one with two workers; print what came.

    Raises:
        SystemExit: a record differs.
    """
    moments, seeds = random.Random(seed), range(3)
    undisturbed("0-2", root / "reference")
    made, compared, different, rounds = 0, 0, list[str](), 0
    kinds = [("one process", partial(forked, "0-2"), 2.5, 0.8), ("--jobs 2", partial(with_two_workers, "0-2"), 12.0, 1)]
    for name, start, longest, share in kinds:
        while made < kills * share:
            folder = root / f"round-{rounds}"
            folder.mkdir()
            here = kill_until_done(start, folder, moments, longest, most=30)
            records, found = differences(folder, root / "reference", seeds)
            made, compared, different, rounds = made + here, compared + records, different + found, rounds + 1
            print(f"round {rounds} ({name}): {here} kills, {records} records compared, {found or 'equal'}", flush=True)
    print(f"kills survived: {made}, records compared: {compared}, differences: {len(different)}")
    if different:
        sys.exit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ |= THREAD
    with tempfile.TemporaryDirectory() as scratch:
        inject(options.kills, options.seed, Path(scratch))
