"""The log of a run: its messages with their times, in a file beside its checkpoint; and its failure, if any."""

import re
from datetime import UTC, datetime
from pathlib import Path

from benchmark.execution.paths import RunPaths
from benchmark.runtime.console import print_line, printable
from benchmark.runtime.files import refuse_irregular, write_text, writing_to

TAIL = 20  # lines in error messages
TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ ")


class Log:
    """Appends to a run's log. A log is no part of a run: if it cannot be written, one line is printed."""

    def __init__(self, path: Path) -> None:
        self.path, self.works = path, True

    def __call__(self, text: str) -> None:
        """Append a text of one or more lines."""
        if not self.works:
            return
        try:
            refuse_irregular(self.path)  # a pipe would block
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ} {printable(text)}\n")
        except OSError as error:
            self.works = False
            print_line(
                f"The log {self.path} cannot be written ({error.strerror or error}); its run goes on without it."
            )


def tail(path: Path) -> str:
    """Return the last lines of a log, indented; empty if there is no log."""
    return "".join(f"\n    {line}" for line in lines(path)[-TAIL:])


def lines(path: Path) -> list[str]:
    """Return the lines of a log; none if there is no log."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def size(path: Path) -> int:
    """Return the size of a log in bytes; 0 if there is no log."""
    return path.stat().st_size if path.is_file() else 0


def added_since(path: Path, offset: int) -> tuple[list[str], int]:
    """Return the complete lines of a log after an offset in bytes, without their times, and the offset after them."""
    if size(path) <= offset:
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        added = file.read()
    whole = added[: added.rfind(b"\n") + 1]
    return [TIME.sub("", line) for line in whole.decode("utf-8", "replace").splitlines()], offset + len(whole)


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
