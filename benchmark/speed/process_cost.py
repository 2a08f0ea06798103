"""The cost of whole processes: seconds of start-up, and a run's peak memory."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmark.data.synthetic import write_cifar
from benchmark.runtime.errors import RunError
from benchmark.runtime.memory import high_water, largest_peak
from benchmark.speed.lines import Line, Target, make_line

TRIES = 3
IMAGES, TEST_IMAGES = 50_000, 10_000  # as CIFAR-10
_LIMIT = Target(1.0, at_least=False)
_BYTES = 2e9  # memory limit of a study on a CPU
PRESET, _ARM = "cifar10_cpu", "sba"  # the arm with the largest batches
# One epoch, and an evaluation of few images in the preset's batches.
_SHORT = (
    "recipe.epochs=1",
    "evaluation.images=64",
    "evaluation.checks={images = 64, square_queries = 10, repeated = 8, long_steps = 4, reference_steps = 2, "
    "reference_queries = 10}",
)
_PAUSE = 0.01  # seconds between polls of a process
_BENCHMARK = (sys.executable, "-m", "benchmark")


def process_lines(device: torch.device) -> Iterator[Line]:
    """Yield the lines of memory (on a CPU) and start-up, of processes with synthetic images of CIFAR-10's size.

    Start-up is the best of `TRIES`; the images are decoded before.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cifar(folder / "data", 10, IMAGES, TEST_IMAGES)
        yield _memory_line(folder, device)
        if device.type != "cpu":
            seconds_to_first_step(folder, device)  # decodes
        bare = (sys.executable, "-c", "import torch")
        commands: dict[str, Callable[[], float]] = {
            "import torch": lambda: watch(bare, folder).seconds,
            "--help": lambda: watch((*_BENCHMARK, "--help"), folder).seconds,
            "list presets": lambda: watch((*_BENCHMARK, "list", "presets"), folder).seconds,
            f"first training step of {PRESET}": lambda: seconds_to_first_step(folder, device),
        }
        rounds = [[measure() for measure in commands.values()] for _ in range(TRIES)]
        base, *bests = (min(tries) for tries in zip(*rounds, strict=True))
        for what, best in zip(list(commands)[1:], bests, strict=True):
            figures = {"seconds": best, "seconds of import torch": base}
            yield make_line("start-up", f"{what}, over `import torch`", [best / base], figures)


def _memory_line(folder: Path, device: torch.device) -> Line:
    what = f"peak of a run of {PRESET} ({_ARM}, {IMAGES:,} images), over {_BYTES / 1e9:g} GB"
    if device.type != "cpu":
        return make_line("memory", what, [], {}, target=_LIMIT)
    peak = watch(_a_run(folder, device, *_SHORT), folder).peak
    return make_line("memory", what, [peak / _BYTES], {"peak memory, MB": peak / 1e6}, target=_LIMIT)


def seconds_to_first_step(folder: Path, device: torch.device) -> float:
    """Return the seconds from a run's start until its first step is done, and in a checkpoint; it is then ended."""
    with tempfile.TemporaryDirectory(dir=folder) as runs:
        command = (*_a_run(folder, device), "--checkpoint-steps", "1", "--runs", runs)
        return watch(command, folder, lambda: any(Path(runs).rglob("*.pt"))).seconds


def _a_run(folder: Path, device: torch.device, *overrides: str) -> tuple[str, ...]:
    """Return the command of one run on the synthetic images."""
    places = ("--data-root", str(folder / "data"), "--results", str(folder / "results"), "--device", str(device))
    settings = [part for override in ("data.synthetic=true", *overrides) for part in ("--set", override)]
    return (*_BENCHMARK, "run", PRESET, "--arms", _ARM, "--seeds", "0", "--force", *places, *settings)


class Watched(NamedTuple):
    """Seconds until a process ended or was done, and its peak memory in bytes."""

    seconds: float
    peak: int


def watch(command: Sequence[str], folder: Path, done: Callable[[], bool] = lambda: False) -> Watched:
    """Run a command until it ends or `done` returns True; then it is killed.

    `folder` is its working folder and has its cache of decoded images.

    Raises:
        RunError: it failed; with the last 2,000 characters of its output.
    """
    here = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(folder / "cache")}
    peak, reached = 0, False
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None and not (reached := done()):
            peak = max(peak, high_water(process.pid) or 0)
            time.sleep(_PAUSE)
        seconds = time.perf_counter() - began
        process.kill()
        process.wait()
        if process.returncode and not reached:
            output.seek(0)
            raise RunError(f"{' '.join(command)} failed:\n{output.read().decode(errors='replace')[-2000:]}")
    return Watched(seconds, peak or largest_peak(resource.RUSAGE_CHILDREN))
