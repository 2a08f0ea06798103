"""Fifteen minutes on a GPU: speed, the recipe of 30 epochs, the tests that need CUDA, and studies in the time left.

    python scripts/gpu_session.py --data-root DIR
    python scripts/gpu_session.py --data-root DIR --minutes 60 --studies cifar10_10k_cpu,cifar100_cpu --jobs 16

Everything goes to the folder --output: the speed command's figures and page, records, checkpoints, and a log of each
part. A part that reaches its limit is interrupted and keeps its results; unused time goes to the later parts. The same
command resumes. Needs the packages of pyproject.toml, pytest and a C compiler; no network if DIR has CIFAR-10. Exit
code 0 if every part ended by itself and well, 1 if not, 2 without a GPU.

Nothing else should use the GPU while `speed` measures. Training processes share it through CUDA's multi-process service
if nvidia-cuda-mps-control is installed: kernels of several processes then run side by side. The service is started and
ended by this script and changes no setting of the device.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BENCHMARK = (sys.executable, "-m", "benchmark")
GRACE = 30.0  # seconds for an interrupted part to save its state
RECIPE_ARMS, RECIPE_SEEDS = "standard,sba", "0,1"


class Part(NamedTuple):
    """A part of the session.

    Attributes:
        name: names it in the summary, and its log.
        share: of the session's time.
        commands: run in turn until the part's time is over.
        shares_gpu: whether several of its processes use the GPU at a time, and no time is measured.
        interrupt: signal that ends a command at the part's limit.
    """

    name: str
    share: float
    commands: list[tuple[str, ...]]
    shares_gpu: bool = False
    interrupt: signal.Signals = signal.SIGTERM


class Outcome(NamedTuple):
    """How a part ended: its seconds, and the exit code of each command that began; None where the limit ended it."""

    name: str
    seconds: float
    codes: list[int | None]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0, help="of the whole session (default: 15)")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"), help="for what is found (default: runs/gpu)")
    parser.add_argument("--data-root", type=Path, help="where data is looked for first")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:1 (default: cuda)")
    parser.add_argument("--studies", default="", metavar="A,B", help="presets to run in the time left, in this order")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time (default: cores)")
    parser.add_argument("--parts", default="speed,recipe,tests,studies", help="only these parts (default: all)")
    return parser.parse_args(arguments)


def gpu_is_here() -> bool:
    """Return whether this Python's torch sees a CUDA device."""
    import torch

    return torch.cuda.is_available()


def parts(options: argparse.Namespace) -> list[Part]:
    """Return the parts that the options name, in their order."""
    output = options.output.resolve()
    here = ("--device", options.device)
    root = ("--data-root", str(options.data_root.resolve())) if options.data_root else ()
    places = ("--results", str(output / "results"), "--runs", str(output / "runs"))
    speed = (*BENCHMARK, "speed", *here, "--parts", "gpu,common,sba", "--output", str(output / "docs"))
    recipe = ("run", "cifar10_30_epochs_gpu", "--arms", RECIPE_ARMS, "--seeds", RECIPE_SEEDS, "--jobs", "2")
    cuda_tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/system/test_cuda.py")
    studies = [
        (*BENCHMARK, "run", preset, *here, *root, *places, "--jobs", str(options.jobs))
        for preset in filter(None, options.studies.split(","))
    ]
    everything = [
        Part("speed", 0.35, [speed]),
        Part("recipe", 0.45, [(*BENCHMARK, *recipe, *here, *root, *places)], shares_gpu=True),
        Part("tests", 0.2, [(sys.executable, *cuda_tests)], interrupt=signal.SIGINT),
        Part("studies", 1.0, studies, shares_gpu=True),
    ]
    return [part for part in everything if part.name in options.parts.split(",") and part.commands]


@contextlib.contextmanager
def multi_process_service() -> Iterator[Mapping[str, str]]:
    """Give the environment of processes that share the GPU through MPS, or this one if MPS does not work."""
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None:
        yield os.environ
        return
    with tempfile.TemporaryDirectory(prefix="mps") as folder:
        names = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
        environment = os.environ | dict.fromkeys(names, folder)
        started = subprocess.run([control, "-d"], env=environment).returncode == 0
        trial = (sys.executable, "-c", "import torch; torch.ones(1, device='cuda').item()")
        try:
            works = started and subprocess.run(trial, env=environment).returncode == 0
            yield environment if works else os.environ
        finally:
            if started:
                subprocess.run([control], input="quit\n", text=True, env=environment)


def run_part(part: Part, seconds: float, output: Path, environment: Mapping[str, str]) -> Outcome:
    """Run a part's commands for at most `seconds`; their output goes to its log, the last lines to the terminal."""
    began, codes = time.monotonic(), list[int | None]()
    path = output / f"{part.name}.log"
    with path.open("ab") as log:
        for command in part.commands:
            left = seconds - (time.monotonic() - began)
            if left > 0:
                codes.append(run_command(command, left, part.interrupt, log.fileno(), environment))
    printed = path.read_text(encoding="utf-8", errors="replace").splitlines()
    print(*printed[-12:], sep="\n", flush=True)
    return Outcome(part.name, time.monotonic() - began, codes)


def run_command(
    command: Sequence[str], seconds: float, interrupt: signal.Signals, log: int, environment: Mapping[str, str]
) -> int | None:
    """Run a command from the checkout; return its exit code, None where the limit ended it."""
    environment = {**environment, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(interrupt)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):  # the group is gone with its last process
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def summary(outcomes: Sequence[Outcome], output: Path) -> str:
    """Return a line for each part, and the paths of the results."""
    lines = []
    for name, seconds, codes in outcomes:
        ends = ", ".join("ended at its limit" if code is None else f"exit {code}" for code in codes) or "no time left"
        lines.append(f"{name:8} {seconds:5.0f} s  {ends}")
    records = len(list((output / "results").rglob("seed-*.json")))
    return "\n".join([*lines, f"{records} records in {output / 'results'}, figures of speed in {output / 'docs'}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; return the exit code."""
    options = parse(arguments)
    if not gpu_is_here():
        print(
            f"error: no CUDA device is seen by {sys.executable}; this script is for machines with one.", file=sys.stderr
        )
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
    chosen, outcomes = parts(options), list[Outcome]()
    end = time.monotonic() + 60 * options.minutes
    for number, part in enumerate(chosen):
        shares = sum(later.share for later in chosen[number:])
        limit = (end - time.monotonic()) * part.share / shares
        print(f"{part.name}: at most {limit:.0f} s", flush=True)
        with multi_process_service() if part.shares_gpu else contextlib.nullcontext(os.environ) as environment:
            outcomes.append(run_part(part, limit, options.output, environment))
    print(summary(outcomes, options.output))
    return 0 if all(outcome.codes and not any(code != 0 for code in outcome.codes) for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
