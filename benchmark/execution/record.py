"""Assembling a record: everything about a trained run that a reader of its numbers needs."""

from typing import Any

import torch
from torch import Tensor, nn

from benchmark.data.load import Data, to_float
from benchmark.evaluation.evaluate import Evaluated, evaluated_split
from benchmark.networks.build import weights_hash
from benchmark.networks.flops import forward_flops, training_flops
from benchmark.records.schema import SCHEMA, Cost, DataInfo, EpochAccuracy, ModelInfo, Record
from benchmark.runtime.environment import describe_environment
from benchmark.runtime.memory import peak_memory
from benchmark.settings.plan import NUMERICS, Run, shared_settings
from benchmark.settings.preset import Preset
from benchmark.training.compile import compiles
from benchmark.training.loop import order_hash
from benchmark.training.state import State


def make_record(run: Run, state: State, data: Data, device: torch.device, reason: str | None = None) -> Record:
    """Return the record of a trained run, its evaluation still empty; `reason` says why it diverged."""
    epochs = state.epochs
    compilation = {"compiled": "on"} if compiles(run.preset.recipe, device, state.group) else {}
    summaries = [EpochAccuracy(epoch=epoch["epoch"], accuracy=epoch["accuracy"]) for epoch in epochs]
    record = Record(
        schema=SCHEMA,
        preset=run.preset.name,
        arm=run.arm,
        seed=run.seed,
        settings=run.settings,
        settings_hash=run.identity,
        analysis=analysis_of(run),
        weights_hash=state.weights_hash,
        order_hash=order_hash(run, len(data.train.labels)),
        data=describe_data(run.preset, data),
        model=describe_model(run.preset.model.name, state.model, data),
        epochs=epochs,
        last_epoch=summaries[-1] if summaries and reason is None else None,
        best_epoch=max(summaries, key=lambda summary: summary["accuracy"], default=None),
        clean=None,
        calibration=None,
        robustness=None,
        checks=[],
        flags=[],
        cost=training_cost(state, data, device),
        environment=describe_environment(device) | compilation,
        status="done" if reason is None else "diverged",
        reason=reason,
    )
    if reason is None:
        record["final_weights_hash"] = weights_hash(state.model)
    return record


def evaluated_record(
    preset: Preset, name: str, seed: int, model: nn.Module, data: Data, device: torch.device, evaluated: Evaluated
) -> Record:
    """Return the record of a network that was evaluated, but not trained here: what training leaves is empty."""
    settings = shared_settings(preset)
    settings |= {"arm": {"method": "not trained here", "augmentation": "none", "settings": {}}, "numerics": NUMERICS}
    analysis = {"title": name, "treatment": name, "against": [], "eps": preset.analysis.eps, "seeds": [seed]}
    record = Record(
        schema=SCHEMA,
        preset=preset.name,
        arm=name,
        seed=seed,
        settings=settings,
        settings_hash="",
        analysis=analysis | {"margin": preset.analysis.margin},
        weights_hash=weights_hash(model),
        order_hash="",
        data=describe_data(preset, data),
        model=describe_model(name, model, data),
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
            peak_memory_bytes=peak_memory(device),
        ),
        environment=describe_environment(device),
        status="done",
        reason=None,
    )
    add_evaluation(record, evaluated)
    return record


def describe_data(preset: Preset, data: Data) -> DataInfo:
    """Return the data set's name, fingerprint and sizes."""
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
    """Return what the preset named before the run: comparisons, eps, margin, seeds and title, as in the record."""
    named = run.preset.analysis.model_dump(mode="json")
    return named | {"title": run.preset.title, "seeds": list(run.preset.seeds)}


def describe_model(name: str, model: nn.Module, data: Data) -> ModelInfo:
    """Return name, size and forward FLOPs of a network."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    flops = forward_flops(model.eval(), one_image(data, model))
    return ModelInfo(name=name, parameters=parameters, flops=flops)


def one_image(data: Data, model: nn.Module) -> Tensor:
    """Return one float training image (1, C, H, W), where the network is."""
    return to_float(data.train.pick([0], next(model.parameters()).device).images)


def training_cost(state: State, data: Data, device: torch.device) -> Cost:
    """Return what training spent so far; FLOPs are counted once per layer and multiplied by the samples."""
    image = one_image(data, state.model)
    flops = state.images * training_flops(state.model, image)
    flops += sum(n * training_flops(state.model, image, layer) for layer, n in state.virtual.items())
    return Cost(
        train_seconds=round(sum(epoch["seconds"] for epoch in state.epochs), 3),
        attack_seconds=0.0,
        train_gradients=state.images + sum(state.virtual.values()),
        train_flops=flops,
        attack_gradients=0,
        peak_memory_bytes=peak_memory(device),
    )


def add_evaluation(record: Record, evaluated: Evaluated) -> None:
    """Fill in what the evaluation found and spent."""
    record["clean"] = evaluated.clean
    record["calibration"] = evaluated.calibration
    record["robustness"] = evaluated.robustness
    record["checks"] = evaluated.checks
    record["flags"] = [f"check {check['number']}: {check['flag']}" for check in evaluated.checks if check["flag"]]
    record["cost"]["attack_seconds"] = round(evaluated.seconds, 3)
    record["cost"]["attack_gradients"] = sum(attack["gradients"] for attack in evaluated.robustness["attacks"])
