"""Progress: a bar where there is a terminal, plain lines elsewhere."""

import io
import sys
from collections.abc import Callable

import pytest

from benchmark.plan import Run
from benchmark.progress import Progress, duration
from benchmark.schema import Epoch

EPOCH = Epoch(
    epoch=1,
    learning_rate=0.1,
    train_loss=1.2345,
    accuracy=0.8765,
    images_per_second=4321.0,
    seconds=1.0,
    augmented=0.5,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_without_a_terminal_each_epoch_is_a_line(
    make_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(make_run("sba", 2), steps=4, position=3, total=7) as progress:
        progress.step(1)
        progress.epoch(EPOCH)
        progress.attacking("pgd", 0.5)
    out, err = capsys.readouterr()
    assert err == ""
    (line,) = out.splitlines()
    assert line.startswith("[3/7] sba seed 2: epoch 1/2, loss 1.234, accuracy 87.65%, 4,321 images/s, ")
    assert line.endswith("of training left")


def test_in_a_terminal_a_bar_shows_all_of_it(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(make_run("sba", 2), steps=4, position=3, total=7) as progress:
        progress.bar.mininterval = 0
        progress.resume(1)
        for _ in range(4):
            progress.step(1)
        progress.epoch(EPOCH)
        progress.attacking("apgd_dlr at 8/255, 5 images left", 0.5)
        progress.bar.refresh()
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
    assert "resuming after epoch 1 of 2" in capsys.readouterr().out
