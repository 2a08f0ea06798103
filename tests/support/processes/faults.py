"""Fault injection: studies of digits, killed at random moments and their files damaged, must leave the same records.

`nox -s faults` compares every field of every record, except times, with an undisturbed study. The suite kills fewer.
"""

import argparse
import contextlib
import hashlib
import math
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

import torch
from studies.saying import PROJECT
from studies.tiny_study import ARMS, path_of, read, without_times

from benchmark.runtime.environment import cores
from benchmark.runtime.files import load_tensors

SMALL = (
    "--set=data.train_images=400",
    "--set=recipe.epochs=4",
    "--set=recipe.batch_size=20",
    "--set=evaluation.images=48",
    "--set=evaluation.batch_size=16",
    # So that kills meet training as often as attacks.
    '--set=evaluation.attacks=[{name = "pgd", steps = 2}, {name = "apgd_dlr", steps = 2}]',
)
COMMAND = ("run", "smoke", *SMALL, "--checkpoint-steps", "3")
THREADS = {"OMP_NUM_THREADS": str(max(1, cores() // 2))}  # as two workers have, for equal sums of floats
LIMIT = 600  # seconds after which a study counts as hung
NOT_DONE = "not all runs are done; the same command goes on with them."

LEASE = 2.0  # seconds, of studies that are paused; Python imports sitecustomize at its start
SHORT_LEASE = f"from benchmark.execution import lock\nlock.LEASE, lock.HEARTBEAT = {LEASE}, 0.3\n"

Start = Callable[[Path], int]  # starts the study in a folder and returns its process


def forked(seeds: str, folder: Path) -> int:
    """Start the study in a fork of this process, which has imported everything and run nothing."""
    from benchmark.cli import (
        main,
        run,  # noqa: F401  # imported before the fork, once
    )

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


def in_a_process(seeds: str, jobs: int, folder: Path, path: str = str(PROJECT)) -> int:
    """Start the study in a process of its own, with N workers."""
    log = os.O_CREAT | os.O_APPEND | os.O_WRONLY
    places = [f"--{name}={folder / name}" for name in ("results", "runs")]
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "benchmark", *COMMAND, "--seeds", seeds, "--jobs", str(jobs), *places],
        os.environ | THREADS | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(folder / "cache")},
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, str(folder / "log"), log, 0o644), (os.POSIX_SPAWN_DUP2, 1, 2)],
        setsid=True,
    )


def workers_of(parent: int) -> list[int]:
    """Return the living workers of a study (Linux)."""
    found = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def kill_until_done(start: Start, folder: Path, moments: random.Random, longest: float, most: int, early: float) -> int:
    """Restart a study and kill it, or one of its workers, until it ends by itself; return the number of kills.

    Args:
        start: starts it.
        folder: of the study.
        moments: draws time and victim of each kill.
        longest: maximum seconds until the next kill, from a start or, more often, from the next logged epoch.
        most: maximum number of kills.
        early: the share of kills that are timed from a start, in [0, 1].

    Raises:
        RuntimeError: it ended badly, or hangs.
    """
    kills, until = 0, time.monotonic() + LIMIT
    while True:
        study, status = start(folder), None
        while status is None:
            logged, at_work = logged_epochs(folder), kills < most and moments.random() >= early
            while at_work and logged_epochs(folder) == logged and status is None:
                status = ended(study, 0.02)
            status = ended(study, moments.uniform(0, longest) if kills < most else LIMIT) if status is None else status
            if status is None:
                victim = moments.choice([study, *workers_of(study)])
                os.kill(victim, signal.SIGKILL)
                kills += 1
                if victim == study:
                    damage(folder, moments)
            if time.monotonic() > until:
                raise RuntimeError(f"the study hangs:\n{log_of(folder)}")
        if not os.WIFSIGNALED(status):
            if os.WEXITSTATUS(status) == 0:
                return kills
            if NOT_DONE not in log_of(folder):
                raise RuntimeError(f"the study ended with {os.WEXITSTATUS(status)}:\n{log_of(folder)}")


def pause_until_done(start: Start, folder: Path, moments: random.Random, most: int) -> int:
    """Start a study of several workers and pause one at a time past the lease, until it ends; return the pauses.

    Raises:
        RuntimeError: it ended badly, or hangs.
    """
    study, pauses, until = start(folder), 0, time.monotonic() + LIMIT
    while (status := ended(study, moments.uniform(0.5, 2.5))) is None:
        workers = workers_of(study)
        if pauses < most and len(workers) > 1 and logged_epochs(folder):
            victim = moments.choice(workers)
            with contextlib.suppress(ProcessLookupError):  # it had come to its end
                os.kill(victim, signal.SIGSTOP)  # as when a laptop's lid is closed
                status = ended(study, moments.uniform(1.5, 3) * LEASE)
                os.kill(victim, signal.SIGCONT)
                pauses += 1
            if status is not None:
                break
        if time.monotonic() > until:
            raise RuntimeError(f"the study hangs:\n{log_of(folder)}")
    if os.WEXITSTATUS(status) or os.WIFSIGNALED(status):
        raise RuntimeError(f"the study ended with {status}:\n{log_of(folder)}")
    return pauses


