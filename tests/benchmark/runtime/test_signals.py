"""Stopping: signals wait for the end of a step, the state is saved, and the exit code is the signal's."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from studies.tiny_study import Study, at_step, path_of, read, run, without_times

from benchmark.data.load import Data
from benchmark.evaluation import attacks
from benchmark.runtime.signals import Stop, Stopped, stoppable
from benchmark.settings.load import load_preset
from benchmark.training import loop as train
from benchmark.training.surrogate import train_surrogate


def send(*signals: int) -> Callable[[], None]:
    """Return a function that sends signals to this process."""

    def sending() -> None:
        for sent in signals:
            os.kill(os.getpid(), sent)

    return sending


@pytest.mark.usefixtures("fresh")
def test_a_signal_in_training_saves_the_step_and_the_same_command_ends_in_the_same_record(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs have 6 steps; each start is interrupted in its fourth."""
    one = ("--arms", "sba", "--seeds", "0")
    starts = [
        (signal.SIGINT, 130, "starts"),
        (signal.SIGTERM, 143, "0/3 and 4 steps of the next"),
        (signal.SIGHUP, 129, "1/3 and 2 steps of the next"),
    ]
    for sent, code, resumed in starts:
        before = signal.getsignal(sent)
        with monkeypatch.context() as patch:
            patch.setattr(train, "train_step", at_step(4, send(sent)))
            assert run(*one) == code
        said = capsys.readouterr()
        assert "stopping after this step" in said.err
        assert "the same command goes on" in said.err
        assert resumed == "starts" or f"resuming after epoch {resumed}" in said.out
        assert signal.getsignal(sent) is before
        assert not list(Path("results").rglob("*"))[2:]  # no record, no lock
    with monkeypatch.context() as patch:  # a second interrupt stops at once
        patch.setattr(train, "train_step", at_step(1, send(signal.SIGINT, signal.SIGINT)))
        assert run(*one) == 130
    assert "resuming after epoch 1/3 and 6 steps of the next" in capsys.readouterr().out
    assert run(*one) == 0
    assert "resuming after epoch 2/3\n" in capsys.readouterr().out  # the second interrupt came in the step after
    assert without_times(read(path_of("sba", 0))) == without_times(study.records["sba", 0])


@pytest.fixture
def no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """No attack before the first run, so that the first one that is made is the evaluation's."""
    monkeypatch.setattr("benchmark.execution.worker.refuse_early", lambda *_: None)


@pytest.mark.usefixtures("fresh", "no_trial")
def test_attacks_that_were_finished_are_not_made_again(
    study: Study, monkeypatch: pytest.MonkeyPatch, trained: list[tuple[str, int]]
) -> None:
    original, made = attacks.perturb, list[tuple[str, Any]]()

    def counted(model: Any, attack: Any, radius: Any, *rest: Any) -> Any:
        made.append((attack.name, radius))
        if len(made) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(model, attack, radius, *rest)

    monkeypatch.setattr("benchmark.evaluation.joint.perturb", counted)
    assert run("--arms", "erm", "--seeds", "0") == 143
    trained.clear()
    assert run("--arms", "erm", "--seeds", "0") == 0
    assert trained == []
    assert len(set(made)) == len(made) - 1 > 4  # the attack that was broken off is made again
    assert made[3] in made[4:]
    assert without_times(read(path_of("erm", 0))) == without_times(study.records["erm", 0])


@pytest.mark.usefixtures("no_trial")
def test_a_signal_in_the_middle_of_a_long_attack_stops_at_once(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack may take longer than a batch system waits between SIGTERM and SIGKILL."""
    original, record = attacks.perturb, finished / path_of("erm", 0)
    kept = record.read_bytes()
    record.unlink()  # its training is done
    for sent in (signal.SIGTERM, signal.SIGINT):
        with monkeypatch.context() as patch:

            def long(*arguments: Any, sent: int = sent) -> Any:
                found = original(*arguments)
                os.kill(os.getpid(), sent)
                raise AssertionError(f"the attack went on to {found}")

            patch.setattr("benchmark.evaluation.joint.perturb", long)
            assert run("--arms", "erm", "--seeds", "0") == 128 + sent
        assert not list(record.parent.glob("seed-0*"))  # no record, no lock
        assert not list(Path("runs").rglob("*.failed"))
    assert run("--arms", "erm", "--seeds", "0") == 0
    assert without_times(read(record)) == without_times(json.loads(kept))


def test_a_signal_outside_the_gentle_part_stops_at_once() -> None:
    with stoppable(), pytest.raises(Stopped) as stopped:
        os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.exit_code == 143


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_interrupt_stops_at_once_whichever_signal_came_first(first: int) -> None:
    stop = Stop()
    with stop.gently():
        stop.receive(first)
        stop.receive(signal.SIGINT)
        with pytest.raises(Stopped) as stopped:
            stop.receive(signal.SIGINT)
    assert (stop.number, stopped.value.exit_code) == (first, 130)


def test_a_signal_that_came_before_a_part_that_stops_at_once_stops_there() -> None:
    with stoppable() as stop, stop.gently():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM
        with pytest.raises(Stopped), stop.gently(False):
            raise AssertionError("the part was begun")
        assert stop.gentle


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable() as stop:
            os.kill(os.getpid(), signal.SIGINT)  # would raise KeyboardInterrupt, or make stop() raise Stopped
            stop()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_worker_stops_when_its_parent_is_gone() -> None:
    Stop(os.getppid())()
    with pytest.raises(Stopped) as stopped:
        Stop(os.getpid())()
    assert stopped.value.exit_code == 143


def test_stopping_is_no_error_that_a_run_could_swallow() -> None:
    assert not issubclass(Stopped, Exception)


def test_the_surrogates_epoch_is_left_when_somebody_asks(digits: Data, cpu: torch.device) -> None:
    steps: list[int] = []

    def stop() -> None:
        steps.append(1)
        if len(steps) == 2:
            raise Stopped(15)

    with pytest.raises(Stopped):
        train_surrogate(load_preset("smoke", ("recipe.batch_size=32",)), digits, cpu, stop)
    assert len(steps) == 2
