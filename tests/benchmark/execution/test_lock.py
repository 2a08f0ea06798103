"""Locks keep workers apart; a dead one's is taken over, on every file system; one that lost its lock writes no more."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studies.tiny_study import attempt, path_of, read, recorded, worker

from benchmark.data.load import Data
from benchmark.execution import lock as locks
from benchmark.execution import run as one_run
from benchmark.execution import worker as workers
from benchmark.execution.files import Folders, RunPaths, mark
from benchmark.execution.lock import LostError, RunLock, held, this_host
from benchmark.settings.plan import Run

MakeRun = Callable[..., Run]
DIES = """
import os, sys
from benchmark.execution.lock import RunLock
from pathlib import Path
with RunLock(Path(sys.argv[1])).claimed() as mine:
    print(mine, flush=True)
    os._exit(1)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "seed-0.lock"


class Clock:
    """A clock that passes only where somebody sleeps, and the heart of a holder elsewhere, which beats by it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.beats: Path | None = None
        self.time = time.time

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        before, self.now = self.now, self.now + seconds
        if self.beats and self.now // locks.HEARTBEAT > before // locks.HEARTBEAT:
            self.beats.touch()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of who waits for a lock, here and in filelock."""
    found = Clock()
    monkeypatch.setattr(locks, "time", found)
    replace_in_filelock(monkeypatch, "time", found, "filelock._soft")
    return found


def replace_in_filelock(monkeypatch: pytest.MonkeyPatch, name: str, value: object, package: str = "filelock") -> None:
    """Replace what filelock's modules call by a name, in whichever of them: they differ between its versions."""
    using = [module for path, module in sys.modules.items() if f"{path}.".startswith(f"{package}.")]
    using = [module for module in using if name in vars(module)]
    assert using
    for module in using:
        monkeypatch.setattr(module, name, value)


