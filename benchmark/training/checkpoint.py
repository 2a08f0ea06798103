"""Checkpoints: the whole state of a run, also in the middle of an epoch; sealed, and loaded without unpickling code."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_map

from benchmark.data.load import Data
from benchmark.runtime.files import DamagedFileError, load_tensors, remove_leftovers, save_tensors, writing_to
from benchmark.settings.plan import Run
from benchmark.training.state import Position, State

FORMAT = 2  # of checkpoints; raised whenever what they hold changes, so that older ones are not taken for damaged runs


def checkpoint_key(run: Run, data: Data, device: torch.device) -> str:
    """Return the key that must match for a run to resume from a checkpoint: format, settings, data, torch, device."""
    return f"format {FORMAT} {run.identity} {data.fingerprint} {torch.__version__} {device.type}"


def previous(path: Path) -> Path:
    """Return where the checkpoint before the one at `path` is kept."""
    return path.with_suffix(".previous.pt")


def save_checkpoint(path: Path, run: Run, key: str, state: State, check: Callable[[], object] = lambda: None) -> None:
    """Write the state whole or not at all, with the run's preset, arm and seed, so that `evaluate` knows it.

    The checkpoint before is kept beside it; `check` is that of `benchmark.runtime.files.write_whole`.

    Raises:
        UsageError: it cannot be written.
    """
    about = {"run": {"preset": run.preset.name, "arm": run.arm, "seed": run.seed}, "key": key}
    with writing_to(path.parent):
        save_tensors(path, about | snapshot(state), previous(path), check)


def snapshot(state: State) -> dict[str, Any]:
    """Return all of a state that changes in training, as tensors and plain values."""
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
    """Return a snapshot whose tensors lie on the CPU, from where another process can take it."""
    moved: dict[str, Any] = tree_map(lambda value: value.cpu() if isinstance(value, torch.Tensor) else value, values)
    return moved


def load_checkpoint(path: Path, key: str, state: State, say: Callable[[str], object]) -> bool:
    """Fill a fresh state from a checkpoint, or from the one before where it is damaged; return whether there was one.

    A checkpoint with another key (format, settings, data, torch, device) is not used; the run's next one replaces it.

    Args:
        path: the newest checkpoint's.
        key: what it must share with the run.
        state: of a run that has not begun.
        say: told what is damaged, moved aside or not used.
    """
    remove_leftovers(path)
    for candidate in (path, previous(path)):
        if not candidate.is_file():
            continue
        try:
            values = load_tensors(candidate)
        except DamagedFileError as error:
            aside = candidate.replace(candidate.with_suffix(".damaged"))
            say(f"the checkpoint {candidate} is damaged ({error}); it is now {aside.name}, the one before is tried")
            continue
        if values.get("key") != key:
            say(f"the checkpoint {candidate} is of other data, another torch, kind of device or version: not used")
            return False
        fill(state, values)
        return True
    return False


def fill(state: State, values: dict[str, Any]) -> None:
    """Put what `snapshot` returned into a fresh state of the same run."""
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
