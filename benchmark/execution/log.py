"""The log of a run: what was told of it, with the time, in a file beside its checkpoint; and its failure, if any."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmark.execution.paths import RunPaths
from benchmark.runtime.console import print_line, printable
from benchmark.runtime.files import refuse_irregular, write_text, writing_to

TAIL = 20  # lines that an error shows
TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ ")


class Log:
    """Appends to a run's log. A log is no part of a run: where it cannot be written, that is told once."""

    def __init__(self, path: Path) -> None:
        self.path, self.works = path, True

    def __call__(self, text: str) -> None:
        """Append a text, which may have several lines."""
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
    """Return the last lines of a log, indented; nothing where there is none."""
    return "".join(f"\n    {line}" for line in lines(path)[-TAIL:])


def lines(path: Path) -> list[str]:
    """Return the lines of a log, none where there is none."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def size(path: Path) -> int:
    """Return the bytes of a log so far, 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def added_since(path: Path, offset: int) -> tuple[list[str], int]:
    """Return the whole lines that were added to a log, without their times, and the offset behind them.

    Args:
        path: of the log.
        offset: bytes of it that were read before.
    """
    if size(path) <= offset:
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        added = file.read()
    whole = added[: added.rfind(b"\n") + 1]
    return [TIME.sub("", line) for line in whole.decode("utf-8", "replace").splitlines()], offset + len(whole)


def mark_failed(paths: RunPaths, reason: str, trace: str, check: Callable[[], object]) -> None:
    """Note that a run failed, so that no worker takes it up again before somebody asks for it, and its traceback.

    `check` is called before, and may raise.

    Raises:
        UsageError: the folder cannot be written.
    """
    check()
    with writing_to(paths.failure.parent):
        write_text(paths.trace, trace)
        write_text(paths.failure, f"{reason}\n")


def failure(paths: RunPaths) -> str | None:
    """Return why a run failed, None if it did not."""
    return paths.failure.read_text(encoding="utf-8").strip() if paths.failure.is_file() else None
