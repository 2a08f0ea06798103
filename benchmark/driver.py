"""The driver: takes a plan's runs one by one through train, evaluate and record."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark.checkpoints import load_checkpoint, save_checkpoint
from benchmark.cost import forward_flops, peak_memory, reset_peak_memory, training_flops
from benchmark.data import Data
from benchmark.environment import describe_environment
from benchmark.errors import RunError, UsageError
from benchmark.evaluate import clean_correct, evaluate, evaluated_split
from benchmark.plan import Run
from benchmark.progress import Progress, duration
from benchmark.records import (
    SCHEMA,
    Cost,
    DataInfo,
    EpochAccuracy,
    ModelInfo,
    Record,
    read_record,
    record_path,
    write_record,
)
from benchmark.train import DivergedError, State, order_hash, start, to_float, train_epoch


@dataclass(frozen=True)
class Places:
    """Folders: `results` for records, `runs` for checkpoints."""

    results: Path
    runs: Path


def pending(plan: Sequence[Run], places: Places, force: bool) -> list[Run]:
    """Return the runs that have no finished record yet.

    Args:
        force: forget what is there, records and checkpoints, and repeat every run.

    Raises:
        UsageError: a record was made with other settings; overwriting it silently would mix studies.
    """
    todo = []
    for run in plan:
        path = record_path(places.results, run.preset.name, run.arm, run.seed)
        if force:
            path.unlink(missing_ok=True)
            checkpoint_path(run, places).unlink(missing_ok=True)
        if not path.is_file():
            todo.append(run)
        elif (record := read_record(path))["settings_hash"] != run.identity:
            changes = "\n".join(f"  {line}" for line in differences(record["settings"], run.settings))
            raise UsageError(
                f"{path} was made with other settings (there -> now):\n{changes}\n"
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
    """Return where a run keeps its state."""
    return run.path(places.runs, ".pt")


def execute(runs: Sequence[Run], data: Data, places: Places, device: torch.device) -> list[Record]:
    """Train, evaluate and record runs one after the other; each record is written as soon as its run ends."""
    data = data.to(device)
    records, began = [], time.monotonic()
    for number, run in enumerate(runs, start=1):
        record = execute_run(run, data, places, device, number, len(runs))
        records.append(record)
        write_record(record_path(places.results, run.preset.name, run.arm, run.seed), record)
        left = (time.monotonic() - began) / number * (len(runs) - number)
        outcome = f"accuracy {record['last_epoch']['accuracy']:.2%}" if record["last_epoch"] else record["reason"]
        rest = f"; about {duration(left)} left for {len(runs) - number} runs" if number < len(runs) else ""
        print(
            f"[{number}/{len(runs)}] {run.arm} seed {run.seed}: {record['status']}, {outcome}{rest}",
            flush=True,
        )
    return records


def execute_run(run: Run, data: Data, places: Places, device: torch.device, number: int, total: int) -> Record:
    """Take one run from its last checkpoint, or its first step, to its record."""
    steps = len(data.train.labels) // run.preset.recipe.batch_size
    if steps == 0:
        raise UsageError(
            f"recipe.batch_size = {run.preset.recipe.batch_size} is larger than the {len(data.train.labels)} "
            f"training images of {data.name}; set it to at most that."
        )
    reset_peak_memory(device)
    state = start(run, data, device)
    with Progress(run, steps, number, total) as progress:
        if load_checkpoint(checkpoint_path(run, places), run.identity, state):
            progress.resume(len(state.epochs))
        try:
            train(run, state, data, places, progress)
        except DivergedError as diverged:
            return make_record(run, state, data, device, reason=str(diverged))
        record = make_record(run, state, data, device)
        evaluated = evaluate(run, state.model, data, progress.attacking)
    record["clean"], record["robustness"], record["flags"] = (
        evaluated.clean,
        evaluated.robustness,
        evaluated.flags,
    )
    record["cost"]["attack_seconds"] = round(evaluated.seconds, 3)
    record["cost"]["attack_gradients"] = sum(attack["gradients"] for attack in evaluated.robustness["attacks"])
    return record


def train(run: Run, state: State, data: Data, places: Places, progress: Progress) -> None:
    """Train the epochs that are left; measure accuracy and write a checkpoint after each."""
    while len(state.epochs) < run.preset.recipe.epochs:
        epoch = train_epoch(run, state, data.train, progress.step)
        correct = clean_correct(run.preset.recipe, state.model, evaluated_split(run, data))
        epoch["accuracy"] = int(correct.sum()) / len(correct)
        state.epochs.append(epoch)
        save_checkpoint(checkpoint_path(run, places), run.identity, state)
        progress.epoch(epoch)


def make_record(run: Run, state: State, data: Data, device: torch.device, reason: str | None = None) -> Record:
    """Return the record of a trained run, its evaluation still empty; `reason` says why it diverged."""
    epochs, analysis = state.epochs, run.preset.analysis.model_dump(mode="json")
    summaries = [EpochAccuracy(epoch=epoch["epoch"], accuracy=epoch["accuracy"]) for epoch in epochs]
    return Record(
        schema=SCHEMA,
        preset=run.preset.name,
        arm=run.arm,
        seed=run.seed,
        settings=run.settings,
        settings_hash=run.identity,
        analysis=analysis | {"title": run.preset.title, "seeds": list(run.preset.seeds)},
        weights_hash=state.weights_hash,
        order_hash=order_hash(run, len(data.train.labels)),
        data=DataInfo(
            name=data.name,
            fingerprint=data.fingerprint,
            classes=data.classes,
            train_images=len(data.train.labels),
            test_images=len(evaluated_split(run, data).labels),
            synthetic=data.synthetic,
        ),
        model=describe_model(run, state, data),
        epochs=epochs,
        last_epoch=summaries[-1] if summaries and reason is None else None,
        best_epoch=max(summaries, key=lambda summary: summary["accuracy"], default=None),
        clean=None,
        robustness=None,
        flags=[],
        cost=training_cost(run, state, data, device),
        environment=describe_environment(device),
        status="done" if reason is None else "diverged",
        reason=reason,
    )


def describe_model(run: Run, state: State, data: Data) -> ModelInfo:
    """Return name, size and forward FLOPs of the network."""
    parameters = sum(parameter.numel() for parameter in state.model.parameters())
    flops = forward_flops(state.model.eval(), to_float(data.train.images[:1]))
    return ModelInfo(name=run.preset.model.name, parameters=parameters, flops=flops)


def training_cost(run: Run, state: State, data: Data, device: torch.device) -> Cost:
    """Return what training spent so far; FLOPs are counted once per layer and multiplied by the samples."""
    batch = run.preset.recipe.batch_size
    images = len(state.epochs) * (len(data.train.labels) // batch) * batch
    image = to_float(data.train.images[:1])
    flops = images * training_flops(state.model, image)
    flops += sum(n * training_flops(state.model, image, layer) for layer, n in state.virtual.items())
    return Cost(
        train_seconds=round(sum(epoch["seconds"] for epoch in state.epochs), 3),
        attack_seconds=0.0,
        train_gradients=images + sum(state.virtual.values()),
        train_flops=flops,
        attack_gradients=0,
        peak_memory_bytes=peak_memory(device),
    )


def raise_if_diverged(plan: Sequence[Run], places: Places) -> None:
    """Raise RunError (exit code 1) naming the runs that diverged; their records are kept.

    Raises:
        RunError: at least one record says "diverged".
    """
    records = [read_record(record_path(places.results, run.preset.name, run.arm, run.seed)) for run in plan]
    diverged = [f"{r['arm']} seed {r['seed']}: {r['reason']}" for r in records if r["status"] == "diverged"]
    if diverged:
        listed = "\n  ".join(diverged)
        raise RunError(f"diverged, recorded as failures of their arm (`report` shows them as such):\n  {listed}")
