"""What is seen of a run: a bar where there is a terminal, plain lines elsewhere, its log, TensorBoard's files."""

import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from studies.saying import Terminal
from studies.tiny_study import worker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmark.cli import main
from benchmark.data.load import Data
from benchmark.execution import progress
from benchmark.execution.files import Folders
from benchmark.execution.progress import SCALARS, Attacking, Log, LogReader, Progress, evaluation_bar, log_tail
from benchmark.execution.worker import execute
from benchmark.records.schema import Epoch
from benchmark.records.store import read_record, record_path
from benchmark.runtime import console
from benchmark.settings.plan import Run

EPOCH = Epoch(
    epoch=1,
    learning_rate=0.1,
    train_loss=1.2345,
    accuracy=0.8765,
    images_per_second=4321.0,
    seconds=1.0,
    augmented=0.5,
)


def test_without_a_terminal_each_epoch_is_a_line(
    make_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    logged = list[str]()
    shown_run = Progress(make_run("sba", 2), 4, "[3/7] sba seed 2", logged.append)
    with closing(shown_run.bar):
        shown_run.on_step(1)
        shown_run.on_epoch(EPOCH, 0.5)
        shown_run.attacking("pgd", 0.5)
    out, err = capsys.readouterr()
    assert err == ""
    (line,) = out.splitlines()
    assert line.startswith("[3/7] sba seed 2: epoch 1/2, loss 1.234, accuracy 87.65%, 4,321 images/s, ")
    assert line.endswith("of training left")
    assert logged == [line.removeprefix("[3/7] sba seed 2: ")]


def test_in_a_terminal_a_bar_shows_all_of_it(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logged = list[str]()
    shown_run = Progress(make_run("sba", 2), 4, "[3/7] sba seed 2", logged.append)
    with closing(shown_run.bar):
        shown_run.bar.tqdm.mininterval = 0
        shown_run.resume(1, 2, 0.5)
        for _ in range(4):
            shown_run.on_step(1)
        shown_run.on_epoch(EPOCH, 0.5)
        shown_run.attacking("apgd_dlr at 8/255, 5 images left", 0.5)
        shown_run.bar.tqdm.refresh()
    shown = terminal.getvalue()
    for text in (
        "[3/7] sba seed 2",
        "epoch 1/2",
        "loss 1.234",
        "accuracy 87.65%",
        " images/s",
        "<",
        "apgd_dlr at 8/255",
    ):
        assert text in shown
    assert "[3/7] sba seed 2: resuming after epoch 1/2 and 2 steps of the next" in capsys.readouterr().out
    assert logged[0] == "resuming after epoch 1/2 and 2 steps of the next"
    assert logged[1] == "epoch 1/2, loss 1.234, accuracy 87.65%, 4,321 images/s"  # no step was timed


def test_an_evaluation_tells_images_and_time_left_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(), iter((100.0, 130.0, 160.0))
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with evaluation_bar("mine") as bar:
        bar.tqdm.mininterval = 0
        attacking = Attacking(bar, moves=True)
        attacking("fgsm at Linf 1/255, 400 of 400 images left", 0.0)
        attacking("apgd_dlr at Linf 1/255, 123 of 400 images left", 0.25)
        attacking("apgd_dlr at Linf 2/255, 9 of 400 images left", 0.5)
    shown = terminal.getvalue()
    assert "mine: 25%" in shown
    assert "apgd_dlr at Linf 1/255, 123 of 400 images left, about 1 min 30 s left" in shown
    assert "9 of 400 images left, about 1 min 00 s left" in shown


def test_without_a_terminal_an_evaluation_is_a_line_each_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter((0.0, 10.0, 10.0, 31.0, 31.0, 40.0, 40.0, 70.0, 70.0))
    for module in (progress, console):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with evaluation_bar("mine") as bar:
        attacking = Attacking(bar, moves=True)
        for share, left in ((0.0, 400), (0.25, 123), (0.3, 100), (0.5, 9)):
            attacking(f"pgd, {left} of 400 images left", share)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "mine: attacking, 25% done: pgd, 123 of 400 images left, about 1 min 03 s left"
    assert second == "mine: attacking, 50% done: pgd, 9 of 400 images left, about 1 min 00 s left"


# The log


def test_the_tail_has_at_most_twenty_lines(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.log"
    assert log_tail(path) == ""
    log = Log(path)
    for number in range(30):
        log(f"line {number}")
    lines = log_tail(path).strip().splitlines()
    assert [line.split()[-1] for line in lines] == [str(number) for number in range(10, 30)]


def test_whole_lines_that_were_added_are_read_once_without_their_times(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    from_the_start = LogReader(path)
    assert from_the_start.added() == []
    path.write_text("2026-01-01 00:00:00Z of an earlier start\n")
    reader = LogReader(path)
    with path.open("a") as file:
        file.write("2026-01-01 00:00:01Z starts\n2026-01-01 00:00:02Z epo")
    assert reader.added() == ["starts"]
    assert reader.added() == []
    with path.open("a") as file:
        file.write("ch 1\n")
    assert reader.added() == ["epoch 1"]
    assert from_the_start.added() == ["of an earlier start", "starts", "epoch 1"]


@pytest.mark.parametrize("kind", ["folder is a file", "pipe"])
def test_a_log_that_cannot_be_written_is_told_once(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "folder" / "a.log"
    if kind == "pipe":
        path.parent.mkdir()
        os.mkfifo(path)
    else:
        path.parent.write_text("")
    log = Log(path)
    log("one")
    log("two")
    said = capsys.readouterr().out
    assert said.count(f"The log {path} cannot be written") == 1


def test_control_characters_and_odd_names_are_logged_as_text(tmp_path: Path) -> None:
    log = Log(tmp_path / "a.log")
    log("\x1b[31m \udcff é")
    assert log_tail(log.path).endswith("\\x1b[31m \\udcff é")


# TensorBoard


def test_scalars_are_those_of_the_record_also_after_an_interruption(
    make_run: Callable[..., Run], digits: Data, tmp_path: Path
) -> None:
    run = make_run("sba", 0, "recipe.epochs=3")
    folders = Folders(tmp_path / "results", tmp_path / "runs", tmp_path / "events")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "on_epoch", Mock(side_effect=[None, KeyboardInterrupt]))
        with pytest.raises(KeyboardInterrupt):
            execute([run], worker(digits, folders))
    execute([run], worker(digits, folders))
    record = read_record(record_path(folders.results, run.preset.name, "sba", 0))
    found = EventAccumulator(str(tmp_path / "events" / run.preset.name / "sba" / "seed-0")).Reload()
    assert set(found.Tags()["scalars"]) == set(SCALARS)
    for name in SCALARS:
        expected = {epoch["epoch"]: dict(epoch)[name] for epoch in record["epochs"]}
        assert {event.step: event.value for event in found.Scalars(name)} == pytest.approx(expected, rel=1e-6)


def test_a_folder_that_cannot_be_written_ends_no_run(
    make_run: Callable[..., Run], digits: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "events").touch()
    run = make_run("erm", 0, "recipe.epochs=1")
    folders = Folders(tmp_path / "results", tmp_path / "runs", tmp_path / "events")
    execute([run], worker(digits, folders))
    assert read_record(record_path(folders.results, run.preset.name, "erm", 0))["status"] == "done"
    assert capsys.readouterr().out.count("cannot be written") == 1


def test_a_missing_package_is_an_error_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert main(["run", "smoke", "--tensorboard"]) == 2
    assert "--tensorboard needs the package tensorboard: python -m pip install" in capsys.readouterr().err
