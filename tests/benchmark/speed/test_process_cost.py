"""What whole processes cost: seconds and peak memory of commands that are really started."""

import sys
from pathlib import Path

import pytest
import torch

from benchmark.runtime.errors import RunError
from benchmark.runtime.memory import high_water
from benchmark.speed import process_cost

CPU = torch.device("cpu")


def test_a_process_is_watched_to_its_end_with_its_peak(tmp_path: Path) -> None:
    script = "import time; held = bytearray(120_000_000); held[::4096] = b'x' * len(held[::4096]); time.sleep(0.3)"
    found = process_cost.watch((sys.executable, "-c", script), tmp_path)
    assert found.seconds > 0.3
    assert 120e6 < found.peak < 400e6


def test_a_process_that_has_done_what_was_wanted_is_ended(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"import time, pathlib; pathlib.Path({str(mark)!r}).touch(); time.sleep(600)"
    assert process_cost.watch((sys.executable, "-c", script), tmp_path, mark.exists).seconds < 60


def test_a_process_that_fails_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the reason"):
        process_cost.watch((sys.executable, "-c", "raise SystemExit('the reason')"), tmp_path)


def test_memory_of_a_process_that_has_ended_is_unknown() -> None:
    assert high_water(2**22 + 1) is None  # above the largest number that Linux gives
    own = high_water("self")
    assert own is None or own > 1e7


def test_lines_of_memory_and_start_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands are started, but the data set is small and the training short."""
    monkeypatch.setattr(process_cost, "TRIES", 1)
    monkeypatch.setattr(process_cost, "IMAGES", 1000)
    monkeypatch.setattr(process_cost, "TEST_IMAGES", 1000)
    seconds = {"-c": 2.0, "--help": 1.0, "list": 3.0, "run": 5.0}
    watched: list[tuple[str, ...]] = []

    def watch(command: tuple[str, ...], _folder: Path, _done: object = None) -> process_cost.Watched:
        watched.append(command)
        (key,) = [key for key in seconds if key in command[:4]]
        return process_cost.Watched(seconds[key], 1_500_000_000)

    monkeypatch.setattr(process_cost, "watch", watch)
    memory, *starts = process_cost.process_lines(CPU)
    assert (memory["ratio"], memory["verdict"], memory["target"]) == (0.75, "met", "at most 1.00")
    assert [line["ratio"] for line in starts] == [0.5, 1.5, 2.5]
    assert {line["figures"]["seconds of import torch"] for line in starts} == {2.0}
    short, first = (command for command in watched if "run" in command)
    assert "recipe.epochs=1" in short
    assert "--checkpoint-steps" in first


@pytest.mark.slow
def test_the_first_step_of_a_real_run_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_cost, "PRESET", "smoke")
    (tmp_path / "data").mkdir()  # digits need none
    assert 1 < process_cost.seconds_to_first_step(tmp_path, CPU) < 120
    assert not list(tmp_path.rglob("*.pt"))
