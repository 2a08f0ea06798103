"""Compute runs in this process, or in several on this machine that run the same command; locks separate them."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

from benchmark.execution.launchers.context import THREADS, Context, Options
from benchmark.execution.worker import execute
from benchmark.runtime.console import print_line
from benchmark.runtime.distributed import launched
from benchmark.runtime.environment import cores
from benchmark.runtime.errors import BenchmarkError, UsageError
from benchmark.runtime.signals import Stop, Stopped
from benchmark.settings.plan import Run

PAUSE = 0.1  # seconds between polls of the workers


def check(options: Options) -> None:
    """Raise UsageError for options that are not for this launcher."""
    if options.ray_address:
        raise UsageError("--ray-address is for --launcher ray only.")
    if launched() and options.jobs > 1:
        raise UsageError("torchrun's processes train runs together, those of --jobs or Ray one each: leave one out.")


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


def _in_parallel(command: Sequence[str], jobs: int, stop: Stop) -> None:
    """Run `python -m benchmark COMMAND` in N workers, and print their output.

    A signal is passed on as SIGTERM and the workers are waited for. Where a worker has an error, the others are
    stopped; a killed worker's run is taken over by another.
    """
    threads = str(max(1, cores() // jobs))
    environment = os.environ | dict.fromkeys(THREADS, threads)
    arguments = [*command, "--jobs", "1", "--worker-of", str(os.getpid())]
    print_line(f"{jobs} workers, {threads} threads each.")
    errors: list[str] = []
    workers = [_start([sys.executable, "-m", "benchmark", *arguments], environment, errors) for _ in range(jobs)]
    try:
        with stop.gently():
            while any(worker.poll() is None for worker in workers):
                stop()
                if any(worker.returncode and worker.returncode > 0 for worker in workers):
                    break
                time.sleep(PAUSE)
    finally:
        _end(workers)
    for number, worker in enumerate(workers, start=1):
        code = worker.returncode
        if code < 0 and code != -signal.SIGTERM:
            print_line(f"worker {number} was killed by {signal.Signals(-code).name}; the others went on.")
    if errors:
        raise worker_error(max(worker.returncode for worker in workers), errors[0])


def _start(command: Sequence[str], environment: dict[str, str], errors: list[str]) -> "subprocess.Popen[str]":
    worker = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches only the parent, which passes it on once
    )
    assert worker.stdout is not None
    threading.Thread(target=_pass_on, args=(worker.stdout, errors), daemon=True).start()
    return worker


def _pass_on(lines: IO[str], errors: list[str]) -> None:
    """Print a worker's lines, but collect those from "error: " on, as every worker may have the same error."""
    error = list[str]()
    for line in lines:
        if error or line.startswith("error: "):
            error.append(line)
        else:
            print_line(line.rstrip("\n"))
    if error:
        errors.append("".join(error).removeprefix("error: ").rstrip())


def _end(workers: Sequence["subprocess.Popen[str]"]) -> None:
    """Stop all workers and wait for them; a second Ctrl-C kills them."""
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
    try:
        for worker in workers:
            worker.wait()
    except (KeyboardInterrupt, Stopped):
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
        raise


def worker_error(code: int, text: str) -> BenchmarkError:
    """Return a worker's error, with its exit code, as one of this process."""
    error = UsageError(text)
    error.exit_code = code
    return error
