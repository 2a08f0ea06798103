"""The worker: computes a plan's runs one by one; several workers may share a plan. Launchers make it of a context."""

import contextlib
import functools
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from benchmark.data.load import Data
from benchmark.execution.files import Folders, RunPaths, failure, is_pending, status, tidy
from benchmark.execution.lock import RunLock
from benchmark.execution.preflight import refuse_early, refuse_foreign, refuse_indivisible
from benchmark.execution.progress import log_tail
from benchmark.execution.run import NEXT, Attempt, Worker, finish_run, take_part
from benchmark.records.store import read_record
from benchmark.runtime.console import duration, print_line
from benchmark.runtime.distributed import Group, is_lost
from benchmark.runtime.errors import BenchmarkError, RunError
from benchmark.runtime.signals import Stop
from benchmark.settings.plan import Run
from benchmark.training.surrogate import train_surrogate

POLL = 1.0  # seconds between polls of runs held by other workers
NOT_DONE = "not all runs are done; the same command goes on with them."
LEFT_AS_THEY_ARE = (
    "The same command leaves them as they are; with --retry-failed it repeats them, once their cause is mended.\n"
    "The report shows diverged runs as failures of their arm."
)


class Options(Protocol):
    """The options of the command line that launchers use; `line` is the user's arguments, for other processes."""

    line: list[str]
    device: str
    jobs: int
    ray_address: str | None
    processes: str | None
    checkpoint_steps: int


@dataclass(frozen=True)
class Context:
    """The context of a study.

    Attributes:
        options: of the command line.
        folders: of the study.
        device: of this process.
        stop: a signal ends every process that the launcher started, after its step.
        group: the processes that torchrun started together with this one.
        load: loads the data of the study.
    """

    options: Options
    folders: Folders
    device: torch.device
    stop: Stop
    group: Group
    load: Callable[[], Data]

    def worker(self) -> Worker:
        """Return this process as a worker, with the data loaded."""
        return Worker(self.load(), self.folders, self.device, self.stop, self.options.checkpoint_steps, self.group)

    def raise_early(self, todo: Sequence[Run]) -> None:
        """Raise here, once, the errors that every worker would meet, and leave the GPU's memory to the workers."""
        refuse_before(todo, self.worker())
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def execute(runs: Sequence[Run], worker: Worker) -> None:
    """Train, evaluate and record runs one after the other; each record is written as soon as its run ends.

    A run that fails is marked and the others go on. Runs held by other workers are waited for, to take them over if a
    worker dies.

    Raises:
        BenchmarkError: an error that the user must correct first, such as a full disk.
        Stopped: a stop was asked for; the state is saved.
    """
    if not runs:
        return
    worker.group.agree(lambda: refuse_before(runs, worker))
    worker = replace(worker, data=worker.data.to(worker.device))
    if worker.group.leads:
        _lead(runs, worker)
        worker.group.share(None)
    else:
        follow(runs, worker)


def follow(runs: Sequence[Run], worker: Worker) -> None:
    """Take part in the training of each run that process 0 of the group chooses.

    Raises:
        RunError: an error in this process, which the others only notice as its end.
    """
    try:
        with worker.stop.gently():
            while (number := worker.group.share(0)) is not None:
                take_part(runs[number], worker)
    except BenchmarkError:
        raise
    except Exception as error:
        worker.stop()  # process 0 may have been ended by the signal that this one received as well
        if is_lost(error):
            raise
        traceback.print_exc()
        raise RunError(f"process {worker.group.rank}: {str(error) or type(error).__name__}. {NEXT}") from error


def _lead(runs: Sequence[Run], worker: Worker) -> None:
    """Compute the runs that no other worker holds, until none is left."""
    train = functools.partial(train_surrogate, runs[0].preset, worker.data, worker.device, worker.stop)
    surrogate = functools.cache(train)  # one for all
    paths = [RunPaths(run, worker.folders) for run in runs]
    waiting = [(number, RunLock(each.lock)) for number, each in enumerate(paths)]
    began, waited = time.monotonic(), False
    with worker.stop.gently():
        while waiting := [(number, lock) for number, lock in waiting if is_pending(runs[number], paths[number])]:
            for number, lock in waiting:
                worker.stop()
                with lock.claimed() as mine:
                    if not mine or not is_pending(runs[number], paths[number]):
                        continue
                    place, left = len(runs) - len(waiting) + 1, len(waiting) - 1
                    label = f"[{place}/{len(runs)}] {runs[number].arm} seed {runs[number].seed}"
                    worker.group.share(number)
                    outcome = finish_run(Attempt(runs[number], worker, lock, label), surrogate)
                rest = duration((time.monotonic() - began) / place * left)
                print_line(f"{label}: {outcome}" + (f"; about {rest} left, {left} to go" if left else ""))
                break
            else:
                if not waited:
                    print_line(f"Waiting for {len(waiting)} runs held by other workers.")
                waited = True
                time.sleep(POLL)


def refuse_before(runs: Sequence[Run], worker: Worker) -> None:
    """Do all checks of `benchmark.execution.preflight`."""
    refuse_indivisible(runs[0].preset.recipe, worker.group.size)
    refuse_early(runs, worker.data.to(worker.device), worker.device)
    refuse_foreign(runs, worker.data, worker.folders, worker.device, worker.group)


def tidy_after_kills(plan: Sequence[Run], folders: Folders) -> None:
    """Remove temporary files of workers killed between writing a record and releasing its lock, if that is allowed."""
    for paths in (RunPaths(run, folders) for run in plan):
        if paths.record.is_file() and paths.lock.is_file():
            with contextlib.suppress(BenchmarkError), RunLock(paths.lock).claimed() as mine:  # they do no harm
                if mine:
                    tidy(paths)


def summarize(plan: Sequence[Run], folders: Folders) -> None:
    """Print the number of done, diverged, failed and open runs of a plan.

    Raises:
        RunError: some diverged (their records are kept), failed (with the last lines of their logs) or are open.
    """
    if not plan:  # an empty part of a study
        return
    lines, counts = list[str](), dict.fromkeys(("done", "diverged", "failed", "open"), 0)
    for run in plan:
        paths, name = RunPaths(run, folders), f"{run.arm} seed {run.seed}"
        now = status(run, paths)
        counts[now if now in counts else "open"] += 1
        if now == "diverged":
            lines.append(f"{name}: diverged, {read_record(paths.record)['reason']}")
        elif now == "failed":
            lines.append(f"{name}: failed, {failure(paths)}{log_tail(paths.log)}")
    print_line(f"{len(plan)} runs: " + ", ".join(f"{n} {outcome}" for outcome, n in counts.items() if n) + ".")
    if lines or counts["open"]:
        listed = "".join(f"\n  {line}" for line in lines)
        raise RunError(f"these runs did not end well:{listed}\n{LEFT_AS_THEY_ARE}" if lines else NOT_DONE)