def other_weights(folder: Path, seeds: range) -> list[str]:
    """Return the checkpoints whose weights are not those that their records name."""
    found = []
    for arm in ARMS:
        for seed in seeds:
            named = read(path_of(arm, seed, folder / "results"))
            path = folder / "runs" / "smoke" / arm / f"seed-{seed}-{named['settings_hash']}.pt"
            digest = hashlib.sha256()
            for name, value in sorted(load_tensors(path)["model"].items()):
                digest.update(name.encode() + value.contiguous().numpy().tobytes())
            found += [] if digest.hexdigest()[:16] == named["final_weights_hash"] else [f"{path.name}: other weights"]
    return found


def damage(folder: Path, moments: random.Random) -> None:
    """Cut off one of the study's files, or turn a bit in it; more often leave all as they are."""
    kept = sorted(path for path in folder.rglob("seed-*") if path.suffix in (".pt", ".json") and path.stat().st_size)
    if not kept or moments.random() < 0.7:
        return
    path = moments.choice(kept)
    content = bytearray(path.read_bytes())
    position = moments.randrange(len(content))
    if moments.random() < 0.5:
        content = content[:position]
    else:
        content[position] ^= 1 << moments.randrange(8)
    path.write_bytes(content)
    with (folder / "damaged").open("a", encoding="utf-8") as list_of_damages:
        list_of_damages.write(f"{path.name}\n")


def logged_epochs(folder: Path) -> int:
    """Return the number of epochs in the study's log."""
    log = folder / "log"
    return log.read_text(encoding="utf-8", errors="replace").count(": epoch ") if log.is_file() else 0


def ended(process: int, seconds: float) -> int | None:
    """Wait for the end of a child at most `seconds`; return its status, or None if it is still alive."""
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
    """Compare the records of two studies; return their number and each differing field."""
    compared, found = 0, []
    for arm in ARMS:
        for seed in seeds:
            one, other = (without_times(read(path_of(arm, seed, place / "results"))) for place in (folder, reference))
            found += [f"{arm} seed {seed}: {key}" for key in other if one.get(key) != other[key]]
            compared += 1
    leftovers = [path.name for path in folder.rglob("*") if path.suffix in (".tmp", ".lock")]
    return compared, found + leftovers


def damages(folder: Path) -> int:
    """Return how many files were damaged."""
    path = folder / "damaged"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0


def undisturbed(start: Start, folder: Path) -> None:
    """Run the reference study."""
    folder.mkdir()
    if kill_until_done(start, folder, random.Random(0), LIMIT, most=0, early=0.0):
        raise RuntimeError("the reference was killed")


def inject(kills: int, pauses: int, seeds: int, draw: int, root: Path) -> None:
    """Kill studies, four of five times in one process, else with two workers; then pause workers.

    Args:
        kills: number of kills.
        pauses: number of workers paused past the lease.
        seeds: of each arm in a study.
        draw: seed of the moments.
        root: an empty folder.

    Raises:
        SystemExit: a record differs.
    """
    moments, named, rounds = random.Random(draw), f"0-{seeds - 1}", 0
    undisturbed(partial(forked, named), root / "reference")
    made, compared, damaged, different = 0, 0, 0, list[str]()
    alone, together = partial(forked, named), partial(in_a_process, named, 2)
    for name, start, longest, share in (("one process", alone, 1.5, 0.8), ("--jobs 2", together, 4.0, 1.0)):
        while made < kills * share:
            folder = root / f"round-{rounds}"
            folder.mkdir()
            most = min(30, math.ceil(kills * share) - made)
            here = kill_until_done(start, folder, moments, longest, most, early=0.2)
            damaged += damages(folder)
            records, found = differences(folder, root / "reference", range(seeds))
            made, compared, different, rounds = made + here, compared + records, different + found, rounds + 1
            print(f"round {rounds} ({name}): {here} kills, {records} records compared, {found or 'equal'}", flush=True)
    (root / "lease").mkdir()
    (root / "lease" / "sitecustomize.py").write_text(SHORT_LEASE, encoding="utf-8")
    short, paused = partial(in_a_process, named, 2, path=f"{PROJECT}{os.pathsep}{root / 'lease'}"), 0
    while paused < pauses:
        folder = root / f"round-{rounds}"
        folder.mkdir()
        here = pause_until_done(short, folder, moments, min(5, pauses - paused))
        records, found = differences(folder, root / "reference", range(seeds))
        found += other_weights(folder, range(seeds))
        paused, compared, different, rounds = paused + here, compared + records, different + found, rounds + 1
        print(f"round {rounds} (pauses): {here} pauses, {records} records compared, {found or 'equal'}", flush=True)
    print(f"pauses past the lease survived: {paused}")
    print(f"kills survived: {made}, files damaged: {damaged}, records compared: {compared}, ", end="")
    print(f"differences: {len(different)}")
    if different:
        sys.exit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--pauses", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3, help="of each arm in a study, 1 to 3")
    parser.add_argument("--draw", type=int, default=0, help="seed of the moments")
    options = parser.parse_args()
    torch.set_num_threads(int(THREADS["OMP_NUM_THREADS"]))  # what is forked from here has as many
    with tempfile.TemporaryDirectory() as scratch:
        inject(options.kills, options.pauses, options.seeds, options.draw, Path(scratch))
