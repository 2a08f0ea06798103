"""What whole processes cost: seconds until commands answer and training begins, and a run's peak memory."""

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
IMAGES, TEST_IMAGES = 50_000, 10_000  # of CIFAR-10, so that memory is that of the real study
LIMIT = Target(1.0, at_least=False)
BYTES = 2e9  # that a study on a CPU may take
PRESET, ARM = "cifar10_cpu", "sba"  # the arm whose batches are widest
# One epoch, and an evaluation whose batches are the preset's but which attacks few images.
SHORT = (
    "recipe.epochs=1",
    "evaluation.images=64",
    "evaluation.checks={images = 64, square_queries = 10, repeated = 8, long_steps = 4, reference_steps = 2, "
    "reference_queries = 10}",
)
PAUSE = 0.01  # seconds between looks at a process
BENCHMARK = (sys.executable, "-m", "benchmark")


def process_lines(device: torch.device) -> Iterator[Line]:
    """Yield the lines of memory and of start-up, of processes with made-up images of CIFAR-10's size.

    Memory is judged on a CPU alone. Start-up is the best of a few tries; the images were decoded before.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cifar(folder / "data", 10, IMAGES, TEST_IMAGES)
        yield memory_line(folder, device)
        if device.type != "cpu":
            seconds_to_first_step(folder, device)  # decodes
        bare = (sys.executable, "-c", "import torch")
        commands: dict[str, Callable[[], float]] = {
            "import torch": lambda: watch(bare, folder).seconds,
            "--help": lambda: watch((*BENCHMARK, "--help"), folder).seconds,
            "list presets": lambda: watch((*BENCHMARK, "list", "presets"), folder).seconds,
            f"first training step of {PRESET}": lambda: seconds_to_first_step(folder, device),
        }
        rounds = [[measure() for measure in commands.values()] for _ in range(TRIES)]
        base, *bests = (min(tries) for tries in zip(*rounds, strict=True))
        for what, best in zip(list(commands)[1:], bests, strict=True):
            figures = {"seconds": best, "seconds of import torch": base}
            yield make_line("start-up", f"{what}, over `import torch`", [best / base], figures)


def memory_line(folder: Path, device: torch.device) -> Line:
    """Return the line of a study's memory, over what it may take."""
    what = f"peak of a run of {PRESET} ({ARM}, {IMAGES:,} images), over {BYTES / 1e9:g} GB"
    if device.type != "cpu":
        return make_line("memory", what, [], {}, target=LIMIT, here=False)
    peak = watch(a_run(folder, device, *SHORT), folder).peak
    return make_line("memory", what, [peak / BYTES], {"peak memory, MB": peak / 1e6}, target=LIMIT)


def seconds_to_first_step(folder: Path, device: torch.device) -> float:
    """Return the seconds from a run's start until its first step is done, and in a checkpoint; it is then ended."""
    with tempfile.TemporaryDirectory(dir=folder) as runs:
        command = (*a_run(folder, device), "--checkpoint-steps", "1", "--runs", runs)
        return watch(command, folder, lambda: any(Path(runs).rglob("*.pt"))).seconds


def a_run(folder: Path, device: torch.device, *overrides: str) -> tuple[str, ...]:
    """Return the command of one run on the made-up images, its record in the folder."""
    places = ("--data-root", str(folder / "data"), "--results", str(folder / "results"), "--device", str(device))
    settings = [part for override in ("data.synthetic=true", *overrides) for part in ("--set", override)]
    return (*BENCHMARK, "run", PRESET, "--arms", ARM, "--seeds", "0", "--force", *places, *settings)


class Watched(NamedTuple):
    """What a process took: seconds until it ended or had done what was wanted, and its peak memory in bytes."""

    seconds: float
    peak: int


def watch(command: Sequence[str], folder: Path, done: Callable[[], bool] = lambda: False) -> Watched:
    """Run a command to its end, or until `done` says that it has done what was wanted, when it is killed.

    It works in the folder and keeps decoded images there, too.

    Raises:
        RunError: it failed; with its last lines.
    """
    here = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(folder / "cache")}
    peak, wanted = 0, False
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=subprocess.STDOUT)
        while process.poll() is None and not (wanted := done()):
            peak = max(peak, high_water(process.pid) or 0)
            time.sleep(PAUSE)
        seconds = time.perf_counter() - began
        process.kill()
        process.wait()
        if process.returncode and not wanted:
            said.seek(0)
            raise RunError(f"{' '.join(command)} failed:\n{said.read().decode(errors='replace')[-2000:]}")
    return Watched(seconds, peak or largest_peak(resource.RUSAGE_CHILDREN))
