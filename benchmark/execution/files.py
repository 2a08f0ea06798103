"""The files of a run: their paths, and the status of the run by these files alone.

A marker lies beside the record of a run that is to be repeated. The command with --force or --retry-failed writes it,
and it is removed when the new record is written; so it survives interruptions, and does not depend on clocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from benchmark.execution.lock import held
from benchmark.records.consistency import differences
from benchmark.records.store import DamagedRecordError, read_record, record_path, refuse_other_depth
from benchmark.runtime.console import print_line
from benchmark.runtime.errors import UsageError
from benchmark.runtime.files import remove_leftovers, write_text, writing_to
from benchmark.settings.plan import Run
from benchmark.training.checkpoint import previous

REPEAT = ".repeat"  # suffix of the marker
ANEW, BEGUN = "from the first step\n", "begun\n"  # contents of the marker
Status = Literal["done", "diverged", "failed", "running", "pending", "damaged", "other settings"]
STATUSES: tuple[Status, ...] = get_args(Status)


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
        repeat: marks a run that is to be repeated, beside the record.
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


def status(run: Run, paths: RunPaths) -> Status:
    """Return the status of a run by its record and failure; never "running".

    Raises:
        RunError: its record has another schema.
    """
    if not paths.repeat.is_file() and paths.record.is_file():
        try:
            record = read_record(paths.record)
        except DamagedRecordError:
            return "damaged"
        return record["status"] if record["settings_hash"] == run.identity else "other settings"
    return "failed" if paths.failure.is_file() else "pending"


def statuses(plan: Sequence[Run], folders: Folders) -> list[Status]:
    """Return the status of each run of a plan; "running" if a living worker holds its lock. Raises like `status`."""
    paths = [RunPaths(run, folders) for run in plan]
    locked = [each.lock for each in paths if each.lock.is_file()]
    running = {path for path, alive in zip(locked, held(locked), strict=True) if alive}
    return ["running" if each.lock in running else status(run, each) for run, each in zip(plan, paths, strict=True)]


def is_pending(run: Run, paths: RunPaths) -> bool:
    """Return whether a run is to be started; a damaged record is renamed, with a message, and its run repeated.

    Raises:
        UsageError: the record was made with other settings; overwriting it silently would mix studies.
        RunError: it has another schema.
    """
    now = status(run, paths)
    if now == "other settings":
        changes = "\n".join(f"  {line}" for line in differences(read_record(paths.record)["settings"], run.settings))
        raise UsageError(
            f"{paths.record} was made with other settings (there -> now; numerics: the code's own version):\n"
            f"{changes}\nChoose another folder with --results DIR, or repeat the runs with --force."
        )
    if now == "damaged":
        _set_aside(paths.record)
        return is_pending(run, paths)
    return now == "pending"


def _set_aside(path: Path) -> None:
    try:
        read_record(path)
    except DamagedRecordError as error:
        try:
            aside = path.replace(path.with_suffix(".json.damaged"))
        except FileNotFoundError:
            return  # another worker was faster
        except OSError as problem:
            raise UsageError(f"{error} It cannot be moved: {problem.strerror}.") from problem
        print_line(f"The record {path} is damaged ({error.reason}); it is now {aside.name}, and its run is repeated.")


def mark_failed(paths: RunPaths, reason: str, trace: str) -> None:
    """Write the failure of a run, so that it is started again only by --retry-failed, and its traceback.

    Raises:
        UsageError: the folder cannot be written.
    """
    with writing_to(paths.failure.parent):
        write_text(paths.trace, trace)
        write_text(paths.failure, f"{reason}\n")


def failure(paths: RunPaths) -> str | None:
    """Return the reason why a run failed; None if it did not."""
    return paths.failure.read_text(encoding="utf-8", errors="replace").strip() if paths.failure.is_file() else None


def mark(paths: RunPaths, text: str = ANEW) -> None:
    """Write the marker of a run that is to be repeated; UsageError if the folder cannot be written."""
    with writing_to(paths.repeat.parent):
        write_text(paths.repeat, text)


def mark_for_repetition(plan: Sequence[Run], folders: Folders, everything: bool) -> None:
    """Mark all runs of a plan, or those that diverged, and remove failures; runs that failed continue.

    Raises:
        UsageError: a folder cannot be written.
    """
    for run in plan:
        paths = RunPaths(run, folders)
        if everything or status(run, paths) == "diverged":
            mark(paths)
        with writing_to(paths.failure.parent):
            paths.failure.unlink(missing_ok=True)


def begin(paths: RunPaths) -> None:
    """Remove the state of a run that is to be repeated from its first step, once.

    Raises:
        UsageError: a folder cannot be written.
    """
    with writing_to(paths.repeat.parent):
        if paths.repeat.is_file() and paths.repeat.read_text(encoding="utf-8", errors="replace") != BEGUN:
            for path in (paths.checkpoint, paths.previous, paths.journal):
                path.unlink(missing_ok=True)
            mark(paths, BEGUN)


def tidy(paths: RunPaths) -> None:
    """Remove the temporary files of a run that has a record; the last checkpoint stays, for `evaluate`.

    Raises:
        UsageError: a folder cannot be written.
    """
    with writing_to(paths.checkpoint.parent):
        paths.journal.unlink(missing_ok=True)
        paths.previous.unlink(missing_ok=True)
        for path in (paths.checkpoint, paths.journal, paths.failure, paths.trace):
            remove_leftovers(path)
    with writing_to(paths.record.parent):
        for path in (paths.record, paths.repeat, paths.lock):
            remove_leftovers(path)
