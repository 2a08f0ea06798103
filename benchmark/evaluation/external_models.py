"""Anyone's network, evaluated as ours are: from a checkpoint, from a callable, or both."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.data.load import Data, to_float
from benchmark.networks.build import build_model, eval_mode
from benchmark.runtime.errors import RunError, UsageError
from benchmark.runtime.files import DamagedFileError, load_tensors
from benchmark.settings.preset import Preset

LISTED = 4  # names of weights in a message
SAVE = "Only tensors and plain values are loaded, never pickled code: save model.state_dict() with torch.save."


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state_dict in a file, and what a checkpoint of ours says about its run (preset, arm, seed).

    The file holds a state_dict, or a dictionary with one under "model" or "state_dict".

    Raises:
        UsageError: no such file, damaged, of another kind, or one that needs code to be loaded.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}; a run's checkpoint is in runs/<preset>/<arm>/.")
    try:
        values = load_tensors(path)
    except DamagedFileError as error:
        raise UsageError(f"{path} cannot be loaded ({error}). {SAVE}") from error
    weights = next((values[key] for key in ("model", "state_dict") if isinstance(values.get(key), dict)), values)
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UsageError(f"{path} holds no state_dict: found {', '.join(map(str, list(values)[:LISTED]))}. {SAVE}")
    told = values.get("run")
    return weights, told if isinstance(told, dict) else {}


def network(preset: Preset, data: Data, model: str | None, weights: dict[str, Tensor] | None) -> nn.Module:
    """Return the network to evaluate: the preset's own, or what `model` returns, with the weights if there are any.

    Args:
        preset: names the network where `model` does not.
        data: gives image size and classes.
        model: "package.module:callable"; called without arguments, it returns a torch.nn.Module that takes images
            (N, C, H, W) in [0, 1] and returns logits (N, classes).
        weights: a state_dict.

    Raises:
        UsageError: the callable or the weights do not fit.
    """
    if model is None:
        built, name = build_model(preset.model.name, data.sample, data.classes, 0), preset.model.name
    else:
        built, name = call(model), model
    if weights is not None:
        load_into(built, weights, name)
    return built


def call(name: str) -> nn.Module:
    """Import "package.module:callable", also from the working folder, call it and return its network.

    Raises:
        UsageError: it cannot be imported or called, or returns something else.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise UsageError(f"--model {name!r}: write it as package.module:callable, for example mine.networks:resnet.")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        built = getattr(import_module(module), attribute)()
    except Exception as error:  # whatever the user's own code raises is the user's to mend
        raise UsageError(f"--model {name}: {type(error).__name__}: {error}.") from error
    if not isinstance(built, nn.Module):
        raise UsageError(f"--model {name} returned {type(built).__name__}; it must return a torch.nn.Module.")
    return built


def load_into(model: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    """Load a state_dict, whole.

    Raises:
        UsageError: names or shapes differ: the file is of another architecture.
    """
    own = model.state_dict()
    differing = [
        *(f"lacks {key}" for key in own if key not in weights),
        *(f"has {key}, unknown here" for key in weights if key not in own),
        *(
            f"{key} is {shape(weights[key])}, here {shape(own[key])}"
            for key in own
            if key in weights and weights[key].shape != own[key].shape
        ),
    ]
    if differing:
        more = f"; and {len(differing) - LISTED} more" if len(differing) > LISTED else ""
        raise UsageError(
            f"the checkpoint is not one of network {name!r}: it {'; '.join(differing[:LISTED])}{more}. Name the preset "
            "that it was trained with by --preset, or its network by --model package.module:callable."
        )
    model.load_state_dict(weights)


def shape(tensor: Tensor) -> str:
    """Write a tensor's shape: "64 x 3 x 3 x 3"."""
    return " x ".join(map(str, tensor.shape)) or "a single number"


@torch.no_grad()
def refuse_unfit(model: nn.Module, data: Data) -> None:
    """Refuse a network that does not return logits (N, classes) of the data set's images.

    Raises:
        UsageError: it fails on them, or returns something else.
        RunError: its logits are not finite.
    """
    images = to_float(data.test.pick(range(min(2, len(data.test.labels))), torch.device("cpu")).images)
    size = shape(images[0])
    try:
        with eval_mode(model):
            logits = model(images)
    except Exception as error:  # whatever the user's own code raises is the user's to mend
        raise UsageError(f"the network fails on images of {size}: {type(error).__name__}: {error}.") from error
    if not isinstance(logits, Tensor) or logits.shape != (len(images), data.classes):
        found = shape(logits) if isinstance(logits, Tensor) else type(logits).__name__
        raise UsageError(
            f"the network returns {found} for {len(images)} images; {data.name} has {data.classes} classes, so it must "
            f"return {len(images)} x {data.classes} logits."
        )
    if not logits.isfinite().all():
        raise RunError("the network's logits are not finite; its weights may be those of a run that diverged.")
