"""Failures in one of several processes: the job ends with a message, and nobody waits for one that went on alone."""

import copy
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest
import torch
from studies.tiny_study import attempt, worker

from benchmark.data.load import Data
from benchmark.execution import run as one_run
from benchmark.execution import worker as workers
from benchmark.execution.files import Folders
from benchmark.execution.lock import LostError
from benchmark.records.consistency import disagreements, shared
from benchmark.runtime import environment
from benchmark.runtime.distributed import Group
from benchmark.runtime.errors import RunError, UsageError
from benchmark.runtime.signals import Stopped
from benchmark.settings.load import load_preset
from benchmark.settings.plan import make_plan
from benchmark.training.surrogate import train_surrogate

CPU = torch.device("cpu")
Value = TypeVar("Value")


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
    monkeypatch.setattr(workers, "take_part", fail(RuntimeError("CUDA out of memory")))
    other = replace(worker(digits, folders), group=Told(1, 2))
    with pytest.raises(RunError, match=r"process 1: CUDA out of memory.*--retry-failed"):
        workers.follow(make_plan(load_preset("smoke"), ["erm"], [0]), other)
    assert "Traceback" in capsys.readouterr().err


def test_the_surrogates_epoch_is_left_when_somebody_asks(digits: Data) -> None:
    steps: list[int] = []

    def stop() -> None:
        steps.append(1)
        if len(steps) == 2:
            raise Stopped(15)

    with pytest.raises(Stopped):
        train_surrogate(load_preset("smoke", ("recipe.batch_size=32",)), digits, CPU, stop)
    assert len(steps) == 2


def test_processes_take_a_gpu_each_not_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "launched", lambda: True)
    with pytest.raises(UsageError, match=r"--device cuda:1: several processes take one GPU each; write --device cuda"):
        environment.choose_device("cuda:1")


def test_records_of_compiled_and_other_trainings_do_not_stand_side_by_side(study: Any) -> None:
    records = [study.records["erm", 0], study.records["erm", 1]]
    compiled = copy.deepcopy(records[0])
    compiled["environment"]["compiled"] = "on"
    assert not list(disagreements([("a", shared(records[0])), ("b", shared(records[1]))]))
    (line,) = disagreements([("a", shared(compiled)), ("b", shared(records[1]))])
    assert line == "compiled: on in a; off in b"
