"""Failures: a run that fails is named with the end of its log, others go on, and it is repeated when asked for."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from studies.saying import Say
from studies.tiny_study import TINY, Study, attempt, path_of, read, run, without_times, worker

from benchmark.data.load import Data
from benchmark.execution import record as assemble
from benchmark.execution import run as one_run
from benchmark.execution.files import Folders
from benchmark.execution.lock import LostError, RunLock
from benchmark.execution.worker import follow
from benchmark.records.store import read_record, write_record
from benchmark.runtime.distributed import Group
from benchmark.runtime.errors import RunError
from benchmark.settings.load import load_preset
from benchmark.settings.plan import Run, make_plan

pytestmark = pytest.mark.usefixtures("fresh")
FEW = ("--set=recipe.epochs=1", "--set=evaluation.images=16", "--set=evaluation.eps=[4.0, 16.0]")
ONE = ("--arms", "erm", "--seeds", "0")
Value = TypeVar("Value")


def failing(arm: str, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    """Let the runs of an arm fail between training and evaluation."""

    def make_record(one: Run, *rest: Any) -> Any:
        if one.arm == arm:
            raise error or RuntimeError("attack pgd left the ball\nby a lot")
        return assemble.make_record(one, *rest)

    monkeypatch.setattr(one_run, "make_record", make_record)


def test_a_run_that_failed_is_named_with_its_log_and_is_begun_again_from_its_checkpoint_only_when_asked_for(
    study: Study, monkeypatch: pytest.MonkeyPatch, trained: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        failing("erm", patch)
        assert run("--arms", "erm,mixup", "--seeds", "0") == 1
    said = capsys.readouterr()
    assert "erm seed 0: failed, attack pgd left the ball" in said.out
    assert "2 runs: 1 done, 1 failed." in said.out
    assert re.search(
        r"^The same command leaves them as they are; with --retry-failed it repeats", said.err, re.MULTILINE
    )
    log = Path("runs/smoke/erm/seed-0.log").read_text(encoding="utf-8").splitlines()
    assert all(f"\n    {line}\n" in said.err for line in log[-20:])
    assert "epoch 3/3" in said.err
    assert "Traceback" not in said.err
    assert "RuntimeError" in Path("runs/smoke/erm/seed-0.error.log").read_text(encoding="utf-8")
    assert read(path_of("mixup", 0))["status"] == "done"
    assert not path_of("erm", 0).exists()
    trained.clear()
    assert run("--arms", "erm,mixup", "--seeds", "0") == 1
    said = capsys.readouterr()
    assert "smoke: 2 runs, 1 done, 1 failed, 0 to do" in said.out
    assert "attack pgd left the ball" in said.err
    assert run(*ONE, "--retry-failed") == 0
    assert "smoke: 1 runs, 0 done, 1 to do" in capsys.readouterr().out
    assert trained == []  # its training was done
    assert without_times(read(path_of("erm", 0))) == without_times(study.records["erm", 0])
    assert not list(Path("runs").rglob("*.failed"))


def test_a_run_that_broke_the_device_ends_the_worker_and_fails_no_other_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing("erm", monkeypatch, RuntimeError("CUDA error: an illegal memory access was encountered"))
    monkeypatch.setattr(one_run, "answers", lambda _device: False)
    assert run("--arms", "erm,mixup", "--seeds", "0", *FEW) == 1
    assert "illegal memory access" in capsys.readouterr().err
    assert not list(Path("runs/smoke").glob("mixup/*"))


def test_a_run_that_diverged_names_step_and_values_and_is_repeated_from_its_start_when_asked_for(
    study: Study, trained: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    diverging = ("--arms", "erm,mixup", "--seeds", "0", "--set=arms.erm.recipe.learning_rate=1e30")
    assert run(*diverging) == 1
    before = read(path_of("erm", 0))
    assert before["status"] == "diverged"
    assert "final_weights_hash" not in before
    reason = before["reason"]
    assert f"erm seed 0: diverged, {reason}" in capsys.readouterr().err
    assert read(path_of("mixup", 0))["clean"] == study.records["mixup", 0]["clean"]  # the other goes on
    assert "became nan in epoch 1, step 2 (2.3" in reason or "became inf in epoch 1, step 2 (2.3" in reason
    assert "learning rate" in reason
    trained.clear()
    assert run(*diverging) == 1
    assert trained == []
    assert run(*diverging, "--retry-failed") == 1
    assert trained == [("erm", 0)]
    assert without_times(read(path_of("erm", 0))) == without_times(before)


# Failures in one of several processes: the job ends with a message, and nobody waits for one that went on alone.


@dataclass(frozen=True)
class Told(Group):
    """A process of two that is told the first run."""

    def share(self, value: Value) -> Value:
        del value
        return 0  # type: ignore[return-value]


def fail(error: Exception) -> Any:
    def failing(*_: object) -> None:
        raise error

    return failing


@pytest.mark.parametrize("error", [LostError("the lock was taken over"), ValueError("an odd value")])
def test_what_ends_a_run_in_the_first_of_two_processes_ends_the_job(
    error: Exception, digits: Data, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_run, "execute_run", fail(error))
    (run,) = make_plan(load_preset("smoke"), ["erm"], [0])
    alone = worker(digits, folders)
    assert str(error) in one_run.finish_run(attempt(run, alone), None)  # type: ignore[arg-type]
    with pytest.raises(RunError, match=str(error)):
        one_run.finish_run(attempt(run, replace(alone, group=Group(0, 2))), None)  # type: ignore[arg-type]


def test_an_error_that_names_the_network_is_a_failure_of_the_run_where_nobody_else_is(
    digits: Data, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_run, "execute_run", fail(RuntimeError("class folder igloo is gone")))
    (run,) = make_plan(load_preset("smoke"), ["erm"], [0])
    assert one_run.finish_run(attempt(run, worker(digits, folders)), None).startswith("failed")  # type: ignore[arg-type]


def test_an_error_in_another_process_is_told_there_and_ends_it_with_a_code(
    digits: Data, folders: Folders, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmark.execution.worker.take_part", fail(RuntimeError("CUDA out of memory")))
    other = replace(worker(digits, folders), group=Told(1, 2))
    with pytest.raises(RunError, match=r"process 1: CUDA out of memory.*--retry-failed"):
        follow(make_plan(load_preset("smoke"), ["erm"], [0]), other)
    assert "Traceback" in capsys.readouterr().err


# status


def test_status_says_how_each_run_stands_and_what_the_rest_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], say: Say
) -> None:
    assert "no run is finished from which" in say("status", "smoke").out
    failing("mixup", monkeypatch)
    assert run("--arms", "erm,mixup", "--seeds", "0", *FEW) == 1
    path = path_of("erm", 0)
    record = read_record(path)
    record["cost"] |= {"train_seconds": 3000.0, "attack_seconds": 600.0}
    write_record(path, record)
    Path("runs/smoke/sba").mkdir()
    Path("runs/smoke/sba/seed-1.log").write_text("2026-01-01 00:00:00Z epoch 1/1, loss 1.5\n")
    capsys.readouterr()
    with RunLock(Path("results/smoke/sba/seed-1.lock")).claimed():
        said = say("status", "smoke", *TINY, *FEW)
    assert said.code == 0
    assert "smoke: 8 runs, 1 done, 1 failed, 1 running, 5 pending." in said.out
    lines = [line.split() for line in said.out.splitlines()]
    for row in (["erm", "done", "pending"], ["mixup", "failed", "pending"], ["sba", "pending", "running"]):
        assert row in lines
    assert "sba seed 1, running: 2026-01-01 00:00:00Z epoch 1/1, loss 1.5" in said.out
    assert "mixup seed 0, failed: attack pgd left the ball" in said.out
    assert "About 6 h 00 min for the 6 runs left, one at a time" in said.out
    assert "Nothing is left to do." in say("status", "smoke", *TINY, *FEW, *ONE).out
    assert (
        "Repeat runs that failed or diverged with --retry-failed."
        in say("status", "smoke", *TINY, *FEW, "--arms", "mixup", "--seeds", "0").out
    )
    said = say("status", "smoke", *TINY, *ONE)
    assert "1 other settings" in said.out
    assert "choose another folder with --results DIR, or repeat the runs with --force" in said.out
    assert "Nothing is left" not in said.out
