"""Many workers: each takes what no other is at, dead ones are replaced, shards are disjoint, cores are divided."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes.faults import workers_of
from studies.tiny_study import TINY, path_of, read, worker

from benchmark.cli import main
from benchmark.data.load import Data
from benchmark.execution import worker as workers
from benchmark.execution.files import Folders, RunPaths
from benchmark.execution.launchers import local
from benchmark.runtime.errors import BenchmarkError
from benchmark.runtime.signals import Stop, Stopped
from benchmark.settings.load import load_preset
from benchmark.settings.plan import Run, make_plan, part

# Two workers, the first of which ends when the second one trains.
TWO_WORKERS = """#!/bin/sh
cd {folder}
if mkdir first 2>/dev/null; then
    echo begins
    until [ -e trains ]; do sleep 0.05; done
    {first}
fi
trap 'echo stops; exit 143' TERM
until [ -d first ]; do sleep 0.05; done
echo trains
touch trains
while true; do sleep 0.05; done
"""
MakeRun = Callable[..., Run]
HOLD = """
import sys, time
from pathlib import Path
from benchmark.execution.lock import RunLock
with RunLock(Path(sys.argv[1])).claimed():
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


def test_a_run_that_another_worker_is_at_is_left_to_it_and_taken_over_when_that_one_dies(
    make_run: MakeRun, digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_run("erm", 0, "recipe.epochs=1")
    folders = Folders(tmp_path / "results", tmp_path / "runs")
    lock = RunPaths(one, folders).lock
    lock.parent.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        waits = list[float]()

        def wait(seconds: float) -> None:
            assert not list(folders.results.rglob("*.json"))
            waits.append(seconds)
            other.kill()
            other.wait()

        monkeypatch.setattr("benchmark.execution.worker.time.sleep", wait)
        workers.execute([one], worker(digits, folders))
    assert waits == [workers.POLL]
    assert read(path_of("erm", 0, folders.results))["status"] == "done"
    assert not lock.exists()


@pytest.mark.parametrize(
    ("first", "code", "said"),
    [
        ("echo error: no data; echo look there; exit 3", 3, "no data\nlook there"),
        ("echo Traceback; exit 1", 1, "worker [12] ended with exit code 1; its last lines are above."),
        ("exit 143", 143, "stopped by SIGTERM"),
    ],
)
def test_the_error_of_a_worker_is_that_of_the_command_whatever_the_others_that_it_stops_end_with(
    first: str, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, printed = tmp_path / "worker", list[str]()
    script.write_text(TWO_WORKERS.format(folder=tmp_path, first=first))
    script.chmod(0o700)

    def print_slowly(line: str) -> None:  # a worker's last lines are still unread when it ends
        time.sleep(0.3)
        printed.append(line)

    monkeypatch.setattr(local, "sys", SimpleNamespace(executable=str(script)))
    monkeypatch.setattr(local, "print_line", print_slowly)
    with pytest.raises((BenchmarkError, Stopped)) as ended:
        local._in_parallel(["run"], 2, Stop())
    assert isinstance(ended.value, BenchmarkError | Stopped)
    assert ended.value.exit_code == code
    assert re.fullmatch(said, str(ended.value))
    assert {*printed[1:]} == {"begins", "trains", "stops", *(["Traceback"] if code == 1 else [])}


@pytest.mark.slow
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
        _, error = study.communicate(timeout=240)
    assert study.returncode == 130
    assert "the same command goes on" in error
    assert "Traceback" not in error
    assert len(workers) == 2
    for worker_id in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker_id, 0)
    assert not list(fresh.rglob("*.lock"))
    assert list(fresh.rglob("*.pt"))
