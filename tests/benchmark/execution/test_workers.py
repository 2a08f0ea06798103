"""Many workers: locks keep them apart, dead ones are replaced, shards are disjoint, cores are divided."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import workers_of
from tiny_study import TINY, path_of, read, run, worker

from benchmark.cli import main
from benchmark.data.load import Data
from benchmark.execution import driver
from benchmark.execution import lock as locks
from benchmark.execution import run as one_run
from benchmark.execution.lock import claimed, lock_path, make_lock
from benchmark.execution.paths import Places
from benchmark.execution.pending import Again
from benchmark.settings.load import load_preset
from benchmark.settings.plan import Run, make_plan, part

MakeRun = Callable[..., Run]
HOLD = """
import sys, time
from pathlib import Path
from filelock import SoftFileLease
from benchmark.execution.lock import LEASE, HEARTBEAT
lease = SoftFileLease(Path(sys.argv[1]), lease_duration=LEASE, heartbeat_interval=HEARTBEAT)
lease.acquire()
print("held", flush=True)
time.sleep(100)
"""


def test_parts_of_a_plan_are_disjoint_and_together_the_whole() -> None:
    plan = make_plan(load_preset("smoke"), None, None)
    names = [(run.arm, run.seed) for run in plan]
    parts = [[(run.arm, run.seed) for run in part(plan, (i, 5))] for i in range(1, 6)]
    assert sorted(itertools.chain(*parts)) == sorted(names)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [(run.arm, run.seed) for run in part(plan, None)] == names


@pytest.mark.parametrize("wrong", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2", "1.0/2"])
def test_a_wrong_shard_is_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "smoke", f"--shard={wrong}"])
    assert ended.value.code == 2
    assert "--shard" in capsys.readouterr().err


@pytest.mark.usefixtures("fresh")
def test_a_shard_trains_its_part_alone(trained: list[tuple[str, int]]) -> None:
    few = ("--set=recipe.epochs=1", '--set=evaluation.attacks=[{name="fgsm", steps=1}]')
    assert run(*few, "--arms", "erm,mixup,sba", "--seeds", "0", "--shard", "2/3") == 0
    assert set(trained) == {("mixup", 0)}


def test_a_run_that_another_worker_is_at_is_left_to_it_and_taken_over_when_that_one_dies(
    make_run: MakeRun, digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_run("erm", 0, "recipe.epochs=1")
    places = Places(tmp_path / "results", tmp_path / "runs")
    lock = lock_path(one, places.results)
    lock.parent.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        waits = list[float]()

        def wait(seconds: float) -> None:
            assert not list(places.results.rglob("*.json"))
            waits.append(seconds)
            other.kill()
            other.wait()

        monkeypatch.setattr("benchmark.execution.driver.time.sleep", wait)
        driver.execute([one], worker(digits, places))
    assert waits == [driver.POLL]
    assert read(path_of("erm", 0, places.results))["status"] == "done"
    assert not lock.exists()


def test_two_claims_of_a_run_exclude_each_other(make_run: MakeRun, tmp_path: Path) -> None:
    one = make_run("erm")
    with claimed(make_lock(one, tmp_path)) as mine, claimed(make_lock(one, tmp_path)) as other:
        assert (mine, other) == (True, False)
    with claimed(make_lock(one, tmp_path)) as mine:
        assert mine


def test_a_lock_of_another_machine_is_taken_over_when_its_heart_has_stopped(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LEASE", 0.6)
    monkeypatch.setattr(locks, "HEARTBEAT", 0.1)
    one = make_run("erm")
    held, waiting = make_lock(one, tmp_path), make_lock(one, tmp_path)
    held.acquire()
    path = lock_path(one, tmp_path)
    path.write_text(path.read_text().replace("host=", "host=elsewhere-"))  # a living holder that cannot be looked up
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        with claimed(waiting) as mine:
            assert not mine  # its heart beats
        time.sleep(0.1)
    held._stop_heartbeat()
    until = time.monotonic() + 5.0
    taken = False
    while not taken and time.monotonic() < until:
        with claimed(waiting) as taken:
            time.sleep(0.05)
    assert taken


def test_a_worker_that_lost_its_lock_writes_nothing_more(
    make_run: MakeRun,
    digits: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = make_run("erm", 0, "recipe.epochs=2")
    places = Places(tmp_path / "results", tmp_path / "runs")
    calls = list[None]()

    def lost(_lock: object) -> None:
        calls.append(None)
        if len(calls) == 2:
            raise locks.LostError("its lock was lost")

    monkeypatch.setattr(one_run, "raise_if_lost", lost)
    driver.execute([one], worker(digits, places))
    said = capsys.readouterr().out
    assert "its lock was lost" in said
    assert "resuming after epoch 1/2" in said  # nobody else had it, so it is begun again
    assert read(path_of("erm", 0, places.results))["status"] == "done"


@pytest.mark.usefixtures("fresh")
def test_what_a_worker_repeats_no_other_worker_repeats(trained: list[tuple[str, int]]) -> None:
    few = ("--set=recipe.epochs=1", '--set=evaluation.attacks=[{name="fgsm", steps=1}]')
    one = (*few, "--arms", "erm", "--seeds", "0")
    assert run(*one) == 0
    record = path_of("erm", 0)
    since = time.time()
    trained.clear()
    assert run(*one, "--force", "--worker-of", str(os.getppid()), "--since", repr(since)) == 0
    assert trained == [("erm", 0)]
    assert record.stat().st_mtime >= since
    assert run(*one, "--force", "--worker-of", str(os.getppid()), "--since", repr(since)) == 0
    assert trained == [("erm", 0)]
    assert Again("all", since + 1000).covers(record, {"status": "done"})  # type: ignore[typeddict-item]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_interrupting_many_workers_stops_them_all_and_keeps_what_was_done(fresh: Path) -> None:
    command = [sys.executable, "-m", "benchmark", "run", "smoke", *TINY, "--set=recipe.epochs=300", "--jobs", "2"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as study:
        assert study.stdout is not None
        for line in study.stdout:
            if ": epoch 1/300" in line:
                break
        workers = workers_of(study.pid)
        study.send_signal(signal.SIGINT)
        _, error = study.communicate(timeout=60)
    assert study.returncode == 130
    assert "the same command goes on" in error
    assert "Traceback" not in error
    assert len(workers) == 2
    for worker_id in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker_id, 0)
    assert not list(fresh.rglob("*.lock"))
    assert list(fresh.rglob("*.pt"))
