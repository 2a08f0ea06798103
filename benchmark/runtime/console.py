"""What is printed while something runs: lines that disturb no progress bar, time spans, downloads."""

import sys
import time

from tqdm import tqdm

TRANSFER_SECONDS = 5.0


def duration(seconds: float) -> str:
    """Return a time span for people: "42 s", "3 min 05 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def print_line(text: str) -> None:
    """Print a line without disturbing any bar."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


class Transfer:
    """Shows a download: megabytes, speed and the time left; what pooch asks of a progress bar.

    In a terminal it is a bar; elsewhere a line, at most one in five seconds.

    Attributes:
        total: bytes of the whole file, as the server tells; 0 where it does not.
    """

    def __init__(self, label: str) -> None:
        hidden = not sys.stderr.isatty()
        self.bar = tqdm(desc=label, unit="B", unit_scale=True, disable=hidden, leave=False, dynamic_ncols=True)
        self.label, self.total, self.done = label, 0, 0
        self.began = self.printed = time.monotonic()

    def update(self, size: int) -> None:
        """Count more bytes."""
        self.done += size
        self.bar.total = self.total or None
        self.bar.update(size)
        now = time.monotonic()
        if self.bar.disable and now - self.printed > TRANSFER_SECONDS:
            self.printed = now
            speed = self.done / (now - self.began)
            left = f", {duration((self.total - self.done) / speed)} left" if self.total > self.done else ""
            of = f" of {self.total / 1e6:.1f}" if self.total else ""
            print_line(f"{self.label}: {self.done / 1e6:.1f}{of} MB, {speed / 1e6:.1f} MB/s{left}")

    def reset(self) -> None:
        """Count from 0 again: pooch does before it counts the whole file at the end."""
        self.done = 0
        self.bar.reset()

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()
