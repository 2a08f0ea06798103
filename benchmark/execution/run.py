"""One run, from its last checkpoint or its first step to its record."""

import contextlib
import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmark.data.load import Data
from benchmark.evaluation.evaluate import accuracy, evaluate, evaluated_split
from benchmark.evaluation.journal import Journal
from benchmark.evaluation.sanity_checks import Surrogate
from benchmark.execution.files import Folders, RunPaths, begin, mark_failed, tidy
from benchmark.execution.lock import LostError, RunLock
from benchmark.execution.preflight import steps_per_epoch
from benchmark.execution.progress import Log, Progress, TensorBoard
from benchmark.execution.record import add_evaluation, make_record
from benchmark.networks.build import state_hash
from benchmark.records.schema import Record
from benchmark.records.store import write_record
from benchmark.runtime.distributed import ALONE, Group, is_lost
from benchmark.runtime.environment import answers
from benchmark.runtime.errors import BenchmarkError, RunError
from benchmark.runtime.memory import reset_peak_memory
from benchmark.runtime.signals import Stop, Stopped
from benchmark.settings.plan import Run
from benchmark.training.checkpoint import checkpoint_key, fill, load_checkpoint, on_cpu, save_checkpoint, snapshot
from benchmark.training.compile import compiles, warm_up
from benchmark.training.loop import Callback, DivergedError, raise_if_diverged, train_epoch
from benchmark.training.schedule import budget
from benchmark.training.state import State, start

NEXT = "This ends the job; the same command goes on with the other runs, --retry-failed with this one too."


@dataclass(frozen=True)
class Worker:
    """The resources of one process; `group` are the processes that train each run together with it."""

    data: Data
    folders: Folders
    device: torch.device
    stop: Stop
    checkpoint_steps: int
    group: Group = ALONE


class Attempt:
    """One start of a run by a worker that holds its lock.

    Args:
        run: the run.
        worker: the process.
        lock: of the run.
        label: of the run in the output.
    """

    def __init__(self, run: Run, worker: Worker, lock: RunLock, label: str) -> None:
        self.run, self.worker, self.lock, self.label = run, worker, lock, label
        self.paths = RunPaths(run, worker.folders)
        self.log = Log(self.paths.log)

    def check(self) -> None:
        """Raise LostError if another worker holds the lock or has written the record; called before each write."""
        if not self.lock.holds():
            raise LostError("its lock was lost, as after a pause; another worker may have taken the run over")
        if self.paths.record.is_file() and not self.paths.repeat.is_file():
            raise LostError("another worker has finished it")


def finish_run(attempt: Attempt, surrogate: Surrogate) -> str:
    """Compute a run and write its record, or write why it failed; return the outcome as text."""
    paths, group, label = attempt.paths, attempt.worker.group, attempt.label
    try:
        record = execute_run(attempt, surrogate)
        write_record(paths.record, record, attempt.check)
    except BenchmarkError:
        raise
    except LostError as lost:
        if group.size > 1:  # the other processes may be anywhere in the run
            raise RunError(f"{label}: {lost}. {NEXT}") from lost
        return str(lost)
    except Exception as error:  # the other runs go on
        if group.size > 1 and is_lost(error):
            raise
        return _failed(attempt, error)
    paths.repeat.unlink(missing_ok=True)
    tidy(paths)
    outcome = f"accuracy {record['last_epoch']['accuracy']:.2%}" if record["last_epoch"] else record["reason"]
    attempt.log(f"{record['status']}, {outcome}")
    return f"{record['status']}, {outcome}"


def _failed(attempt: Attempt, error: Exception) -> str:
    """Write why a run failed and return it as text.

    Raises:
        RunError: other processes train the run too, and cannot go on; or the device no longer works.
    """
    reason = str(error).partition("\n")[0] or type(error).__name__
    try:
        attempt.check()
        mark_failed(attempt.paths, reason, traceback.format_exc())
    except LostError as lost:
        return str(lost)
    attempt.log(f"failed, {reason} (details: {attempt.paths.trace})")
    if attempt.worker.group.size > 1 or not answers(attempt.worker.device):
        raise RunError(f"{attempt.label}: failed, {reason} (details: {attempt.paths.trace}). {NEXT}") from error
    return f"failed, {reason}"


