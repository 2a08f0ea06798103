"""The command `evaluate`: the report of one network, printed."""

import argparse
from typing import Any

import torch
from torch import nn

from benchmark.analysis.study import load_study
from benchmark.data.load import Data, data_roots, load_data
from benchmark.evaluation.evaluate import evaluate
from benchmark.evaluation.external_models import load_weights, network, refuse_unfit
from benchmark.evaluation.joint import refuse_too_few_classes
from benchmark.execution.progress import Attacking, evaluation_bar
from benchmark.execution.record import evaluated_record
from benchmark.records.schema import Record
from benchmark.records.store import write_record
from benchmark.report.pages import network_page
from benchmark.runtime.environment import choose_device
from benchmark.runtime.errors import RunError, UsageError
from benchmark.runtime.memory import keep_freed_memory
from benchmark.settings.load import load_preset
from benchmark.settings.preset import Preset
from benchmark.training.surrogate import train_surrogate


def evaluate_network(options: argparse.Namespace) -> int:
    """Load a network, evaluate it by its preset's suite and print accuracy, attacks, checks and flags.

    Raises:
        UsageError, DataError, RunError: see `external`, `data.load_data` and `evaluate.evaluate`.
    """
    keep_freed_memory()
    if options.checkpoint is None and options.model is None:
        raise UsageError("evaluate needs a CHECKPOINT, or --model package.module:callable, or both.")
    device = choose_device(options.device)
    weights, told = load_weights(options.checkpoint) if options.checkpoint else (None, {})
    preset = load_preset(named_preset(options, told), tuple(options.set))
    data = load_data(preset.data, data_roots(options.data_root))
    refuse_too_few_classes(preset.evaluation, data.classes)
    model = network(preset, data, options.model, weights)
    refuse_unfit(model, data)
    name = str(told.get("arm") or (options.model or options.checkpoint.stem).rpartition(":")[2])
    record = evaluate_one(preset, name, int(told.get("seed", 0)), model, data, device)
    print(network_page(load_study(record["preset"], [record])), end="")
    if options.output:
        write_record(options.output, record)
        print(f"\nRecord: {options.output}")
    return 0


def named_preset(options: argparse.Namespace, told: dict[str, Any]) -> str:
    """Return the preset that the user or the checkpoint names.

    Raises:
        UsageError: neither does.
    """
    if options.preset:
        return str(options.preset)
    if told.get("preset"):
        return str(told["preset"])
    raise UsageError(
        "which data and which attacks? Name a preset by --preset, for example --preset cifar10_cpu "
        "(`python -m benchmark list presets` lists them)."
    )


def evaluate_one(preset: Preset, name: str, seed: int, model: nn.Module, data: Data, device: torch.device) -> Record:
    """Return the record of one network that was not trained here; it is checked whichever seeds the preset checks.

    Raises:
        RunError: its logits are not finite, or an attack changed its state.
    """
    model, data = model.to(device), data.to(device)
    if checks := preset.evaluation.checks:
        evaluation = preset.evaluation.model_copy(update={"checks": checks.model_copy(update={"seeds": None})})
        preset = preset.model_copy(update={"evaluation": evaluation})
    with evaluation_bar(name) as bar:
        progress = Attacking(bar, moves=True)
        try:
            found = evaluate(preset, seed, model, data, lambda: train_surrogate(preset, data, device), progress)
        except FloatingPointError as error:
            raise RunError(f"{error}; its weights may be those of a run that diverged.") from error
        except RuntimeError as error:
            raise RunError(f"{name} cannot be evaluated: {error}") from error
    return evaluated_record(preset, name, seed, model, data, device, found)
