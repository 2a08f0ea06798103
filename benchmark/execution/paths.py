"""Where a study keeps things: records, checkpoints, journals, logs."""

from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark.data.load import Data
from benchmark.settings.plan import Run

FORMAT = 2  # of checkpoints; raised whenever what they hold changes, so that older ones are not taken for damaged runs


@dataclass(frozen=True)
class Places:
    """Folders: `results` for records, `runs` for checkpoints, `events` for TensorBoard's files, if they are wanted."""

    results: Path
    runs: Path
    events: Path | None = None


def checkpoint_path(run: Run, places: Places) -> Path:
    """Return where a run keeps its state; other settings keep theirs in another file."""
    return run.path(places.runs, f"-{run.identity}.pt")


def journal_path(run: Run, places: Places) -> Path:
    """Return where a run keeps what is finished of its evaluation, until it has a record."""
    return run.path(places.runs, f"-{run.identity}.evaluation.json")


def checkpoint_key(run: Run, data: Data, device: torch.device) -> str:
    """Return what a checkpoint must share with a run to be gone on from: format, settings, data, torch, device."""
    return f"format {FORMAT} {run.identity} {data.fingerprint} {torch.__version__} {device.type}"
