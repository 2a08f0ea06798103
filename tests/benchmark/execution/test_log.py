"""The log of a run: its end, what was added, and a place where it cannot be written."""

import os
from pathlib import Path

import pytest

from benchmark.execution.log import Log, added_since, tail


def test_the_tail_has_at_most_twenty_lines(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.log"
    assert tail(path) == ""
    log = Log(path)
    for number in range(30):
        log(f"line {number}")
    lines = tail(path).strip().splitlines()
    assert [line.split()[-1] for line in lines] == [str(number) for number in range(10, 30)]


def test_whole_lines_are_added(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    assert added_since(path, 0) == ([], 0)
    path.write_bytes(b"2026-01-01 00:00:00Z one\n2026-01-01 00:00:01Z tw")
    assert added_since(path, 0) == (["one"], 25)
    assert added_since(path, 25) == ([], 25)
    with path.open("a") as file:
        file.write("o\n")
    assert added_since(path, 25) == (["two"], 50)


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
    assert tail(log.path).endswith("\\x1b[31m \\udcff é")
