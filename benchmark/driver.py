"""The driver: takes a plan's runs one by one through train, evaluate and record."""

import functools
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark.assemble import add_evaluation, analysis_of, make_record
from benchmark.checkpoints import load_checkpoint, save_checkpoint
from benchmark.consistency import named
from benchmark.data import Data
from benchmark.errors import BenchmarkError, RunError, UsageError
from benchmark.evaluate import Surrogate, accuracy, attacked_images, evaluate, evaluated_split
from benchmark.events import event_log
from benchmark.joint import refuse_too_few_classes
from benchmark.memory import reset_peak_memory
from benchmark.plan import Run
from benchmark.progress import Progress, duration
from benchmark.records import read_record, read_study, record_path, write_record
from benchmark.schema import Record
from benchmark.surrogate import train_surrogate
from benchmark.train import DivergedError, State, budget, start, to_float, train_epoch, train_step

TRIAL_IMAGES, TRIAL_STEPS = 4, 12


@dataclass(frozen=True)
class Places:
    """Folders: `results` for records, `runs` for checkpoints, `events` for TensorBoard's files, if they are wanted."""

    results: Path
    runs: Path
    events: Path | None = None


def pending(plan: Sequence[Run], places: Places, force: bool) -> list[Run]:
    """Return the runs that have no finished record yet.

    Args:
        force: every run is to be repeated, whatever is there.

    Raises:
        UsageError: a record was made with other settings; overwriting it silently would mix studies.
    """
    todo = []
    for run in plan:
        path = record_path(places.results, run.preset.name, run.arm, run.seed)
        if force or not path.is_file():
            todo.append(run)
        elif (record := read_record(path))["settings_hash"] != run.identity:
            changes = "\n".join(f"  {line}" for line in differences(record["settings"], run.settings))
            raise UsageError(
                f"{path} was made with other settings (there -> now; numerics: the code's own version):\n{changes}\n"
                "Choose another folder with --results DIR, or repeat the runs with --force."
            )
    return todo


