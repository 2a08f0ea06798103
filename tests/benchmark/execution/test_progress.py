"""Progress: a bar where there is a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from studies.saying import Terminal

from benchmark.execution import progress
from benchmark.execution.progress import Attacking, Progress, evaluation_bar
from benchmark.records.schema import Epoch
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
    with shown_run.bar:
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
    with shown_run.bar:
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
