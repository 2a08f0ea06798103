"""The driver: takes a plan's runs one by one through train, evaluate and record; several drivers may share a plan."""

import functools
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace

from benchmark.execution.lock import claimed, lock_path, make_lock
from benchmark.execution.log import failure, tail
from benchmark.execution.paths import Places
from benchmark.execution.pending import is_pending
from benchmark.execution.preflight import refuse_early, refuse_foreign, refuse_indivisible
from benchmark.execution.run import NEXT, Worker, finish_run, take_part, tidy
from benchmark.records.store import read_record, record_path
from benchmark.runtime.console import duration, print_line
from benchmark.runtime.distributed import is_lost
from benchmark.runtime.errors import BenchmarkError, RunError
from benchmark.settings.plan import Run
from benchmark.training.surrogate import train_surrogate

POLL = 1.0  # seconds between looks at runs that others are at
NOT_DONE = "not all runs are done; the same command goes on with them."


def execute(runs: Sequence[Run], worker: Worker) -> None:
    """Train, evaluate and record runs one after the other; each record is written as soon as its run ends.

    A run that fails is marked and the others go on. Runs that another worker is at are waited for, so that they can be
    taken over if it dies.

    Raises:
        BenchmarkError: something the user must mend first, such as a full disk.
        Stopped: somebody asked to stop; the state is saved.
    """
    if not runs:
        return
    worker.group.agree(lambda: refuse_before(runs, worker))
    worker = replace(worker, data=worker.data.to(worker.device))
    if worker.group.leads:
        lead(runs, worker)
        worker.group.share(None)
    else:
        follow(runs, worker)


def follow(runs: Sequence[Run], worker: Worker) -> None:
    """Take part in the training of each run that the first process of the group names.

    Raises:
        RunError: something failed in this process; the first one can only tell that it is gone.
    """
    try:
        with worker.stop.gently():
            while (number := worker.group.share(0)) is not None:
                take_part(runs[number], worker)
    except BenchmarkError:
        raise
    except Exception as error:
        worker.stop()  # the first process is gone, perhaps by the signal that came here as well
        if is_lost(error):
            raise
        traceback.print_exc()
        raise RunError(f"process {worker.group.rank}: {str(error) or type(error).__name__}. {NEXT}") from error


def lead(runs: Sequence[Run], worker: Worker) -> None:
    """Take the runs that no other worker is at to their records, one after the other, until none is left."""
    train = functools.partial(train_surrogate, runs[0].preset, worker.data, worker.device, worker.stop)
    surrogate = functools.cache(train)  # one for all
    waiting = [(make_lock(run, worker.places.results), run) for run in runs]
    began, waited = time.monotonic(), False
    with worker.stop.gently():
        while waiting := [(lock, run) for lock, run in waiting if is_pending(run, worker.places, worker.again)]:
            for lock, run in waiting:
                worker.stop()
                with claimed(lock) as mine:
                    if not mine or not is_pending(run, worker.places, worker.again):
                        continue
                    number, left = len(runs) - len(waiting) + 1, len(waiting) - 1
                    label = f"[{number}/{len(runs)}] {run.arm} seed {run.seed}"
                    worker.group.share(runs.index(run))
                    outcome = finish_run(run, worker, lock, surrogate, label)
                rest = duration((time.monotonic() - began) / number * left)
                print_line(f"{label}: {outcome}" + (f"; about {rest} left, {left} to go" if left else ""))
                break
            else:
                if not waited:
                    print_line(f"Waiting for {len(waiting)} runs that other workers are at.")
                waited = True
                time.sleep(POLL)


def refuse_before(runs: Sequence[Run], worker: Worker) -> None:
    """Refuse, before the first run, what would stop one of them late or could not stand beside the records there.

    Raises:
        UsageError: see `benchmark.execution.preflight`.
    """
    refuse_indivisible(runs[0].preset.recipe, worker.group.size)
    refuse_early(runs, worker.data.to(worker.device), worker.device)
    if worker.again.what != "all":
        refuse_foreign(runs, worker.data, worker.places, worker.device, worker.group)


def tidy_after_kills(plan: Sequence[Run], places: Places) -> None:
    """Tidy up after workers that were killed when their run's record was written and its lock not yet given back."""
    for run in plan:
        recorded = record_path(places.results, run.preset.name, run.arm, run.seed).is_file()
        if recorded and lock_path(run, places.results).is_file():
            with claimed(make_lock(run, places.results)) as mine:
                if mine:
                    tidy(run, places)


def summarize(plan: Sequence[Run], places: Places) -> None:
    """Print how many runs of a plan are done, diverged, failed or open; raise where not all ended well.

    Raises:
        RunError: some diverged (their records are kept) or failed (with the last lines of their logs) or are open.
    """
    lines, counts = list[str](), dict.fromkeys(("done", "diverged", "failed", "open"), 0)
    for run in plan:
        path, name = record_path(places.results, run.preset.name, run.arm, run.seed), f"{run.arm} seed {run.seed}"
        reason = failure(run, places.runs)
        if path.is_file():
            record = read_record(path)
            counts[record["status"]] += 1
            lines += [f"{name}: diverged, {record['reason']}"] if record["status"] == "diverged" else []
        else:
            counts["open" if reason is None else "failed"] += 1
        if reason is not None:
            lines.append(f"{name}: failed, {reason}{tail(run, places.runs)}")
    print_line(f"{len(plan)} runs: " + ", ".join(f"{n} {what}" for what, n in counts.items() if n) + ".")
    if lines or counts["open"]:
        hint = (
            "the report shows diverged runs as failures of their arm; --retry-failed repeats them and those that failed"
        )
        listed = "".join(f"\n  {line}" for line in lines)
        raise RunError(f"these runs did not end well ({hint}):{listed}" if lines else NOT_DONE)
