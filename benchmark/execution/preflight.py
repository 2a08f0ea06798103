"""Checks before the first run, for errors that would end a study after hours or make its records incomparable."""

import dataclasses
import functools
import io
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmark.data.load import Data, to_float
from benchmark.evaluation.attacks import FrozenModel
from benchmark.evaluation.evaluate import attacked_images, evaluated_split
from benchmark.evaluation.image_draws import isolated_generators
from benchmark.evaluation.joint import suite_checks
from benchmark.execution.files import REPEAT, Folders
from benchmark.execution.record import analysis_of
from benchmark.networks.build import build_model, count_parameters
from benchmark.networks.checks import refuse_other_logits
from benchmark.records.consistency import binding, differences, named
from benchmark.records.schema import Record
from benchmark.records.store import read_record, record_files
from benchmark.runtime.distributed import Group
from benchmark.runtime.errors import UsageError, nearest, own_words, refuse_together, shorten
from benchmark.settings.methods import methods
from benchmark.settings.plan import Run
from benchmark.settings.preset import Recipe
from benchmark.training.checkpoint import fill, snapshot
from benchmark.training.compile import compiles
from benchmark.training.loop import train_step
from benchmark.training.state import State, start

TRIAL_IMAGES, TRIAL_STEPS = 4, 12
NEW_SEEDS = (
    "\nSeeds that are added to known results are chosen by them: to decide what these left open, name other seeds in a "
    "preset of another name, and let those alone decide."
)


def refuse_early(runs: Sequence[Run], data: Data, device: torch.device) -> None:
    """Compare settings with the data, try each attack, and take some training steps of each kind of arm (`_kind`).

    Raises:
        UsageError: all of these at once: a batch larger than the data, more attacked images than there are, fewer
            classes than an attack needs, a row of `ATTACKS` or `SANITY_CHECKS` that does not work; or a network that
            does not take the images, a method that does not fit the network or keep its contract.
    """
    preset = runs[0].preset
    few = data.train.pick(range(min(TRIAL_IMAGES, len(data.train.labels))), device)
    images, labels = to_float(few.images), few.labels
    attacked = images.contiguous()  # as in the evaluation
    trial = functools.cache(lambda: (FrozenModel(start(runs[0], data, device).model, len(images)), attacked))
    checks = [
        lambda: attacked_images(preset, evaluated_split(preset, data)),
        lambda: steps_per_epoch(runs[0], data),
        *suite_checks(preset.evaluation, data.classes, trial),
    ]
    refuse_together(f"preset {preset.name} cannot be run on {data.name}", checks)
    for run in {_kind(run): run for run in runs}.values():
        state = start(run, data, device)
        with isolated_generators():
            draws = _try_network(run, state, images, data.classes)
            _try_method(run, state, images, labels, draws)
            _try_checkpoint(run, state)


def _try_network(run: Run, state: State, images: Tensor, classes: int) -> bool:
    """Return whether the network draws from torch's global generator in training mode, as for dropout.

    Raises:
        UsageError: there it fails on images (N, C, H, W), or returns something else than their logits.
    """
    who, before = f"network {run.preset.model.name!r} in training mode", _global_generators(images.device)
    with own_words(UsageError, f"{who} fails"):
        refuse_other_logits(who, state.model(images), len(images), classes)
    return not before.equal(_global_generators(images.device))


def _try_method(run: Run, state: State, images: Tensor, labels: Tensor, network_draws: bool) -> None:
    """Take a few steps on images (N, C, H, W), enough for methods that act at random.

    Raises:
        UsageError: the method fails, returns no `Step`, names no layer, or draws from torch's global generator, whose
            state no checkpoint has; this cannot be seen in a network that draws itself.
    """
    name = run.preset.arms[run.arm].method
    method = f"arm {run.arm}: method {name!r} ({methods()[name].target})"
    layers, before = {"input", *dict(state.model.named_modules())} - {""}, _global_generators(images.device)
    with own_words(UsageError, f"{method} fails on {len(images)} training images"):
        for _ in range(TRIAL_STEPS):
            for step in train_step(run, state, images, labels):
                if step.layer and step.layer not in layers:
                    raise UsageError(f"{method} names the layer {step.layer!r}; {nearest(step.layer, layers)}")
    if not network_draws and not before.equal(_global_generators(images.device)):
        raise UsageError(
            f"{method} draws from torch's global generator, so that a resumed run would be another. Draw from the "
            "generator that it is given: torch.randn(..., generator=generator)."
        )


