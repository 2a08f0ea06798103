"""Checkpoints: the whole state of a run after each epoch, loaded without unpickling code."""

from pathlib import Path

import torch

from benchmark.errors import RunError
from benchmark.files import DamagedFileError, load_tensors, write_whole
from benchmark.plan import Run
from benchmark.records import unwritable
from benchmark.train import State


def save_checkpoint(path: Path, run: Run, key: str, state: State) -> None:
    """Write the state whole or not at all, with the run's preset, arm and seed, so that `evaluate` knows it.

    Raises:
        UsageError: the folder cannot be written.
    """
    values = {
        "run": {"preset": run.preset.name, "arm": run.arm, "seed": run.seed},
        "key": key,
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "method": state.method.state_dict() if hasattr(state.method, "state_dict") else {},
        "streams": {name: generator.get_state() for name, generator in state.streams.items()},
        "weights_hash": state.weights_hash,
        "epochs": [dict(epoch) for epoch in state.epochs],
        "images": state.images,
        "virtual": state.virtual,
    }
    try:
        write_whole(path, lambda file: torch.save(values, file))
    except (OSError, RuntimeError) as error:
        raise unwritable(path.parent, error) from error


def load_checkpoint(path: Path, key: str, state: State) -> bool:
    """Fill a fresh state from a checkpoint; return whether there was one of this run.

    A checkpoint with another key (settings, data, torch, device) is not used; the run's next one replaces it.

    Raises:
        RunError: the file is damaged.
    """
    if not path.is_file():
        return False
    try:
        values = load_tensors(path)
    except DamagedFileError as error:
        raise RunError(f"checkpoint {path} cannot be read ({error}). Delete it to train that run again.") from error
    if values.get("key") != key:
        return False
    state.model.load_state_dict(values["model"])
    state.optimizer.load_state_dict(values["optimizer"])
    if values["method"]:
        state.method.load_state_dict(values["method"])
    for name, generator in state.streams.items():
        generator.set_state(values["streams"][name])
    state.weights_hash = values["weights_hash"]
    state.epochs, state.images, state.virtual = values["epochs"], values["images"], values["virtual"]
    return True
