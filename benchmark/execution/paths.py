"""The paths of all files of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.records.store import record_path, refuse_other_depth
from benchmark.runtime.errors import UsageError
from benchmark.settings.plan import Run
from benchmark.training.checkpoint import previous

REPEAT = ".repeat"  # suffix of the marker beside a record


@dataclass(frozen=True)
class Folders:
    """The folders of a study: records; checkpoints and logs; TensorBoard's files, None without --tensorboard."""

    results: Path
    runs: Path
    events: Path | None = None


class RunPaths:
    """All files of a run; those that depend on its settings have the run's identity in their names.

    Attributes:
        record: results/<preset>/<arm>/seed-<n>.json.
        repeat: marks a run that is to be repeated, beside the record; see `benchmark.execution.status`.
        lock: held by the worker that computes the run; beside the record, in the folder that workers share.
        checkpoint, previous: the newest state of the training and the one before.
        journal: the finished parts of the evaluation, until there is a record.
        log: the messages of all starts of the run.
        failure: the reason why the run failed, in one line; a run that has it is not started.
        trace: the traceback of the last failure.
        events: TensorBoard's folder or None.
    """

    def __init__(self, run: Run, folders: Folders) -> None:
        self.record = record_path(folders.results, run.preset.name, run.arm, run.seed)
        self.repeat = self.record.with_suffix(REPEAT)
        self.lock = self.record.with_suffix(".lock")
        self.checkpoint = run.path(folders.runs, f"-{run.identity}.pt")
        self.previous = previous(self.checkpoint)
        self.journal = run.path(folders.runs, f"-{run.identity}.evaluation.json")
        self.log = run.path(folders.runs, ".log")
        self.failure = run.path(folders.runs, f"-{run.identity}.failed")
        self.trace = run.path(folders.runs, ".error.log")
        self.events = run.path(folders.events, "") if folders.events else None


def refuse_wrong_paths(runs: Sequence[Run], folders: Folders) -> None:
    """Refuse anything but a file in the place of a file that a run needs, and a preset's folder as that of the results.

    Raises:
        UsageError: with the path; see `refuse_other_depth`, too.
    """
    refuse_other_depth(folders.results)
    for run in runs:
        for name, path in vars(RunPaths(run, folders)).items():
            if name not in ("log", "events") and path.exists() and not path.is_file():  # without these a run goes on
                kind = "folder" if path.is_dir() else "device, a pipe or a socket"
                raise UsageError(f"{path} is a {kind}, in the place of a file of a run. Move or delete it.")
