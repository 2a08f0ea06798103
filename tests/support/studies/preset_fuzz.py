"""Random and mutated preset files, each of which must become a plan or one readable message.

`PYTHONPATH=.:tests/support python -m studies.preset_fuzz 3000 300` plans 3,000 and runs 300;
tests/benchmark/settings/test_load.py plans fewer.
"""

import contextlib
import io
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import tomli_w
from studies.mutated_presets import MUTATORS, SOURCES, Draw

from benchmark.cli import main
from benchmark.runtime.errors import BenchmarkError
from benchmark.settings.load import PRESETS, load_preset
from benchmark.settings.plan import make_plan
from benchmark.settings.tuning import search
from benchmark.settings.variants import ablate, at_equal_compute, shrink, trials_preset, tuned_preset

LONGEST = 5000  # characters of a message
HANGS, SLOW, RUN_HANGS, PATIENCE = 20, 2.0, 120, 10  # seconds of the processor, and how much longer by the clock


class Outcome(NamedTuple):
    """What became of a file: "plan", "refused" or, where it is a defect, what happened; seconds of the processor."""

    kind: str
    seconds: float


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in a block that takes more seconds of the processor, or ten times as many of the clock."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    other = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(PATIENCE * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGPROF, other)


def plan_every_way(path: Path) -> None:
    """Take a file through all that `run` does with it before it looks for data."""
    preset = load_preset(str(path))
    make_plan(preset, None, None)
    make_plan(at_equal_compute(preset), None, None)
    make_plan(load_preset(str(path), (), shrink(preset)), None, None)
    if preset.ablation:
        make_plan(ablate(preset), None, None)
    if preset.tuning and preset.analysis.treatment in preset.tuning.arms:
        make_plan(trials_preset(preset), None, None)
        tuned = tuned_preset(preset, [trial for trial in search(preset) if trial.number == 0])
        saved = path.with_name(f"{tuned.name}.toml")
        saved.write_text(tomli_w.dumps(tuned.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
        try:
            make_plan(load_preset(str(saved)), None, None)
        finally:
            saved.unlink()


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


class Found(NamedTuple):
    """How often each outcome was met, the processor seconds of the slowest file, and the files that are defects."""

    kinds: Counter[str]
    slowest: float
    defects: list[str]


def fuzz(count: int, seed: int, folder: Path) -> Found:
    """Read N mutated files; each must become a plan or a readable message, quickly. Defects stay in the folder."""
    draw, kinds, slowest, defects = Draw(seed), Counter[str](), 0.0, list[str]()
    plan_every_way(PRESETS / "smoke.toml")  # imports the methods
    for number in range(count):
        mutate = draw.choice(MUTATORS)
        path = folder / f"fuzz-{number}.toml"
        path.write_bytes(mutate(draw, draw.choice(SOURCES)))
        outcome = try_file(path)
        kinds[outcome.kind] += 1
        slowest = max(slowest, outcome.seconds)
        if outcome.kind in ("plan", "refused") and outcome.seconds < SLOW:
            path.unlink()
        else:
            defects.append(f"{path} ({mutate.__name__}): {outcome}")
    return Found(kinds, slowest, defects)


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


def run_some(count: int, seed: int, folder: Path) -> Found:
    """Run N of the mutated presets of the study of digits that are plans; each must leave a record or a message."""
    draw, kinds, slowest, defects = Draw(seed), Counter[str](), 0.0, list[str]()
    smoke = (PRESETS / "smoke.toml").read_bytes()
    while kinds.total() < count:
        path = folder / f"run-{kinds.total()}.toml"
        path.write_bytes(draw.choice(MUTATORS)(draw, smoke))
        if try_file(path).kind != "plan":
            continue
        began = time.process_time()
        outcome = run_file(path, folder / path.stem)
        kinds[outcome.partition(":")[0]] += 1
        slowest = max(slowest, time.process_time() - began)
        if outcome != "run" and not outcome.startswith("refused"):
            defects.append(f"{path}: {outcome}")
        shutil.rmtree(folder / path.stem, ignore_errors=True)
    return Found(kinds, slowest, defects)


def show(what: str, found: Found) -> None:
    print(f"{what}: {dict(found.kinds)}, the slowest took {found.slowest:.2f} s of the processor", flush=True)
    print("\n".join(found.defects), flush=True)


if __name__ == "__main__":
    planned, ran = (int(number) for number in (*sys.argv[1:], "0")[:2])
    show("planned", fuzz(planned, 1, Path(tempfile.mkdtemp())))
    show("run", run_some(ran, 2, Path(tempfile.mkdtemp())))
