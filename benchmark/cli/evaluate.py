"""The command `evaluate`: the report of one network, printed."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.analysis.study import load_study
from benchmark.data.load import Data, data_roots, load_data
from benchmark.evaluation.evaluate import attacked_images, evaluate, evaluated_split
from benchmark.evaluation.external_models import (
    FAILS,
    TrainedRun,
    load_weights,
    network,
    refuse_other_weights,
    refuse_unfit,
)
from benchmark.evaluation.joint import suite_checks
from benchmark.execution.progress import Attacking, evaluation_bar
from benchmark.execution.record import add_evaluation, untrained_record
from benchmark.records.schema import Record
from benchmark.records.store import read_record, record_path, write_record
from benchmark.report.pages import page_of
from benchmark.runtime.console import printable
from benchmark.runtime.environment import choose_device
from benchmark.runtime.errors import RunError, UsageError, own_words, refuse_together
from benchmark.runtime.files import check_writable
from benchmark.runtime.memory import keep_freed_memory, peak_memory
from benchmark.settings.load import family_member, load_preset, preset_names
from benchmark.settings.preset import Preset
from benchmark.settings.variants import study_of
from benchmark.training.surrogate import train_surrogate


def main(options: argparse.Namespace) -> None:
    """Load a network, evaluate it by its preset's suite and print accuracy, attacks, checks and flags.

    A network that no run of this program trained is evaluated in float32, a run's checkpoint in its run's precision.

    Raises:
        UsageError, DataError, RunError: see `external_models`, `data.load_data` and `evaluate.evaluate`.
    """
    if options.output:
        if options.checkpoint and options.output.resolve() == options.checkpoint.resolve():
            raise UsageError(f"--output {options.output} is the checkpoint, which the record would replace.")
        check_writable(options.output.parent)
    keep_freed_memory()
    if options.checkpoint is None and options.model is None:
        raise UsageError("evaluate needs a CHECKPOINT, or --model package.module:callable, or both.")
    device = choose_device(options.device)
    weights, run = load_weights(options.checkpoint) if options.checkpoint else (None, TrainedRun())
    preset = load_preset(_named_preset(options, run, device), options.set)
    if weights and run:
        _compare_with_record(options.results, options.checkpoint, weights, run)
    data = load_data(preset.data, data_roots(options.data_root))
    checks = [
        lambda: attacked_images(preset, evaluated_split(preset, data)),
        *suite_checks(preset.evaluation, data.classes),
    ]
    refuse_together(f"preset {preset.name} cannot be evaluated on {data.name}", checks)
    model = network(preset, data, options.model, weights)
    name = run.get("arm") or printable((options.model or options.checkpoint.stem).rpartition(":")[2])
    own = options.model is None and preset.name in (run.get("preset"), study_of(run.get("preset", "")))
    record = _evaluate_one(preset, name, run.get("seed", 0), model, data, device, own)
    print(page_of("network", study=load_study(record["preset"], [record])), end="")
    if options.output:
        write_record(options.output, record)
        print(f"\nRecord: {options.output}")


def _named_preset(options: argparse.Namespace, run: TrainedRun, device: torch.device) -> str:
    if options.preset:
        return family_member(options.preset, device.type)
    if run and run["preset"] in preset_names():
        return run["preset"]
    if run:
        base = study_of(run["preset"])
        named = base if base in preset_names() else f"path/to/{base}.toml"
        raise UsageError(
            f"{options.checkpoint} is from a run of {run['preset']!r}, which is no preset of this program. Name the "
            f"data and the attacks by --preset, for example --preset {named}."
        )
    raise UsageError(
        "which data and which attacks? Name a preset by --preset, for example --preset cifar10_cpu "
        "(`python -m benchmark list presets` lists them)."
    )


def _compare_with_record(results: Path, checkpoint: Path, weights: Mapping[str, Tensor], run: TrainedRun) -> None:
    """Refuse a run's checkpoint whose weights are not those of the run's record, if that is there."""
    path = record_path(results, run["preset"], run["arm"], run["seed"])
    if path.is_file():
        record = read_record(path)
        if record["settings_hash"] == run["identity"] and "final_weights_hash" in record:
            refuse_other_weights(checkpoint, weights, record)


def _evaluate_one(
    preset: Preset, name: str, seed: int, model: nn.Module, data: Data, device: torch.device, own: bool
) -> Record:
    """Return the record of one network; it is checked whichever seeds the preset checks.

    If a run of this preset trained it (`own`), it is evaluated in that run's precision, else in float32. All of the
    network's code runs once, to fit and describe it, before the first attack.
    """
    recipe = preset.recipe if own else preset.recipe.model_copy(update={"precision": "float32"})
    evaluation = preset.evaluation
    if checks := evaluation.checks:
        evaluation = evaluation.model_copy(update={"checks": checks.model_copy(update={"seeds": None})})
    settings = preset.model_copy(update={"recipe": recipe, "evaluation": evaluation})
    with own_words(UsageError, FAILS):
        model, data = model.to(device), data.to(device)
        refuse_unfit(model, data)
        record = untrained_record(settings, name, seed, model, data, device)
    with evaluation_bar(name) as bar, own_words(RunError, FAILS):
        progress = Attacking(bar, moves=True)
        try:
            found = evaluate(settings, seed, model, data, lambda: train_surrogate(preset, data, device), progress)
        except FloatingPointError as error:
            raise RunError(f"{error}; its weights may be those of a run that diverged.") from error
    add_evaluation(record, found)
    record["cost"]["peak_memory_bytes"] = peak_memory(device)
    return record
