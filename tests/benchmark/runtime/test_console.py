"""The console: lines and bars, control characters escaped, output that cannot be written."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from studies.saying import PROJECT, Say, Terminal

from benchmark.runtime import console
from benchmark.runtime.console import Output, Transfer, duration, outputs, print_line, printable

ESCAPES = "\x1b[31mred\x1b]0;title\x07 \x9b2J back\x08 \r over"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_control_characters_are_shown_and_do_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\tb\nc é 漢") == "a\tb\nc é 漢"
    assert printable("\udce9\u202egpj.exe") == "\\udce9\\u202egpj.exe"
    with outputs():
        print_line(ESCAPES)
        print(ESCAPES)
        print(ESCAPES, file=sys.stderr)
    printed = capsys.readouterr()
    for line in (*printed.out.splitlines(), printed.err):
        assert "\\x1b[31mred\\x1b]0;title\\x07 \\x9b2J back\\x08" in line
    assert "\r" not in printed.out


def test_bars_may_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with outputs():
        sys.stderr.write("\r50%\x1b[A\x1b[31m")
    assert capsys.readouterr().err == "\r50%\x1b[A\\x1b[31m"


def test_characters_that_the_encoding_lacks_are_escaped() -> None:
    raw = io.BytesIO()
    output = Output(io.TextIOWrapper(raw, encoding="ascii"), bars=False)
    output.write("é")
    output.flush()
    assert raw.getvalue() == b"\\xe9"


class Broken(io.StringIO):
    """A stream that cannot be written."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.problem = error

    def write(self, _text: str) -> int:
        raise self.problem


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC])
def test_output_that_cannot_be_written_is_an_error_of_nobody(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Broken(OSError(number, os.strerror(number)))
    monkeypatch.setattr(sys, "stdout", broken)
    with outputs() as output:
        print("lost")
        print_line("lost too")
    assert isinstance(output.error, OSError)
    assert output.error.errno == number
    assert sys.stdout is broken


def test_a_signal_handler_that_prints_into_a_line_that_is_being_printed_loses_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", Broken(RuntimeError("reentrant call inside <_io.BufferedWriter>")))
    with outputs() as output:
        print("stopping after this step.", file=sys.stderr)
        print_line("the next line")
    assert output.error is None


def test_a_process_without_any_output_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with outputs() as output:
        print_line("nobody reads this")
        Transfer("a file").close()
        print("nor this", file=sys.stderr)
    assert output.error is None
    assert (sys.stdout, sys.stderr) == (None, None)


LIST = (sys.executable, "-m", "benchmark", "list", "presets")
FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_list_that_cannot_be_written_is_an_error() -> None:
    with FULL.open("w") as full:
        done = subprocess.run(LIST, stdout=full, stderr=subprocess.PIPE, text=True, cwd=PROJECT, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to the standard output: [Errno 28] No space left on device.\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(LIST, stdout=write, stderr=subprocess.PIPE, text=True, cwd=PROJECT, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("elsewhere")
def test_an_error_that_names_a_file_escapes_its_name(say: Say) -> None:
    Path("\x1b[2J.toml").write_text("[", encoding="utf-8")
    said = say("run", "\x1b[2J.toml")
    assert said.code == 2
    assert said.has("\\x1b[2J.toml")
    assert "\x1b" not in said.error


def test_without_a_terminal_a_download_is_a_line_each_five_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = (0.0, 4.0, 4.0, 10.0, 10.0, 14.0, 14.0, 20.0, 20.0, 21.0, 21.0)
    clock = iter(times)
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    shown = Transfer("data.tar.gz")
    for total in (0, 0, 170_000_000, 170_000_000):  # a server that tells the size, after one that does not
        shown.total = total
        shown.update(10_000_000)
    shown.close()
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert err == ""
    assert first == "data.tar.gz: 20.0 MB, 2.0 MB/s"
    assert second == "data.tar.gz: 40.0 of 170.0 MB, 2.0 MB/s, 1 min 05 s left"


def test_in_a_terminal_a_download_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = Transfer("data.tar.gz")
    shown.tqdm.mininterval = 0
    shown.total = 170_000_000
    shown.update(17_000_000)
    shown.close()
    for text in ("data.tar.gz:  10%", "17.0M/170M", "B/s"):
        assert text in terminal.getvalue()
    assert capsys.readouterr().out == ""
