"""Checkpoints: the whole state of a run, also in the middle of an epoch; sealed, and loaded without running code."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from benchmark.data.load import Data
from benchmark.networks.checks import differences, short
from benchmark.runtime.errors import RunError, UsageError, own_words
from benchmark.runtime.files import (
    DamagedFileError,
    UnreadableFileError,
    load_tensors,
    remove_leftovers,
    save_tensors,
    writing_to,
)
from benchmark.settings.plan import Run
from benchmark.training.state import Position, State

ANEW = "repeat the runs by `run --force`, with --arms and --seeds for some of them"
FORMAT = 2  # of checkpoints; raised whenever their entries change, so that an older version's are not used


def checkpoint_key(run: Run, data: Data, device: torch.device) -> str:
    """Return the key that must match for a run to resume from a checkpoint: format, settings, data, torch, device."""
    return f"format {FORMAT} {run.identity} {data.fingerprint} {torch.__version__} {device.type}"


def identity_of(values: Mapping[str, Any]) -> str:
    """Return the identity of the run's settings in the key of a checkpoint; empty where there is no such key."""
    key = values.get("key")
    parts = key.split() if isinstance(key, str) else []
    return parts[2] if len(parts) > 2 and parts[0] == "format" else ""


def previous(path: Path) -> Path:
    """Return the path of the checkpoint before the one at `path`."""
    return path.with_suffix(".previous.pt")


def save_checkpoint(path: Path, run: Run, key: str, state: State, check: Callable[[], object] = lambda: None) -> None:
    """Write the state atomically, with the run's preset, arm and seed, which `evaluate` reads.

    The previous checkpoint is kept beside it; `check` is that of `benchmark.runtime.files.write_whole`.

    Raises:
        UsageError: it cannot be written.
    """
    about = {"run": {"preset": run.preset.name, "arm": run.arm, "seed": run.seed}, "key": key}
    with writing_to(path.parent):
        save_tensors(path, about | snapshot(state), previous(path), check)


def snapshot(state: State) -> dict[str, Any]:
    """Return the part of a state that changes in training, as tensors and plain values."""
    return {
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "method": state.method.state_dict() if hasattr(state.method, "state_dict") else {},
        "streams": {name: generator.get_state() for name, generator in state.streams.items()},
        "weights_hash": state.weights_hash,
        "epochs": [dict(epoch) for epoch in state.epochs],
        "images": state.images,
        "virtual": state.virtual,
        "skipped": dict(state.skipped),
        "position": None if state.position is None else vars(state.position),
    }


def on_cpu(values: dict[str, Any]) -> dict[str, Any]:
    """Return a snapshot with its tensors on the CPU, for another process."""
    moved: dict[str, Any] = tree_map(lambda value: value.cpu() if isinstance(value, Tensor) else value, values)
    return moved


def load_checkpoint(path: Path, run: Run, key: str, state: State, log: Callable[[str], object]) -> bool:
    """Fill a fresh state from a checkpoint, or from the previous one if it is damaged; return whether there was one.

    A checkpoint with another key is not used; the run's next one replaces it.

    Args:
        path: of the newest checkpoint.
        run: the run.
        key: of the run, see `checkpoint_key`.
        state: of a run that has not begun.
        log: called with a message for each checkpoint that is damaged or not used.

    Raises:
        RunError: the system does not let it be read; it stays, because it may be whole.
        UsageError: it is of another network or method of the same name.
    """
    remove_leftovers(path)
    for candidate in (path, previous(path)):
        if not candidate.is_file():
            continue
        try:
            values = load_tensors(candidate)
        except UnreadableFileError as error:
            raise RunError(f"the checkpoint {candidate} cannot be read: {error}.") from error
        except DamagedFileError as error:
            aside = candidate.replace(candidate.with_suffix(".damaged"))
            log(f"the checkpoint {candidate} is damaged ({error}); it is now {aside.name}, the one before is tried")
            continue
        if values.get("key") != key:
            log(f"the checkpoint {candidate} is of other data, another torch, kind of device or version: not used")
            return False
        refuse_other_network(candidate, values["model"], state.model, run)
        part = f"the network and the method of arm {run.arm}"
        with own_words(UsageError, f"{_unfit(candidate, part)} Undo the change, or {ANEW}. The cause"):
            fill(state, values)
            _refuse_other_order(values["model"], state)
        return True
    return False


def _unfit(checkpoint: Path, part: str) -> str:
    return f"the checkpoint {checkpoint} no longer fits {part}, whose code must have changed since."


def refuse_other_network(checkpoint: Path, weights: Mapping[str, Any], model: nn.Module, run: Run) -> None:
    """Raise UsageError, with the first differences, if the weights in a run's checkpoint do not fit its network."""
    if differing := differences(weights, model.state_dict()):
        raise UsageError(
            f"{_unfit(checkpoint, f'the network {run.preset.model.name!r}')} It {differing}. Undo the change, give the "
            f"new network a row of another name, or {ANEW}."
        )


def _refuse_other_order(weights: Mapping[str, Any], state: State) -> None:
    """Refuse an optimizer's state, which has no names, if it is of other trainable weights, or in another order."""
    for then, now in zip(weights, state.model.state_dict(), strict=True):
        if then != now:
            raise ValueError(f"{short(then)} was in the place of {short(now)}")
    for name, weight in state.model.named_parameters():
        momentum = state.optimizer.state.get(weight, {}).get("momentum_buffer")
        if momentum is not None and momentum.shape != weight.shape:
            raise ValueError(f"{short(name)} was not a trainable weight in its place")


def fill(state: State, values: dict[str, Any]) -> None:
    """Restore a snapshot in a fresh state of the same run."""
    device = next(state.model.parameters()).device
    state.model.load_state_dict(values["model"])
    state.optimizer.load_state_dict(values["optimizer"])
    if values["method"]:
        state.method.load_state_dict(values["method"])
    for name, generator in state.streams.items():
        generator.set_state(values["streams"][name])
    state.weights_hash = values["weights_hash"]
    state.epochs, state.images, state.virtual = values["epochs"], values["images"], values["virtual"]
    state.skipped.update(values["skipped"])
    state.position = None
    if values["position"] is not None:
        position = Position(**values["position"])
        state.position = dataclasses.replace(
            position, order=position.order.to(device), losses=position.losses.to(device)
        )