def differences(old: object, new: object, key: str = "") -> list[str]:
    """Return "key: old -> new" for every value in which two nested dictionaries differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(k for k in new if k not in old)]
        return [line for k in keys for line in differences(old.get(k), new.get(k), f"{key}.{k}".lstrip("."))]
    return [] if old == new else [f"{key}: {old!r} -> {new!r}"]


def checkpoint_path(run: Run, places: Places) -> Path:
    """Return where a run keeps its state; other settings keep theirs in another file."""
    return run.path(places.runs, f"-{run.identity}.pt")


def checkpoint_key(run: Run, data: Data, device: torch.device) -> str:
    """Return what a checkpoint must share with a run to be gone on from: settings, data, torch, kind of device."""
    return f"{run.identity} {data.fingerprint} {torch.__version__} {device.type}"


def execute(runs: Sequence[Run], data: Data, places: Places, device: torch.device, force: bool = False) -> list[str]:
    """Train, evaluate and record runs one after the other; each record is written as soon as its run ends.

    Args:
        force: start each run anew, without its checkpoint; its old record stays until the new one replaces it.

    Returns:
        One line for each run that failed; the others went on.

    Raises:
        BenchmarkError: something the user must mend first, such as a full disk.
    """
    data = data.to(device)
    refuse_early(runs, data, device)
    if not force:
        refuse_foreign(runs, data, places, device)
    surrogate = functools.cache(lambda: train_surrogate(runs[0].preset, data, device))  # one for all runs
    failed, began = [], time.monotonic()
    for number, run in enumerate(runs, start=1):
        name = f"[{number}/{len(runs)}] {run.arm} seed {run.seed}"
        if force:
            checkpoint_path(run, places).unlink(missing_ok=True)
        try:
            record = execute_run(run, data, places, device, surrogate, number, len(runs))
        except BenchmarkError:
            raise
        except Exception as error:  # whatever went wrong in one run, the others go on
            failed.append(f"{run.arm} seed {run.seed}: failed, {error} (details: {log_failure(run, places)})")
            print(f"{name}: failed, {error}", flush=True)
            continue
        write_record(record_path(places.results, run.preset.name, run.arm, run.seed), record)
        left = (time.monotonic() - began) / number * (len(runs) - number)
        outcome = f"accuracy {record['last_epoch']['accuracy']:.2%}" if record["last_epoch"] else record["reason"]
        rest = f"; about {duration(left)} left, {len(runs) - number} to go" if number < len(runs) else ""
        print(f"{name}: {record['status']}, {outcome}{rest}", flush=True)
    return failed


def log_failure(run: Run, places: Places) -> Path:
    """Write the traceback of the exception being handled beside the run's checkpoint; return the file."""
    path = run.path(places.runs, ".error.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(traceback.format_exc(), encoding="utf-8")
    return path


def refuse_early(runs: Sequence[Run], data: Data, device: torch.device) -> None:
    """Find what would stop a run after hours, before the first one: one trial of each arm.

    Raises:
        UsageError: a batch larger than the data, more attacked images than there are, fewer classes than an attack
            needs, a network that does not take the images, a method that does not fit the network.
    """
    for run in {run.arm: run for run in runs}.values():
        attacked_images(run.preset, evaluated_split(run.preset, data))
        steps_per_epoch(run, data)
        refuse_too_few_classes(run.preset.evaluation, data.classes)
        state = start(run, data, device)
        images, labels = to_float(data.train.images[:TRIAL_IMAGES]), data.train.labels[:TRIAL_IMAGES]
        for _ in range(TRIAL_STEPS):  # enough that a method which acts at random acts
            train_step(run, state, images, labels)


def refuse_foreign(runs: Sequence[Run], data: Data, places: Places, device: torch.device) -> None:
    """Refuse to add runs to records that they could not be compared with, before anything is trained.

    Raises:
        UsageError: data, torch version, kind of device, or what was named beforehand differ.
    """
    run = runs[0]
    here = {
        "data": data.fingerprint,
        "torch": ".".join(torch.__version__.split(".")[:2]),
        "device": device.type,
        "analysis": analysis_of(run),
    }
    for record in read_study(places.results, run.preset.name):
        environment = record["environment"]
        there = {
            "data": record["data"]["fingerprint"],
            "torch": ".".join(environment["torch"].split(".")[:2]),
            "device": environment["device"],
            "analysis": named(record),
        }
        if changes := differences(there, here):
            listed = "\n".join(f"  {line}" for line in changes)
            raise UsageError(
                f"the records in {places.results / run.preset.name} were made under other conditions (there -> now):\n"
                f"{listed}\nChoose another folder with --results DIR, or repeat all runs with --force."
            )


def steps_per_epoch(run: Run, data: Data) -> int:
    """Return the whole batches in an epoch.

    Raises:
        UsageError: there is none.
    """
    batch, images = run.preset.recipe.batch_size, len(data.train.labels)
    if batch > images:
        raise UsageError(
            f"recipe.batch_size = {batch} is larger than the {images} training images of {data.name}; "
            "set it to at most that."
        )
    return images // batch


def execute_run(
    run: Run, data: Data, places: Places, device: torch.device, surrogate: Surrogate, number: int, total: int
) -> Record:
    """Take one run from its last checkpoint, or its first step, to its record."""
    reset_peak_memory(device)
    state = start(run, data, device)
    with Progress(run, steps_per_epoch(run, data), number, total) as progress:
        if load_checkpoint(checkpoint_path(run, places), checkpoint_key(run, data, device), state):
            progress.resume(len(state.epochs), budget(run, state, data.train).share(state))
        try:
            train(run, state, data, places, progress, checkpoint_key(run, data, device))
            record = make_record(run, state, data, device)
            evaluated = evaluate(run.preset, run.seed, state.model, data, surrogate, progress.attacking)
        except (DivergedError, FloatingPointError) as diverged:
            return make_record(run, state, data, device, reason=str(diverged))
    add_evaluation(record, evaluated)
    return record


def train(run: Run, state: State, data: Data, places: Places, progress: Progress, key: str) -> None:
    """Train the epochs that are left; measure accuracy and write a checkpoint after each."""
    allowed = budget(run, state, data.train)
    with event_log(run, places.events, len(state.epochs)) as log:
        while not allowed.is_spent(state):
            epoch = train_epoch(run, state, data.train, progress.step)
            epoch["accuracy"] = accuracy(run.preset.recipe, state.model, evaluated_split(run.preset, data))
            state.epochs.append(epoch)
            save_checkpoint(checkpoint_path(run, places), run, key, state)
            log(epoch)
            progress.epoch(epoch, allowed.share(state))


def raise_if_unfinished(plan: Sequence[Run], places: Places, failed: Sequence[str]) -> None:
    """Raise RunError (exit code 1) that names the runs that failed or diverged; records of the latter are kept.

    Raises:
        RunError: there is one.
    """
    paths = [record_path(places.results, run.preset.name, run.arm, run.seed) for run in plan]
    records = [read_record(path) for path in paths if path.is_file()]
    lines = [f"{r['arm']} seed {r['seed']}: diverged, {r['reason']}" for r in records if r["status"] == "diverged"]
    lines += failed
    if lines:
        listed = "\n  ".join(lines)
        raise RunError(
            f"these runs did not end well; the report shows diverged runs as failures of their arm:\n  {listed}"
        )
