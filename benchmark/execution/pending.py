"""Which runs are still to do: those without a finished record, or those that the user wants repeated."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmark.execution.log import failure
from benchmark.execution.paths import Places, checkpoint_path
from benchmark.execution.preflight import differences
from benchmark.records.schema import Record
from benchmark.records.store import DamagedRecordError, read_record, record_path
from benchmark.runtime.console import print_line
from benchmark.runtime.errors import UsageError
from benchmark.settings.plan import Run

What = Literal["nothing", "diverged", "all"]


@dataclass(frozen=True)
class Again:
    """What is repeated although it has a record: nothing, the runs that diverged, or all.

    `since` is when that was asked for (seconds since 1970): records written later are those of the repetition. So a
    study's workers, of which each may have started at another moment, repeat nothing twice.
    """

    what: What = "nothing"
    since: float = 0.0

    def covers(self, path: Path, record: Record) -> bool:
        """Return whether the record at `path` is one to be repeated."""
        wanted = self.what == "all" or (self.what == "diverged" and record["status"] == "diverged")
        return wanted and path.stat().st_mtime < self.since


def whole_record(path: Path) -> Record | None:
    """Read a record if there is one; a damaged one is moved aside and named, so that its run is repeated.

    Raises:
        RunError: it is of another version of this code.
    """
    if not path.is_file():
        return None
    try:
        return read_record(path)
    except DamagedRecordError as error:
        aside = path.replace(path.with_suffix(".json.damaged"))
        print_line(f"The record {path} is damaged ({error.reason}); it is now {aside.name}, and its run is repeated.")
        return None


def is_done(run: Run, places: Places, again: Again) -> bool:
    """Return whether a run has a record that counts.

    Raises:
        UsageError: the record was made with other settings; overwriting it silently would mix studies.
    """
    path = record_path(places.results, run.preset.name, run.arm, run.seed)
    record = whole_record(path)
    if record is None or again.covers(path, record):
        return False
    if record["settings_hash"] != run.identity:
        changes = "\n".join(f"  {line}" for line in differences(record["settings"], run.settings))
        raise UsageError(
            f"{path} was made with other settings (there -> now; numerics: the code's own version):\n{changes}\n"
            "Choose another folder with --results DIR, or repeat the runs with --force."
        )
    return True


def is_pending(run: Run, places: Places, again: Again) -> bool:
    """Return whether a run is to be started: it is not done, and has not failed.

    Raises:
        UsageError: see `is_done`.
    """
    return not is_done(run, places, again) and failure(run, places.runs) is None


def starts_anew(run: Run, places: Places, again: Again) -> bool:
    """Return whether a run is to be repeated from its first step, and has not been begun again yet."""
    record = whole_record(record_path(places.results, run.preset.name, run.arm, run.seed))
    state = checkpoint_path(run, places)
    repeated = again.what == "all" or (again.what == "diverged" and record is not None)
    return repeated and state.is_file() and state.stat().st_mtime < again.since


def pending(plan: Sequence[Run], places: Places, again: Again) -> list[Run]:
    """Return the runs of a plan that are to be started.

    Raises:
        UsageError: see `is_done`.
    """
    return [run for run in plan if is_pending(run, places, again)]