def execute_run(attempt: Attempt, surrogate: Surrogate) -> Record:
    """Train a run from its last checkpoint, or its first step, evaluate it and return its record."""
    run, worker, paths = attempt.run, attempt.worker, attempt.paths
    data, device = worker.data, worker.device
    key = checkpoint_key(run, data, device)
    begin(paths)
    reset_peak_memory(device)
    state = start(run, data, device, worker.group)
    with contextlib.ExitStack() as shown:
        progress = Progress(run, steps_per_epoch(run, data), attempt.label, attempt.log)
        shown.callback(progress.bar.close)
        _resume(attempt, state, key, progress)
        saving = Checkpoints(state, worker, lambda: save_checkpoint(paths.checkpoint, run, key, state, attempt.check))
        callbacks: list[Callback] = [saving, progress]
        if paths.events:
            events = TensorBoard(paths.events, len(state.epochs))
            shown.callback(events.close)
            callbacks.insert(1, events)
        try:
            _train(run, state, worker, callbacks)
            record = make_record(run, state, data, device)
            journal = Journal(paths.journal, f"{key} {state_hash(state.model)}", attempt.check)

            def attacking(text: str, share: float) -> None:
                worker.stop()
                progress.attacking(text, share)

            with worker.group.all_threads(), worker.stop.gently(False):  # a step of an attack may take minutes
                evaluated = evaluate(run.preset, run.seed, state.model, data, surrogate, attacking, journal)
        except (DivergedError, FloatingPointError) as diverged:
            return make_record(run, state, data, device, reason=str(diverged))
    add_evaluation(record, evaluated._replace(seconds=evaluated.seconds + journal.resumed))
    return record


def _resume(attempt: Attempt, state: State, key: str, progress: Progress) -> None:
    """Load the run's checkpoint, if there is one, into the state of all processes; compile the network."""
    run, worker = attempt.run, attempt.worker
    data, group = worker.data, worker.group
    found = load_checkpoint(attempt.paths.checkpoint, run, key, state, progress.line)
    if found:
        steps = state.position.steps if state.position else 0
        progress.resume(len(state.epochs), steps, budget(run, state, data.train).share(state))
    else:
        attempt.log("starts")
    group.share(on_cpu(snapshot(state)) if found else None)
    if compiles(run.preset.recipe, worker.device, group) and not _is_over(run, state, data):
        progress.line(f"torch.compile took {warm_up(run, state, data.train):.0f} s, which count in no epoch")


def take_part(run: Run, worker: Worker) -> None:
    """Train a run beside the first process of the group, which alone writes and evaluates."""
    state = start(run, worker.data, worker.device, worker.group)
    if (values := worker.group.share(dict[str, Any]())) is not None:
        fill(state, values)
    with contextlib.suppress(DivergedError, FloatingPointError):  # raised in all processes; the first records it
        _train(run, state, worker, [Checkpoints(state, worker, lambda: None)])


class Checkpoints(Callback):
    """Saves the state after each epoch, every N steps, and before stopping, at once in all processes of a group.

    Args:
        state: of the run.
        worker: has N and the request to stop.
        save: writes a checkpoint.
    """

    def __init__(self, state: State, worker: Worker, save: Callable[[], None]) -> None:
        self.state, self.worker, self.save = state, worker, save

    def on_step(self, steps: int) -> None:
        """Save every N steps, and stop if any of the processes was asked to.

        Raises:
            DivergedError: a loss or a weight is not finite.
            Stopped: a stop was asked for; the state is saved.
        """
        stop = self.worker.stop
        asked = self.worker.group.any(stop.asked)
        if asked or steps % self.worker.checkpoint_steps == 0:
            raise_if_diverged(self.state)
            self.save()
        if asked:
            raise Stopped(stop.number or signal.SIGTERM)

    def on_epoch(self, _epoch: Any, _share: float) -> None:
        """Save the state."""
        self.save()


def _train(run: Run, state: State, worker: Worker, callbacks: Sequence[Callback]) -> None:
    """Train the remaining epochs, in all processes of the group; errors: see `Checkpoints`."""
    data = worker.data
    while not _is_over(run, state, data):
        epoch = train_epoch(run, state, data.train, callbacks)
        split = evaluated_split(run.preset, data)
        epoch["accuracy"] = accuracy(run.preset.recipe, state.model, split, worker.group)
        state.epochs.append(epoch)
        for damaged in worker.group.gather(dict(data.train.damaged)):
            data.train.add_damaged(damaged)
        for callback in callbacks:
            callback.on_epoch(epoch, budget(run, state, data.train).share(state))


def _is_over(run: Run, state: State, data: Data) -> bool:
    return state.position is None and budget(run, state, data.train).is_spent(state)
