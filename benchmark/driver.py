"""The driver: takes a plan's runs one by one through train, evaluate and record; several drivers may share a plan."""

import functools
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from filelock import SoftFileLease

from benchmark.assemble import add_evaluation, make_record
from benchmark.checkpoints import load_checkpoint, previous, remove_checkpoints, save_checkpoint
from benchmark.data import Data
from benchmark.errors import BenchmarkError, RunError
from benchmark.evaluate import Surrogate, accuracy, evaluate, evaluated_split
from benchmark.events import event_log
from benchmark.files import remove_leftovers
from benchmark.journal import Journal
from benchmark.locks import LostError, claimed, lock_path, make_lock, raise_if_lost
from benchmark.logs import failure, log, mark_failed, tail
from benchmark.memory import reset_peak_memory
from benchmark.models import state_hash
from benchmark.pending import Again, is_pending, starts_anew
from benchmark.places import Places, checkpoint_key, checkpoint_path, journal_path
from benchmark.plan import Run
from benchmark.progress import Progress, duration, print_line
from benchmark.records import read_record, record_path, write_record
from benchmark.refusals import refuse_early, refuse_foreign, steps_per_epoch
from benchmark.schema import Record
from benchmark.state import State, start
from benchmark.stopping import Stop
from benchmark.surrogate import train_surrogate
from benchmark.train import DivergedError, budget, raise_if_diverged, train_epoch

POLL = 1.0  # seconds between looks at runs that others are at
NOT_DONE = "not all runs are done; the same command goes on with them."


@dataclass(frozen=True)
class Worker:
    """What a process works with: data, folders, device, when to stop, what to repeat, steps between checkpoints."""

    data: Data
    places: Places
    device: torch.device
    stop: Stop
    again: Again
    checkpoint_steps: int


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
    refuse_before(runs, worker)
    worker = replace(worker, data=worker.data.to(worker.device))
    surrogate = functools.cache(lambda: train_surrogate(runs[0].preset, worker.data, worker.device))  # one for all
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
        UsageError: see `benchmark.refusals`.
    """
    refuse_early(runs, worker.data.to(worker.device), worker.device)
    if worker.again.what != "all":
        refuse_foreign(runs, worker.data, worker.places, worker.device)


def finish_run(run: Run, worker: Worker, lock: SoftFileLease, surrogate: Surrogate, label: str) -> str:
    """Take a run to its record, or note why it failed; return how it ended, for people."""
    places = worker.places
    say = functools.partial(log, run, places.runs)
    try:
        record = execute_run(run, worker, lock, surrogate, label)
        raise_if_lost(lock)
    except BenchmarkError:
        raise
    except LostError as lost:
        return str(lost)
    except Exception as error:  # whatever went wrong in one run, the others go on
        reason = str(error).partition("\n")[0] or type(error).__name__
        details = mark_failed(run, places.runs, reason, traceback.format_exc())
        say(f"failed, {reason} (details: {details})")
        return f"failed, {reason}"
    write_record(record_path(places.results, run.preset.name, run.arm, run.seed), record)
    tidy(run, places)
    outcome = f"accuracy {record['last_epoch']['accuracy']:.2%}" if record["last_epoch"] else record["reason"]
    say(f"{record['status']}, {outcome}")
    return f"{record['status']}, {outcome}"


def tidy(run: Run, places: Places) -> None:
    """Remove what a run that has a record needs no more; the last checkpoint stays, for `evaluate`."""
    journal_path(run, places).unlink(missing_ok=True)
    previous(checkpoint_path(run, places)).unlink(missing_ok=True)
    remove_leftovers(checkpoint_path(run, places))
    remove_leftovers(record_path(places.results, run.preset.name, run.arm, run.seed))


def execute_run(run: Run, worker: Worker, lock: SoftFileLease, surrogate: Surrogate, label: str) -> Record:
    """Take one run from its last checkpoint, or its first step, to its record."""
    data, places, device = worker.data, worker.places, worker.device
    path, key = checkpoint_path(run, places), checkpoint_key(run, data, device)
    if starts_anew(run, places, worker.again):
        remove_checkpoints(path)
        journal_path(run, places).unlink(missing_ok=True)
    reset_peak_memory(device)
    state = start(run, data, device)
    say = functools.partial(log, run, places.runs)
    with Progress(run, steps_per_epoch(run, data), label, say) as progress:
        if load_checkpoint(path, key, state, progress.line):
            steps = state.position.steps if state.position else 0
            progress.resume(len(state.epochs), steps, budget(run, state, data.train).share(state))
        else:
            say("starts")
        try:
            train(run, state, worker, lock, progress)
            record = make_record(run, state, data, device)
            journal = Journal(journal_path(run, places), f"{key} {state_hash(state.model)}")

            def attacking(text: str, share: float) -> None:
                worker.stop()
                progress.attacking(text, share)

            evaluated = evaluate(run.preset, run.seed, state.model, data, surrogate, attacking, journal)
        except (DivergedError, FloatingPointError) as diverged:
            return make_record(run, state, data, device, reason=str(diverged))
    add_evaluation(record, evaluated._replace(seconds=evaluated.seconds + journal.resumed))
    return record


def train(run: Run, state: State, worker: Worker, lock: SoftFileLease, progress: Progress) -> None:
    """Train the epochs that are left; write a checkpoint after each, every so many steps, and before stopping."""
    data, path = worker.data, checkpoint_path(run, worker.places)
    key, allowed = checkpoint_key(run, data, worker.device), budget(run, state, data.train)

    def save() -> None:
        raise_if_lost(lock)
        save_checkpoint(path, run, key, state)

    def after_step(steps: int) -> None:
        progress.step(steps)
        if worker.stop.asked or steps % worker.checkpoint_steps == 0:
            raise_if_diverged(state)
            save()
        worker.stop()

    with event_log(run, worker.places.events, len(state.epochs)) as events:
        while state.position is not None or not allowed.is_spent(state):  # perhaps only an epoch's end is left
            epoch = train_epoch(run, state, data.train, after_step)
            epoch["accuracy"] = accuracy(run.preset.recipe, state.model, evaluated_split(run.preset, data))
            state.epochs.append(epoch)
            save()
            events(epoch)
            progress.epoch(epoch, allowed.share(state))


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
