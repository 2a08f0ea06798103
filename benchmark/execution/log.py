"""The log of a run: what was said about it, with the time, in a file beside its checkpoint; and its failure, if any."""

import re
from datetime import UTC, datetime
from pathlib import Path

from benchmark.records.store import unwritable
from benchmark.settings.plan import Run

TAIL = 20  # lines that an error shows
TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ ")


def log_path(run: Run, runs: Path) -> Path:
    """Return where the log of a run is; every start of it appends."""
    return run.path(runs, ".log")


def failure_path(run: Run, runs: Path) -> Path:
    """Return the file that says, in a line, why a run with these settings failed."""
    return run.path(runs, f"-{run.identity}.failed")


def log(run: Run, runs: Path, text: str) -> None:
    """Append a text, which may have several lines, to a run's log.

    Raises:
        UsageError: the folder cannot be written.
    """
    path = log_path(run, runs)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ} {text}\n")
    except OSError as error:
        raise unwritable(path.parent, error) from error


def tail(run: Run, runs: Path) -> str:
    """Return the last lines of a run's log, indented; nothing where it has none."""
    path = log_path(run, runs)
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
    return "".join(f"\n    {line}" for line in lines)


def log_size(run: Run, runs: Path) -> int:
    """Return the bytes of a run's log so far, 0 where it has none."""
    path = log_path(run, runs)
    return path.stat().st_size if path.is_file() else 0


def said_since(run: Run, runs: Path, offset: int) -> tuple[list[str], int]:
    """Return the whole lines that were added to a run's log, without their times, and the offset behind them.

    Args:
        run: the run.
        runs: the folder of the logs.
        offset: bytes of the log that were read before.
    """
    if log_size(run, runs) <= offset:
        return [], offset
    with log_path(run, runs).open("rb") as file:
        file.seek(offset)
        added = file.read()
    whole = added[: added.rfind(b"\n") + 1]
    return [TIME.sub("", line) for line in whole.decode("utf-8", "replace").splitlines()], offset + len(whole)


def mark_failed(run: Run, runs: Path, reason: str, trace: str) -> Path:
    """Note that a run failed, so that no worker takes it up again before somebody asks for it.

    Returns:
        The file with the traceback, for whoever mends the code.

    Raises:
        UsageError: the folder cannot be written.
    """
    path, details = failure_path(run, runs), run.path(runs, ".error.log")
    try:
        details.parent.mkdir(parents=True, exist_ok=True)
        details.write_text(trace, encoding="utf-8")
        path.write_text(f"{reason}\n", encoding="utf-8")
    except OSError as error:
        raise unwritable(path.parent, error) from error
    return details


def failure(run: Run, runs: Path) -> str | None:
    """Return why a run failed, None if it did not."""
    path = failure_path(run, runs)
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def forget_failure(run: Run, runs: Path) -> None:
    """Let a run that failed be started again."""
    failure_path(run, runs).unlink(missing_ok=True)


def last_line(run: Run, runs: Path) -> str:
    """Return the last line of a run's log."""
    return tail(run, runs).rpartition("\n")[2].strip()
