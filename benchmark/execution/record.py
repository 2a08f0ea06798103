"""Assemble a record: the facts about a trained run that its reader needs."""

from typing import Any

import torch
from torch import Tensor, nn

from benchmark.data.load import Data, to_float
from benchmark.evaluation.evaluate import Evaluated, evaluated_split
from benchmark.evaluation.external_models import unwrapped
from benchmark.networks.build import count_parameters, device_of, eval_mode, weights_hash
from benchmark.networks.flops import forward_flops
from benchmark.records.consistency import flags_of
from benchmark.records.schema import SCHEMA, Cost, DataInfo, EpochAccuracy, ModelInfo, Record
from benchmark.runtime.environment import describe_environment
from benchmark.runtime.memory import peak_memory
from benchmark.settings.plan import NUMERICS, Run, shared_settings
from benchmark.settings.preset import Preset
from benchmark.training.compile import compiles
from benchmark.training.loop import order_hash
from benchmark.training.schedule import flops_spent
from benchmark.training.state import State


def make_record(run: Run, state: State, data: Data, device: torch.device, reason: str | None = None) -> Record:
    """Return the record of a trained run, its evaluation still empty; `reason` of a run that diverged."""
    model = _describe_model(run.preset.model.name, state.model, data)
    record = _untrained(run.preset, run.arm, run.seed, data, model, device)
    record["cost"] = training_cost(state, data, device)
    summaries = [EpochAccuracy(epoch=epoch["epoch"], accuracy=epoch["accuracy"]) for epoch in state.epochs]
    record["settings"], record["settings_hash"], record["analysis"] = run.settings, run.identity, analysis_of(run)
    record["weights_hash"], record["order_hash"] = state.weights_hash, order_hash(run, len(data.train.labels))
    record["epochs"] = state.epochs
    record["last_epoch"] = summaries[-1] if summaries and reason is None else None
    record["best_epoch"] = max(summaries, key=lambda summary: summary["accuracy"], default=None)
    if compiles(run.preset.recipe, device, state.group):
        record["environment"]["compiled"] = "on"
    if reason is None:
        record["final_weights_hash"] = weights_hash(state.model)
    else:
        record["status"], record["reason"] = "diverged", reason
    return record


def untrained_record(
    preset: Preset, name: str, seed: int, model: nn.Module, data: Data, device: torch.device
) -> Record:
    """Return the record of a network that was not trained here; its fields of training and evaluation are empty."""
    record = _untrained(preset, name, seed, data, _describe_model(name, model, data), device)
    arm = {"method": "not trained here", "augmentation": "none", "settings": {}}
    record["settings"] = shared_settings(preset) | {"arm": arm, "numerics": NUMERICS}
    analysis = {"title": name, "treatment": name, "against": [], "eps": preset.analysis.eps, "seeds": [seed]}
    record["analysis"] = analysis | {"margin": preset.analysis.margin}
    record["weights_hash"] = record["final_weights_hash"] = weights_hash(unwrapped(model))
    return record


def _untrained(preset: Preset, arm: str, seed: int, data: Data, model: ModelInfo, device: torch.device) -> Record:
    """Return a record without settings, training and evaluation."""
    return Record(
        schema=SCHEMA,
        preset=preset.name,
        arm=arm,
        seed=seed,
        settings={},
        settings_hash="",
        analysis={},
        weights_hash="",
        order_hash="",
        data=_describe_data(preset, data),
        model=model,
        epochs=[],
        last_epoch=None,
        best_epoch=None,
        clean=None,
        calibration=None,
        robustness=None,
        checks=[],
        flags=[],
        cost=Cost(
            train_seconds=0.0,
            attack_seconds=0.0,
            train_gradients=0,
            train_flops=0,
            attack_gradients=0,
            peak_memory_bytes=0,
        ),
        environment=describe_environment(device),
        status="done",
        reason=None,
    )


def _describe_data(preset: Preset, data: Data) -> DataInfo:
    info = DataInfo(
        name=data.name,
        fingerprint=data.fingerprint,
        classes=data.classes,
        train_images=len(data.train.labels),
        test_images=len(evaluated_split(preset, data).labels),
        synthetic=data.synthetic,
    )
    if data.note:
        info["note"] = data.note
    if data.train.damaged:
        info["skipped"] = dict(sorted(data.train.damaged.items()))
    return info


def analysis_of(run: Run) -> dict[str, Any]:
    """Return the preset's analysis as it is recorded: comparisons, eps, margin, seeds and title."""
    named = run.preset.analysis.model_dump(mode="json")
    return named | {"title": run.preset.title, "seeds": list(run.preset.seeds)}


def _describe_model(name: str, model: nn.Module, data: Data) -> ModelInfo:
    with eval_mode(model):
        flops = forward_flops(model, _one_image(data, model))
    return ModelInfo(name=name, parameters=count_parameters(model), flops=flops)


def _one_image(data: Data, model: nn.Module) -> Tensor:
    return to_float(data.train.pick([0], device_of(model)).images)  # (1, C, H, W)


def training_cost(state: State, data: Data, device: torch.device) -> Cost:
    """Return the cost of the training so far."""
    return Cost(
        train_seconds=round(sum(epoch["seconds"] for epoch in state.epochs), 3),
        attack_seconds=0.0,
        train_gradients=state.images + sum(state.virtual.values()),
        train_flops=flops_spent(state, _one_image(data, state.model)),
        attack_gradients=0,
        peak_memory_bytes=peak_memory(device),
    )


def add_evaluation(record: Record, evaluated: Evaluated) -> None:
    """Add outcomes, checks and cost of an evaluation to a record."""
    record["clean"] = evaluated.clean
    record["calibration"] = evaluated.calibration
    record["robustness"] = evaluated.robustness
    record["checks"] = evaluated.checks
    record["flags"] = flags_of(evaluated.checks)
    record["cost"]["attack_seconds"] = round(evaluated.seconds, 3)
    record["cost"]["attack_gradients"] = sum(attack["gradients"] for attack in evaluated.robustness["attacks"])
