"""The job-array script, run by bash with Slurm's variables faked and a `scontrol` that only notes what it is asked."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from studies.saying import PROJECT
from studies.tiny_study import TINY, path_of, read

SCRIPT = PROJECT / "docs" / "study.sbatch"
BASH = shutil.which("bash")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BASH is None, reason="bash is not here")]

Submit = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def submit(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Submit:
    """Give a starter of one task of an array: its number, the number of tasks, then options of `run`."""
    tools, environment = fresh / "tools", fresh / "environment" / "bin"
    tools.mkdir()
    environment.mkdir(parents=True)
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> "{fresh}/asked"\n')
    (tools / "scontrol").chmod(0o755)
    (environment / "activate").write_text(f'PATH="{Path(sys.executable).parent}:$PATH"\n')
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    fixed = {"SUBMIT_DIR": str(fresh), "CPUS_PER_TASK": "1", "JOB_ID": "4711", "ARRAY_TASK_MIN": "1"}
    for name, value in fixed.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SBA_ENVIRONMENT", str(environment.parent))

    def start(task: int, tasks: int, *options: str, last: int | None = None) -> "subprocess.Popen[str]":
        own = {"ID": task, "COUNT": tasks, "MAX": last or tasks}
        variables = os.environ | {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in own.items()}
        line = [str(BASH), str(SCRIPT), "smoke", *TINY, *options]
        return subprocess.Popen(line, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")

    return start


def test_two_tasks_of_an_array_record_every_run_once(submit: Submit, fresh: Path) -> None:
    few = ("--set=recipe.epochs=1", "--arms", "erm,mixup,sba", "--seeds", "0")
    tasks = [submit(number, 2, *few) for number in (1, 2)]
    for task in tasks:
        _, error = task.communicate(timeout=120)
        assert task.returncode == 0, error
    for arm in ("erm", "mixup", "sba"):
        record = read(path_of(arm, 0, fresh / "results"))
        assert (record["status"], record["environment"]["threads"]) == ("done", "1")
        assert (fresh / "runs" / "smoke" / arm / "seed-0.log").read_text().count("Z starts\n") == 1
    assert len(list((fresh / "results").rglob("*.json"))) == 3
    assert not (fresh / "asked").exists()


def test_the_end_of_the_time_saves_and_asks_for_the_task_again_and_what_is_cancelled_stays_away(
    submit: Submit, fresh: Path
) -> None:
    log, long = fresh / "runs" / "smoke" / "erm" / "seed-0.log", "--set=recipe.epochs=100000"
    for number, awaited in ((signal.SIGUSR1, "epoch 1/"), (signal.SIGTERM, "resuming after epoch ")):
        task = submit(1, 1, long, "--arms", "erm", "--seeds", "0")
        until = time.monotonic() + 60
        while not (log.is_file() and awaited in log.read_text()):
            assert time.monotonic() < until
            assert task.poll() is None
            time.sleep(0.05)
        task.send_signal(number)  # to the script alone
        _, error = task.communicate(timeout=60)
        assert task.returncode == 143
        assert "the same command goes on" in error
        assert not list((fresh / "results").rglob("*.lock"))
        assert list((fresh / "runs").rglob("*.pt"))
    assert (fresh / "asked").read_text() == "requeue 4711\n"


def test_a_run_that_diverges_is_the_exit_code_of_its_task_and_does_not_come_back(submit: Submit, fresh: Path) -> None:
    task = submit(1, 1, "--set=recipe.learning_rate=1e30", "--arms", "erm", "--seeds", "0")
    _, error = task.communicate(timeout=60)
    assert task.returncode == 1, error
    assert not (fresh / "asked").exists()


@pytest.mark.parametrize(("tasks", "last"), [(2, 3), (1, 3)])
def test_a_part_of_an_array_is_refused_since_its_parts_would_be_others(submit: Submit, tasks: int, last: int) -> None:
    task = submit(2, tasks, last=last)
    _, error = task.communicate(timeout=60)
    assert task.returncode == 2
    assert error == f"error: the array must be whole, --array=1-N; this one is 1-{last} with {tasks} tasks.\n"


def test_shellcheck_finds_nothing() -> None:
    path = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        pytest.skip("shellcheck is not here")
    found = subprocess.run([path, SCRIPT], capture_output=True, text=True, check=False)
    assert found.stdout == ""
    assert found.returncode == 0
