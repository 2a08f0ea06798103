"""Random and mutated preset files, each of which must become a plan or one readable message.

`python tests/support/preset_fuzz.py 3000 300` plans 3,000 and runs 300; test_preset_fuzz.py tries fewer.
"""

import contextlib
import functools
import io
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from types import FrameType
from typing import NamedTuple
from unittest.mock import patch

from mutated_presets import MUTATORS, SOURCES, Draw

from benchmark.cli import main
from benchmark.runtime.errors import BenchmarkError
from benchmark.settings import methods
from benchmark.settings.ablation import ablate
from benchmark.settings.load import PRESETS, load_preset
from benchmark.settings.plan import at_equal_compute, make_plan
from benchmark.settings.smoke import shrink

LONGEST, HANGS, SLOW = 5000, 20, 0.5  # characters of a message; seconds of the clock and of the processor
RUN_HANGS = 300  # seconds


class Outcome(NamedTuple):
    """What became of a file: "plan", "refused" or, where it is a defect, what happened; seconds of the processor."""

    kind: str
    seconds: float


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def plan_every_way(path: Path) -> None:
    """Take a file through all that `run` does with it before it looks for data."""
    preset = load_preset(str(path))
    make_plan(preset, None, None)
    make_plan(at_equal_compute(preset), None, None)
    make_plan(load_preset(str(path), (), shrink(preset)), None, None)
    if preset.ablation:
        make_plan(ablate(preset), None, None)


@functools.cache  # nobody installs anything meanwhile, and reading it takes longer than all else
def installed(group: str) -> EntryPoints:
    """Return the entry points of the installed packages."""
    return entry_points(group=group)


def try_file(path: Path) -> Outcome:
    """Read a file as a preset and make its plans."""
    kind, began = "plan", time.process_time()
    try:
        with limited(HANGS):
            plan_every_way(path)
    except BenchmarkError as refused:
        message = str(refused)
        readable = len(message) < LONGEST and message.replace("\n", "").isprintable()
        kind = "refused" if readable and "Traceback" not in message else f"unreadable: {message[:300]!r}"
    except BaseException as error:
        kind = f"{type(error).__name__}: {str(error)[:300]}"
    return Outcome(kind, time.process_time() - began)


def fuzz(count: int, seed: int, folder: Path) -> tuple[Counter[str], float]:
    """Try so many files; return how often what happened, and the processor seconds of the slowest.

    Raises:
        AssertionError: a file came to anything but a plan or a readable message, or took too long; it stays in
            the folder.
    """
    draw, kinds, slowest = Draw(seed), Counter[str](), 0.0
    plan_every_way(PRESETS / "smoke.toml")  # imports the methods
    path = folder / "fuzz.toml"
    for number in range(count):
        mutate = draw.choice(MUTATORS)
        path.write_bytes(mutate(draw, draw.choice(SOURCES)))
        with patch.object(methods, "entry_points", installed):
            outcome = try_file(path)
        kinds[outcome.kind] += 1
        slowest = max(slowest, outcome.seconds)
        where = f"file {number} of seed {seed} ({mutate.__name__}, {path}): {outcome}"
        assert outcome.kind in ("plan", "refused"), where
        assert outcome.seconds < SLOW, where
    return kinds, slowest


def run_file(path: Path, folder: Path) -> str:
    """Run an arm of a preset at one seed, shrunk as a smoke run, and report it; return what came of it.

    Returns:
        "run", "refused" or, where it is a defect, what happened.
    """
    preset = load_preset(str(path))
    one = ["--smoke", "--arms", next(iter(preset.arms)), "--seeds", str(preset.seeds[0])]
    results, said = folder / "results", io.StringIO()
    try:
        with limited(RUN_HANGS), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(["run", str(path), *one, "--results", str(results), "--runs", str(folder / "runs")])
            there = list(results.glob("*/*/seed-*.json"))
            reported = main(["report", "--results", str(results)]) if there else 0
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    failed = list(folder.rglob("*.failed"))
    if failed or "Traceback" in said.getvalue() or reported:
        return f"failed: {said.getvalue()[-600:]}"
    return "run" if there else f"refused with {code}"


def run_some(count: int, seed: int, folder: Path) -> Counter[str]:
    """Run N of the mutated presets that are plans, of the study of digits.

    Raises:
        AssertionError: a run came to anything but a record or a message; the file stays in the folder.
    """
    draw, kinds = Draw(seed), Counter[str]()
    smoke = (PRESETS / "smoke.toml").read_bytes()
    while kinds.total() < count:
        path = folder / f"run-{kinds.total()}.toml"
        path.write_bytes(draw.choice(MUTATORS)(draw, smoke))
        if try_file(path).kind != "plan":
            continue
        outcome = run_file(path, folder / path.stem)
        kinds[outcome] += 1
        assert outcome == "run" or outcome.startswith("refused"), f"{path}: {outcome}"
        shutil.rmtree(folder / path.stem)
    return kinds


if __name__ == "__main__":
    began = time.perf_counter()
    planned, ran = (int(number) for number in (*sys.argv[1:], "0")[:2])
    found, longest = fuzz(planned, 1, Path(tempfile.mkdtemp()))
    print(f"{dict(found)}, the slowest took {longest:.2f} s, all {time.perf_counter() - began:.0f} s", flush=True)
    print(f"run: {dict(run_some(ran, 2, Path(tempfile.mkdtemp())))}, all {time.perf_counter() - began:.0f} s")
