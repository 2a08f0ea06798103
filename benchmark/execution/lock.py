"""Locks: a run is computed by one worker at a time, on this machine or on any that shares the results folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLease, Timeout

from benchmark.records.store import unwritable
from benchmark.settings.plan import Run

LEASE, HEARTBEAT = 60.0, 10.0  # seconds


def lock_path(run: Run, results: Path) -> Path:
    """Return where a run's lock lies while a worker is at it: beside its record, which is what workers share."""
    return run.path(results, ".lock")


def make_lock(run: Run, results: Path) -> SoftFileLease:
    """Return the run's lock, a file whose time its holder renews every ten seconds.

    A dead holder's lock is taken over: at once if it was a process of this machine, else when somebody has seen it
    unchanged for a minute by a clock of his own, for which he must keep asking with the same object.
    """
    path = lock_path(run, results)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    return SoftFileLease(path, lease_duration=LEASE, heartbeat_interval=HEARTBEAT)


@contextmanager
def claimed(lock: SoftFileLease) -> Iterator[bool]:
    """Give whether the lock could be had, without waiting; it is held until the end of the block.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise unwritable(Path(lock.lock_file).parent, error) from error
    try:
        yield True
    finally:
        lock.release()


class LostError(Exception):
    """Another worker has taken the run over, because this one was taken for dead; it must not write any more."""


def raise_if_lost(lock: SoftFileLease) -> None:
    """Raise LostError where somebody else holds the lock by now, for example after this machine slept."""
    if lock.compromise is not None:
        raise LostError(f"its lock was lost ({lock.compromise.reason}); another worker may have taken the run over")