def refuse_exchanges(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_in_filelock(monkeypatch, "exchange_names", lambda *_: False)


@pytest.fixture(params=["exchange", "no exchange"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system as here, and one that cannot exchange two names, as NFS, SMB and many of FUSE."""
    if request.param == "no exchange":
        refuse_exchanges(monkeypatch)
    return str(request.param)


def left_by_a_dead_process(path: Path) -> None:
    """Leave the lock of a process that died."""
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.stdout == "True\n"


def left_by_a_dead_holder(path: Path, host: str = "") -> None:
    """Leave a lock whose process number nobody has, or that of another machine."""
    with RunLock(path).claimed():
        text = path.read_text()
    lines = [line for line in text.splitlines() if not line.startswith("start=")]
    dead = "\n".join("pid=2147483000" if line.startswith("pid=") else line for line in lines) + "\n"
    path.write_text(dead.replace(f"host={this_host()}", f"host={host}") if host else dead)


def taken(lock: RunLock, seconds: float, clock: Clock) -> float | None:
    """Ask for a lock each second until it could be had, and return after how many seconds."""
    began = clock.now
    while clock.now < began + seconds:
        with lock.claimed() as mine:
            if mine:
                return clock.now - began
        clock.sleep(1.0)
    return None


def test_two_claims_of_a_run_exclude_each_other(path: Path) -> None:
    with RunLock(path).claimed() as mine, RunLock(path).claimed() as other:
        assert (mine, other) == (True, False)
    with RunLock(path).claimed() as mine:
        assert mine
    assert not list(path.parent.iterdir())


def test_a_dead_process_of_this_machine_is_replaced_at_once(path: Path, file_system: str) -> None:
    left_by_a_dead_process(path)
    assert held([path]) == [False]
    with RunLock(path).claimed() as mine:
        assert mine, file_system
    assert not list(path.parent.iterdir())


def test_a_dead_holder_elsewhere_is_replaced_when_its_heart_has_stopped(
    path: Path, file_system: str, clock: Clock
) -> None:
    left_by_a_dead_holder(path, host="another")
    after = taken(RunLock(path), 120, clock)
    assert after is not None, file_system
    assert locks.LEASE <= after <= locks.LEASE + locks.HEARTBEAT
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("content", [b"", b"\xff garbage\n", b"pid=1\n"], ids=["empty", "garbage", "cut off"])
@pytest.mark.usefixtures("file_system")
def test_a_lock_that_a_power_cut_damaged_is_replaced_when_its_heart_has_stopped(
    path: Path, content: bytes, clock: Clock
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    after = taken(RunLock(path), 120, clock)
    assert after is not None
    assert 1 < after <= locks.LEASE + locks.HEARTBEAT  # not at once: it may be being written
    assert not list(path.parent.iterdir())


@pytest.mark.usefixtures("file_system")
def test_a_living_holder_elsewhere_is_not_replaced(path: Path, clock: Clock) -> None:
    with RunLock(path).claimed() as mine:
        assert mine
        path.write_text(path.read_text().replace("host=", "host=another-"))
        clock.beats = path
        assert taken(RunLock(path), 4 * locks.LEASE, clock) is None
        assert held([path]) == [True]
        clock.beats = None
        assert held([path]) == [False]


def test_who_was_paused_past_the_lease_holds_the_lock_no_more(path: Path, file_system: str, clock: Clock) -> None:
    first, second = RunLock(path), RunLock(path)
    with first.claimed() as mine:
        assert mine
        first.lease._stop_heartbeat()  # as SIGSTOP does with a process
        path.write_text(path.read_text().replace("host=", "host=another-"))
        assert first.holds()
        for _ in range(int(locks.LEASE + locks.HEARTBEAT) + 2):
            with second.claimed() as other:
                if other:
                    assert second.holds(), file_system
                    assert not first.holds()
                    break
            assert first.holds()
            clock.sleep(1.0)
        else:
            raise AssertionError("the lock was not taken over")
        assert not first.holds()


def test_a_faster_worker_keeps_its_lock_when_a_slower_one_moves_it_aside(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a dead holder's lock and its removal, another worker has taken it over."""
    refuse_exchanges(monkeypatch)
    left_by_a_dead_holder(path)
    fast, slow = RunLock(path), RunLock(path)
    judged = slow.lease.owner
    with fast.claimed() as mine:
        assert mine
        monkeypatch.setattr(type(slow.lease), "owner", property(lambda self: judged if self is slow.lease else None))
        assert not slow._moved_aside()
        monkeypatch.undo()
        assert fast.holds()
        assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_lock_that_is_gone_is_held_by_nobody(path: Path) -> None:
    lock = RunLock(path)
    assert held([path]) == [False]
    with lock.claimed():
        assert held([path]) == [True]
        path.unlink()
        assert not lock.holds()


def test_a_process_of_somebody_else_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert locks.is_alive(1)


def test_this_host_is_what_filelock_writes() -> None:
    assert this_host().startswith(socket.gethostname()[:20])


# Fencing


def test_a_worker_that_lost_its_lock_writes_nothing_more(
    make_run: MakeRun, digits: Data, folders: Folders, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    one, calls = make_run("erm", 0, "recipe.epochs=2"), list[None]()
    original = RunLock.holds

    def lost_once(lock: RunLock) -> bool:
        calls.append(None)
        return len(calls) != 2 and original(lock)

    monkeypatch.setattr(RunLock, "holds", lost_once)
    workers.execute([one], worker(digits, folders))
    said = capsys.readouterr().out
    assert "its lock was lost" in said
    assert "resuming after epoch 1/2" in said  # nobody else had it, so it is begun again
    assert read(path_of("erm", 0, folders.results))["status"] == "done"


def test_what_is_finished_elsewhere_is_not_written_again(
    make_run: MakeRun, digits: Data, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was paused past its lease goes on when another one has finished the run."""
    one = make_run("erm", 0, "recipe.epochs=2")
    workers.execute([one], worker(digits, folders))
    before = {file: file.read_bytes() for file in folders.runs.parent.rglob("*") if file.is_file()}
    paused = attempt(one, worker(digits, folders))
    monkeypatch.setattr(one_run, "begin", lambda _paths: paused.paths.checkpoint.unlink())  # it was at its first epoch
    assert one_run.finish_run(paused, lambda: None) == "another worker has finished it"  # type: ignore[arg-type,return-value]
    del before[paused.paths.checkpoint], before[paused.paths.log]
    after = {file: file.read_bytes() for file in folders.runs.parent.rglob("*") if file.is_file()}
    assert {file: after.get(file) for file in before} == before
    assert not paused.paths.checkpoint.exists()


def test_a_failure_of_who_lost_the_run_is_no_failure_of_the_run(
    make_run: MakeRun, digits: Data, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_run("erm")
    recorded(one, folders)

    def fail(*_: object) -> None:
        raise ValueError("the checkpoint was replaced under me")

    monkeypatch.setattr(one_run, "execute_run", fail)
    assert one_run.finish_run(attempt(one, worker(digits, folders)), None) == "another worker has finished it"  # type: ignore[arg-type]
    assert not RunPaths(one, folders).failure.exists()


def test_a_run_that_is_repeated_may_write_beside_its_old_record(
    make_run: MakeRun, digits: Data, folders: Folders
) -> None:
    one = make_run("erm")
    recorded(one, folders)
    with pytest.raises(LostError, match="another worker has finished it"):
        attempt(one, worker(digits, folders)).check()
    mark(RunPaths(one, folders))
    attempt(one, worker(digits, folders)).check()


def test_two_threads_that_take_over_at_once_do_not_both_hold_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an exchange of names; whoever believes to hold the lock is asked before each write."""
    refuse_exchanges(monkeypatch)
    for _ in range(20):
        left_by_a_dead_holder(path)
        assert claimed_at_once(path, 2).count(True) <= 1
        path.unlink(missing_ok=True)


def claimed_at_once(path: Path, workers: int) -> list[bool]:
    """Let several threads claim a lock at once; return for each whether it believes to hold it when all have tried."""
    together, holders = threading.Barrier(workers), list[bool]()

    def claim() -> None:
        lock = RunLock(path)
        together.wait()
        with lock.claimed() as mine:
            together.wait()
            holders.append(mine and lock.holds())
            together.wait()

    threads = [threading.Thread(target=claim) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return holders
