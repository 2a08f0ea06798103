"""Compute runs in this process, or in several on this machine that run the same command; locks separate them."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO, NamedTuple

from benchmark.execution.worker import Context, Options, execute
from benchmark.runtime.console import print_line
from benchmark.runtime.distributed import launched
from benchmark.runtime.environment import cores
from benchmark.runtime.errors import UsageError
from benchmark.runtime.signals import SIGNALS, Stop, Stopped
from benchmark.settings.plan import Run

# Numbers of threads of the libraries below torch, for a process that gets a part of the cores.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LEAVE_ONE_OUT = (
    "Processes that train each run together, and those of --jobs or Ray, which train one each: leave one out."
)
PAUSE = 0.1  # seconds between polls of the workers
LAST_LINES = 5.0  # seconds to wait for the last lines of a worker that has ended, whose pipe its children may hold


def check(options: Options) -> None:
    """Raise UsageError for options that are not for this launcher."""
    if options.ray_address:
        raise UsageError("--ray-address is for --launcher ray only.")
    if launched() and options.jobs > 1:
        raise UsageError(LEAVE_ONE_OUT)


def run(todo: Sequence[Run], context: Context) -> None:
    """Compute the runs one after the other, or in --jobs N processes at once, which share the cores.

    Raises:
        BenchmarkError: an error that the user must correct first.
        Stopped: a stop was asked for.
    """
    jobs = min(context.options.jobs, len(todo))
    if jobs == 1:
        execute(todo, context.worker())
        return
    context.raise_early(todo)
    _in_parallel(context.options.line, jobs, context.stop)


class _Worker(NamedTuple):
    """A worker's process, the thread that prints its lines, and its message, which follows "error: "."""

    process: "subprocess.Popen[str]"
    printer: threading.Thread
    error: list[str]


def _in_parallel(command: Sequence[str], jobs: int, stop: Stop) -> None:
    """Run `python -m benchmark COMMAND` in N workers, and print their output.

    A signal is passed on as SIGTERM and the workers are waited for. Where a worker has an error, the others are
    stopped, and its error is raised; a killed worker's run is taken over by another.
    """
    threads = str(max(1, cores() // jobs))
    environment = os.environ | dict.fromkeys(THREADS, threads)
    arguments = [*command, "--jobs", "1", "--worker-of", str(os.getpid())]
    print_line(f"{jobs} workers, {threads} threads each.")
    workers = [_start([sys.executable, "-m", "benchmark", *arguments], environment) for _ in range(jobs)]
    try:
        with stop.gently():
            while any(worker.process.poll() is None for worker in workers) and not _first_failed(workers):
                stop()
                time.sleep(PAUSE)
        failed = _first_failed(workers)  # before the others are stopped
    finally:
        _end(workers)
    for number, (process, _, _) in enumerate(workers, start=1):
        if process.returncode < 0 and process.returncode != -signal.SIGTERM:
            name = signal.Signals(-process.returncode).name
            print_line(f"worker {number} was killed by {name}; the others went on.")
    if failed:
        number, (process, _, error) = failed
        if process.returncode - 128 in SIGNALS:
            raise Stopped(process.returncode - 128)
        ended = f"worker {number} ended with exit code {process.returncode}; its last lines are above."
        raise UsageError("".join(error).removeprefix("error: ").rstrip() or ended, process.returncode)


def _first_failed(workers: Sequence[_Worker]) -> tuple[int, _Worker] | None:
    """Return the first worker that ended with an error, and its number."""
    return next((one for one in enumerate(workers, start=1) if (one[1].process.poll() or 0) > 0), None)


def _start(command: Sequence[str], environment: dict[str, str]) -> _Worker:
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches only the parent, which passes it on once
    )
    assert process.stdout is not None
    error = list[str]()
    printer = threading.Thread(target=_pass_on, args=(process.stdout, error), daemon=True)
    printer.start()
    return _Worker(process, printer, error)


def _pass_on(lines: IO[str], error: list[str]) -> None:
    """Print a worker's lines, but collect those from "error: " on, as every worker may have the same error."""
    with lines:
        for line in lines:
            if error or line.startswith("error: "):
                error.append(line)
            else:
                print_line(line.rstrip("\n"))


def _end(workers: Sequence[_Worker]) -> None:
    """Stop all workers, wait for them and print their last lines; a second Ctrl-C kills them."""
    for process, _, _ in workers:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    try:
        for process, printer, _ in workers:
            process.wait()
            printer.join(LAST_LINES)
    except (KeyboardInterrupt, Stopped):
        for process, _, _ in workers:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        raise
