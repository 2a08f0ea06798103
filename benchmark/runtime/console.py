"""Console output: lines and progress bars, over tqdm. Output is no part of a run, which continues without it.

Control characters, which file names and titles may contain, are escaped, so that they cannot control the terminal.
"""

import contextlib
import errno
import io
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

LINE_SECONDS, TRANSFER_SECONDS = 30.0, 5.0  # between the lines that replace a bar without a terminal
# Control characters except tab and newline, those that change the direction of text, halves of surrogate pairs.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
BARS = re.compile("(\r|\x1b\\[A)")  # tqdm's movements of the cursor


def printable(text: str) -> str:
    r"""Return a text with control characters, and bytes of file names that are no Unicode, escaped.

    Example:
        >>> printable("a\x1b[31mb")
        'a\\x1b[31mb'
    """
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Output(io.TextIOBase):
    """A standard stream that escapes control characters and never raises.

    Attributes:
        stream: the wrapped stream; None where the process was started without it.
        bars: whether bars may move the cursor.
        error: the first error of writing, or None.
    """

    def __init__(self, stream: TextIO | None, bars: bool) -> None:
        self.stream, self.bars = stream, bars
        self.error: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write a text, with control characters and those that the stream's encoding lacks escaped."""
        parts = BARS.split(text) if self.bars else [text]
        safe = "".join(part if BARS.fullmatch(part) and self.bars else printable(part) for part in parts)
        if self.stream is not None:
            encoding = self.stream.encoding or "utf-8"
            with self._lenient():
                self.stream.write(safe.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        if self.stream is not None:
            with self._lenient():
                self.stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self.stream is not None and self.stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor."""
        if self.stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's encoding."""
        return (self.stream and self.stream.encoding) or "utf-8"

    @contextmanager
    def _lenient(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError:  # a signal handler prints while the same stream is being written
            pass
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self.error = self.error or error
            if isinstance(error, BrokenPipeError):
                self.silence()

    def silence(self) -> None:
        """Redirect the descriptor to the null device, so that the buffer can be flushed, also when Python ends."""
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)


@contextmanager
def outputs() -> Iterator[Output]:
    """Replace the standard streams by `Output` until the end of the block; yield that of the standard output."""
    for descriptor in range(3):  # the next file that is opened would take the number of a closed one
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    out, err = Output(sys.stdout, bars=False), Output(sys.stderr, bars=True)
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        for output in (out, err):
            output.flush()
            if output.error is not None:
                output.silence()
        sys.stdout, sys.stderr = before


def duration(seconds: float) -> str:
    """Return a time span as text: "42 s", "3 min 05 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def print_line(text: str) -> None:
    """Print a line without disturbing any bar."""
    tqdm.write(printable(text), file=sys.stdout)
    sys.stdout.flush()


class Bar:
    """A progress bar in a terminal; elsewhere lines, with some time between them.

    Args:
        label: shown before the bar and in the lines.
        seconds: between two lines.
        options: arguments of tqdm.
    """

    def __init__(self, label: str, seconds: float, **options: Any) -> None:
        self.label, self.seconds = printable(label), seconds
        self.hidden = not sys.stderr.isatty()
        self.tqdm = tqdm(desc=self.label, disable=self.hidden, leave=False, dynamic_ncols=True, **options)
        self.began = self.printed = time.monotonic()

    def close(self) -> None:
        """Remove the bar."""
        self.tqdm.close()

    def advance(self, amount: float, note: str | None = None) -> None:
        """Move the bar on, and show a note behind it."""
        self.tqdm.update(amount)
        if note is not None:
            self.tqdm.set_postfix_str(printable(note))

    def line(self, text: str) -> None:
        """Print a line beside the bar."""
        print_line(f"{self.label}: {text}")

    def line_if_due(self, text: str) -> None:
        """Print a line in place of the bar if there is no terminal and the last line is older than `seconds`."""
        now = time.monotonic()
        if self.hidden and now - self.printed > self.seconds:
            self.printed = now
            self.line(text)


class Transfer(Bar):
    """Shows a download: megabytes, speed and the time left.

    Attributes:
        total: bytes of the whole file; 0 if unknown.
    """

    def __init__(self, label: str) -> None:
        super().__init__(label, TRANSFER_SECONDS, unit="B", unit_scale=True)
        self.total, self.done = 0, 0

    def update(self, size: int) -> None:
        """Add bytes that were received."""
        self.done += size
        self.tqdm.total = self.total or None
        self.advance(size)
        speed = self.done / max(time.monotonic() - self.began, 1e-9)
        left = f", {duration((self.total - self.done) / speed)} left" if self.total > self.done > 0 else ""
        of = f" of {self.total / 1e6:.1f}" if self.total else ""
        self.line_if_due(f"{self.done / 1e6:.1f}{of} MB, {speed / 1e6:.1f} MB/s{left}")
