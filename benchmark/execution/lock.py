"""Locks: a run is computed by one worker at a time, on this machine or on any that shares the results folder.

A lock is a file beside the record whose time its holder renews. It expires: a holder that was paused for longer is
taken for dead, and its run is taken over. So the lock is looked at before every write (fencing), see `RunLock.holds`.
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
    """Another worker has taken the run over, because this one was taken for dead; it must not write any more."""


class RunLock:
    """The lock of a run, as one worker sees it; nothing is written before it is asked for.

    Attributes:
        path: of its file.
        seen: what the file said when it last changed, and when that was, by this process's own clock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lease = SoftFileLease(path, lease_duration=LEASE, heartbeat_interval=HEARTBEAT)
        self.seen: tuple[object, float] = (None, 0.0)

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Give whether the lock could be had, without waiting; it is held until the end of the block.

        A dead holder's lock is taken over: at once if it was a process of this machine, else when it was seen unchanged
        for a minute, for which the same object must be asked again and again.

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
            with contextlib.suppress(OSError):  # a lock that cannot be removed lapses
                self.lease.release()

    def _acquired(self) -> bool:
        try:
            self.lease.acquire(timeout=0)
        except Timeout:
            return False
        except LeaseSettingsMismatch as error:
            raise RunError(f"{error}; it is of another version of this program.") from error
        return True

    def _moved_aside(self) -> bool:
        """Take a dead holder's lock away where the file system does not let filelock do it (NFS, SMB, FUSE).

        filelock exchanges two names in one step. Without that the path is empty for a moment, in which another worker
        may claim it; of two that do this at once, one may so lose its lock, and notices before it writes (`holds`).
        """
        owner, now = self.lease.owner, time.monotonic()
        if owner is None:
            return False
        with contextlib.suppress(OSError):
            state = (owner.token, self.path.stat().st_mtime_ns)
            if self.seen[0] != state:
                self.seen = state, now
        dead = owner.hostname == this_host() and not is_alive(owner.pid)
        if not dead and now - self.seen[1] < LEASE + HEARTBEAT:  # filelock was first
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
        """Say whether this worker holds the lock by the lock's own file, which another one may have taken over."""
        owner = self.lease.owner
        return self.lease.compromise is None and owner is not None and owner.token == self.lease.token


def held(paths: Sequence[Path]) -> list[bool]:
    """Say which locks a living worker holds, without changing anything.

    A lock of another machine is held if its file changes within two heartbeats, for which this waits.
    """
    owners = [SoftFileLease(path, lease_duration=LEASE, heartbeat_interval=HEARTBEAT).owner for path in paths]
    elsewhere = [path for path, owner in zip(paths, owners, strict=True) if owner and owner.hostname != this_host()]
    beating = dict(zip(elsewhere, beats(elsewhere, 2 * HEARTBEAT), strict=True))
    return [
        owner is not None and (beating[path] if path in beating else is_alive(owner.pid))
        for path, owner in zip(paths, owners, strict=True)
    ]


def beats(paths: Sequence[Path], seconds: float) -> list[bool]:
    """Say which files change within some seconds."""
    before, until = [changed(path) for path in paths], time.monotonic() + seconds
    found = [False] * len(paths)
    while not all(found) and time.monotonic() < until:
        time.sleep(min(0.5, seconds))
        found = [old or changed(path) not in (None, then) for old, path, then in zip(found, paths, before, strict=True)]
    return found


def changed(path: Path) -> int | None:
    """Return when a file was changed last, in nanoseconds of the clock of whoever did it; None where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


@functools.cache
def this_host() -> str:
    """Return what filelock calls this machine, or the container on it, in whose locks processes can be looked up."""
    with tempfile.TemporaryDirectory() as folder, SoftFileLease(Path(folder) / "lock", lease_duration=LEASE) as lease:
        return lease.owner.hostname if lease.owner else ""


def is_alive(process: int) -> bool:
    """Say whether there is a process of this number, on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True
