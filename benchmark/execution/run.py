"""One run, from its last checkpoint or its first step to its record."""

import contextlib
import functools
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from filelock import SoftFileLease

from benchmark.data.load import Data
from benchmark.data.streamed import Files
from benchmark.evaluation.evaluate import Surrogate, accuracy, evaluate, evaluated_split
from benchmark.evaluation.journal import Journal
from benchmark.execution.events import event_log
from benchmark.execution.lock import LostError, raise_if_lost
from benchmark.execution.log import log, mark_failed
from benchmark.execution.paths import Places, checkpoint_key, checkpoint_path, journal_path
from benchmark.execution.pending import Again, starts_anew
from benchmark.execution.preflight import steps_per_epoch
from benchmark.execution.progress import Progress
from benchmark.execution.record import add_evaluation, make_record
from benchmark.networks.build import state_hash
from benchmark.records.schema import Epoch, Record
from benchmark.records.store import record_path, write_record
from benchmark.runtime.distributed import ALONE, Group, is_lost
from benchmark.runtime.environment import answers
from benchmark.runtime.errors import BenchmarkError, RunError
from benchmark.runtime.files import remove_leftovers
from benchmark.runtime.memory import reset_peak_memory
from benchmark.runtime.signals import Stop, Stopped
from benchmark.settings.plan import Run
from benchmark.training.checkpoint import (
    fill,
    load_checkpoint,
    on_cpu,
    previous,
    remove_checkpoints,
    save_checkpoint,
    snapshot,
)
from benchmark.training.compile import compiles, warm_up
from benchmark.training.loop import DivergedError, raise_if_diverged, train_epoch
from benchmark.training.schedule import budget
from benchmark.training.state import State, start

NEXT = "This ends the job; the same command goes on with the other runs, --retry-failed with this one too."


@dataclass(frozen=True)
class Worker:
    """What a process works with: data, folders, device, when to stop, what to repeat, steps between checkpoints.

    `group` are the processes that train each run together with it.
    """

    data: Data
    places: Places
    device: torch.device
    stop: Stop
    again: Again
    checkpoint_steps: int
    group: Group = ALONE


def finish_run(run: Run, worker: Worker, lock: SoftFileLease, surrogate: Surrogate, label: str) -> str:
    """Take a run to its record, or note why it failed; return how it ended, for people."""
    places = worker.places
    say = functools.partial(log, run, places.runs)
    try:
        record = execute_run(run, worker, lock, surrogate, label)
        raise_if_lost(lock)
    except (BenchmarkError, BrokenPipeError):  # whoever reads what this prints is gone: that is no failure of the run
        raise
    except LostError as lost:
        if worker.group.size > 1:  # nobody can tell where in the run the other processes are
            raise RunError(f"{label}: {lost}. {NEXT}") from lost
        return str(lost)
    except Exception as error:  # whatever went wrong in one run, the others go on
        if worker.group.size > 1 and is_lost(error):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        details = mark_failed(run, places.runs, reason, traceback.format_exc())
        say(f"failed, {reason} (details: {details})")
        if worker.group.size > 1 or not answers(worker.device):  # the others are lost, or every later run would fail
            raise RunError(f"{label}: failed, {reason} (details: {details}). {NEXT}") from error
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
    state = start(run, data, device, worker.group)
    say = functools.partial(log, run, places.runs)
    with Progress(run, steps_per_epoch(run, data), label, say) as progress:
        found = load_checkpoint(path, key, state, progress.line)
        if found:
            steps = state.position.steps if state.position else 0
            progress.resume(len(state.epochs), steps, budget(run, state, data.train).share(state))
        else:
            say("starts")
        worker.group.share(on_cpu(snapshot(state)) if found else None)
        if compiles(run.preset.recipe, device, worker.group) and not is_over(run, state, data):
            progress.line(f"torch.compile took {warm_up(run, state, data.train):.0f} s, which count in no epoch")

        def save() -> None:
            raise_if_lost(lock)
            save_checkpoint(path, run, key, state)

        try:
            with event_log(run, places.events, len(state.epochs)) as events:

                def after_epoch(epoch: Epoch) -> None:
                    events(epoch)
                    progress.epoch(epoch, budget(run, state, data.train).share(state))

                train(run, state, worker, save, progress.step, after_epoch)
            record = make_record(run, state, data, device)
            journal = Journal(journal_path(run, places), f"{key} {state_hash(state.model)}")

            def attacking(text: str, share: float) -> None:
                worker.stop()
                progress.attacking(text, share)

            with worker.group.all_threads():
                evaluated = evaluate(run.preset, run.seed, state.model, data, surrogate, attacking, journal)
        except (DivergedError, FloatingPointError) as diverged:
            return make_record(run, state, data, device, reason=str(diverged))
    add_evaluation(record, evaluated._replace(seconds=evaluated.seconds + journal.resumed))
    return record


def take_part(run: Run, worker: Worker) -> None:
    """Train a run beside the first process of the group, which alone writes and evaluates."""
    state = start(run, worker.data, worker.device, worker.group)
    if (values := worker.group.share(dict[str, Any]())) is not None:
        fill(state, values)
    with contextlib.suppress(DivergedError, FloatingPointError):  # all processes see it, the first records it
        train(run, state, worker, lambda: None, lambda _steps: None, lambda _epoch: None)


def train(
    run: Run,
    state: State,
    worker: Worker,
    save: Callable[[], None],
    told_step: Callable[[int], None],
    told_epoch: Callable[[Epoch], None],
) -> None:
    """Train the epochs that are left, in all processes of the group.

    Args:
        run: what is trained.
        state: is changed in place.
        worker: gives the data, says when to stop.
        save: writes a checkpoint: after each epoch, every so many steps, and before stopping.
        told_step: is told the number of steps done in the epoch, after each.
        told_epoch: is told what is recorded of each epoch.

    Raises:
        DivergedError: a loss or a weight is not finite.
        Stopped: somebody asked one of the processes to stop; the state is saved.
    """
    data, stop = worker.data, worker.stop

    def after_step(steps: int) -> None:
        told_step(steps)
        asked = worker.group.any(stop.asked)
        if asked or steps % worker.checkpoint_steps == 0:
            raise_if_diverged(state)
            save()
        if asked:
            raise Stopped(stop.number or signal.SIGTERM)

    while not is_over(run, state, data):
        epoch = train_epoch(run, state, data.train, after_step)
        split = evaluated_split(run.preset, data)
        epoch["accuracy"] = accuracy(run.preset.recipe, state.model, split, worker.group)
        state.epochs.append(epoch)
        share_skipped(data, worker.group)
        save()
        told_epoch(epoch)


def is_over(run: Run, state: State, data: Data) -> bool:
    """Say whether nothing of the training is left, not even the end of an epoch."""
    return state.position is None and budget(run, state, data.train).is_spent(state)


def share_skipped(data: Data, group: Group) -> None:
    """Let every process know the damaged files that any of them has met.

    Raises:
        DataError: together they are more than may be skipped.
    """
    if isinstance(data.train, Files) and data.train.skipped is not None:
        for met in group.gather(dict(data.train.skipped.files)):
            data.train.skipped.add(data.train.folder, met.items())
