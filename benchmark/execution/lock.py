"""Locks: a run is computed by one worker at a time, on all machines that share the results folder.

A lock is a file beside the record, whose modification time its holder renews. It expires: a holder that was paused for
longer counts as dead, and another worker takes its run over. So it is checked before every write (fencing), see
`RunLock.holds`.
"""

import contextlib
import functools
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from benchmark.runtime.errors import RunError
from benchmark.runtime.files import writing_to

LEASE, HEARTBEAT = 60.0, 10.0  # seconds


class LostError(Exception):
    """Another worker has taken the run over, because this one counted as dead; this one must not write any more."""


class RunLock:
    """The lock of a run in one worker; nothing is written before it is claimed.

    Attributes:
        path: of its file.
        seen: the file's state at its last observed change, and the time of that observation (monotonic clock).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lease = SoftFileLease(path, lease_duration=LEASE, heartbeat_interval=HEARTBEAT)
        self.seen: tuple[object, float] = (None, 0.0)

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Try to acquire the lock without waiting, until the end of the block; yield whether it was acquired.

        A dead holder's lock is taken over: at once if it was a process of this machine, else when its file has not
        changed for a minute, for which the same object must be polled.

        Raises:
            UsageError: the folder cannot be written.
        """
        with writing_to(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            mine = self._acquired() or (self._moved_aside() and self._acquired())
        if not mine:
            yield False
            return
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):  # a lock that cannot be removed expires
                self.lease.release()

    def _acquired(self) -> bool:
        try:
            self.lease.acquire(timeout=0)
        except Timeout:
            return False
        except LeaseSettingsMismatch as error:
            raise RunError(f"{error}; the lock was made by another version of this program.") from error
        return True

    def _moved_aside(self) -> bool:
        """Remove a dead holder's lock where filelock does not: on NFS, SMB and FUSE, or empty after a power cut.

        filelock exchanges two names atomically. Without that the path does not exist for a moment, in which another
        worker may claim it; of two that do this at once, one may lose its lock, and notices before it writes (`holds`).
        """
        owner, now = self.lease.owner, time.monotonic()  # None: empty or damaged
        state = (owner and owner.token, _modified(self.path))
        if self.seen[0] != state:
            self.seen = state, now
        dead = owner is not None and owner.hostname == this_host() and not is_alive(owner.pid)
        if not dead and now - self.seen[1] < LEASE + HEARTBEAT:  # where filelock can, it has taken it over earlier
            return False
        aside = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}.tmp")
        try:
            self.path.rename(aside)
            if RunLock(aside).lease.owner == owner:
                aside.unlink()
                return True
            os.link(aside, self.path)  # another worker was faster: its lock goes back, unless there is a newer one
        except OSError:
            return False
        finally:
            aside.unlink(missing_ok=True)
        return False

    def holds(self) -> bool:
        """Return whether this worker still holds the lock, by the token in its file."""
        owner = self.lease.owner
        return self.lease.compromise is None and owner is not None and owner.token == self.lease.token


def held(paths: Sequence[Path]) -> list[bool]:
    """Return which locks a living worker holds, without changing anything.

    A lock of another machine is held if its file changes within two heartbeats, for which this waits. One of this
    machine is held if there is a process with its number: after a restart that may be another program, until a worker
    claims the run, because filelock compares the time of a process's start only there.
    """
    owners = [RunLock(path).lease.owner for path in paths]
    elsewhere = [path for path, owner in zip(paths, owners, strict=True) if owner and owner.hostname != this_host()]
    beating = dict(zip(elsewhere, _changing(elsewhere, 2 * HEARTBEAT), strict=True))
    return [
        owner is not None and (beating[path] if path in beating else is_alive(owner.pid))
        for path, owner in zip(paths, owners, strict=True)
    ]


def _changing(paths: Sequence[Path], seconds: float) -> list[bool]:
    """Return which files change within some seconds."""
    before, until = [_modified(path) for path in paths], time.monotonic() + seconds
    found = [False] * len(paths)
    while not all(found) and time.monotonic() < until:
        time.sleep(min(0.5, seconds))
        found = [
            old or _modified(path) not in (None, then) for old, path, then in zip(found, paths, before, strict=True)
        ]
    return found


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


@functools.cache
def this_host() -> str:
    """Return filelock's name of this machine or container, whose process numbers are known here."""
    with tempfile.TemporaryDirectory() as folder, SoftFileLease(Path(folder) / "lock", lease_duration=LEASE) as lease:
        return lease.owner.hostname if lease.owner else ""


def is_alive(process: int) -> bool:
    """Return whether a process with this number exists on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True