def _try_checkpoint(run: Run, state: State) -> None:
    """Save the state and load it again, as a checkpoint, which holds tensors and plain values alone.

    Raises:
        UsageError: the network or the method keeps something else, or cannot load what it saved.
    """
    who = f"the state of network {run.preset.model.name!r} or method {run.preset.arms[run.arm].method!r}"
    file = io.BytesIO()
    with own_words(UsageError, f"arm {run.arm}: {who} cannot be saved in a checkpoint and loaded"):
        torch.save(snapshot(state), file)
        file.seek(0)
        try:
            values = torch.load(file, weights_only=True)
        except pickle.UnpicklingError as error:
            raise UsageError(
                f"arm {run.arm}: {who} has something else than tensors and plain values, so that no checkpoint could "
                "be loaded: leave arrays and numbers of NumPy and objects of own classes out of its state_dict."
            ) from error
        fill(state, values)


def _global_generators(device: torch.device) -> Tensor:
    """Return the states of torch's global generators, of the CPU and of the device, one behind the other."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return torch.cat(states)


def _kind(run: Run) -> str:
    """Return the method and those settings that decide whether it fits the network.

    Of a real number, which is an amount, only whether it is above 0, so that a search with a hundred arms needs only a
    few trials.
    """
    given = dataclasses.asdict(run.method)
    settings = {key: value > 0 if isinstance(value, float) else value for key, value in given.items()}
    return f"{run.preset.arms[run.arm].method} {settings}"


def refuse_indivisible(recipe: Recipe, processes: int) -> None:
    """Raise UsageError for a global batch that is no multiple of processes times parts of gradient accumulation."""
    batch, parts = recipe.batch_size, recipe.accumulate
    if batch % (parts * processes) == 0:
        return
    if batch % parts:
        raise UsageError(f"recipe.accumulate = {parts} must divide recipe.batch_size = {batch}.")
    allowed = ", ".join(str(n) for n in range(1, batch // parts + 1) if batch % (parts * n) == 0)
    raise UsageError(
        f"recipe.batch_size = {batch} (the global batch) in {parts} parts cannot be divided evenly among {processes} "
        f"processes; start one of {shorten(allowed)}. If their memory is too small for their share, gradient "
        f"accumulation splits it into N parts, one after the other: --set recipe.accumulate=N."
    )


def refuse_foreign(runs: Sequence[Run], data: Data, folders: Folders, device: torch.device, group: Group) -> None:
    """Refuse runs that could not be compared with the records in their folder, except those to be replaced.

    Raises:
        UsageError: data, network, torch version, kind of device or compilation differ.
    """
    run = runs[0]
    model = build_model(run.preset.model.name, data.sample, data.classes, seed=0)
    here = {
        "data": data.fingerprint,
        "weights of the network": count_parameters(model),
        "torch": ".".join(torch.__version__.split(".")[:2]),
        "device": device.type,
        "compiled": "on" if compiles(run.preset.recipe, device, group) else "off",
    }
    for _, record in _lasting_records(folders, run.preset.name):
        environment = record["environment"]
        there = {
            "data": record["data"]["fingerprint"],
            "weights of the network": record["model"]["parameters"],
            "torch": ".".join(environment["torch"].split(".")[:2]),
            "device": environment["device"],
            "compiled": environment.get("compiled", "off"),
        }
        if changes := differences(there, here):
            listed = "\n".join(f"  {line}" for line in changes)
            raise UsageError(
                f"the records in {folders.results / run.preset.name} were made under other conditions (there -> now):\n"
                f"{listed}\nChoose another folder with --results DIR, or repeat all runs with --force."
            )


def refuse_other_analysis(run: Run, folders: Folders) -> None:
    """Raise UsageError if a record of the study that is not to be replaced names another analysis than the preset.

    Reports read the analysis of the records, so a change of the preset would have no effect.
    """
    for path, record in _lasting_records(folders, run.preset.name):
        if changes := differences(binding(named(record)), binding(analysis_of(run)), "analysis"):
            listed = "\n".join(f"  {line}" for line in changes)
            added = any(line.startswith("analysis.seeds") for line in changes)
            raise UsageError(
                f"{path} was made for another analysis (there -> now):\n{listed}\nThe analysis is named before the "
                "runs, and a report uses that of the records. Undo the change, choose another folder with "
                f"--results DIR, or repeat all runs with --force.{NEW_SEEDS if added else ''}"
            )


def _lasting_records(folders: Folders, preset: str) -> Iterator[tuple[Path, Record]]:
    """Yield the records of a preset whose runs are not marked for repetition, with their paths."""
    for path in sorted(record_files(folders.results, preset)):
        if not path.with_suffix(REPEAT).is_file():
            yield path, read_record(path)


def steps_per_epoch(run: Run, data: Data) -> int:
    """Return the number of whole batches in an epoch; UsageError if there is none."""
    batch, images = run.preset.recipe.batch_size, len(data.train.labels)
    if batch > images:
        raise UsageError(
            f"recipe.batch_size = {batch} is larger than the {images} training images of {data.name}; "
            "set it to at most that."
        )
    return images // batch
