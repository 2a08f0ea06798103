"""A disk that is full or read-only: one message, and what is finished stays whole. Output is no part of a run."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from studies.saying import PROJECT
from studies.tiny_study import TINY, Study, path_of, read, run, without_times

from benchmark.records.store import read_record

ONE = ("--arms", "erm", "--seeds", "0")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh")]


@pytest.fixture
def small(fresh: Path) -> Iterator[Path]:
    """A file system of 2 MB in memory, where the machine lets us mount one."""
    folder = fresh / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here (needs Linux and root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write a file until nothing more fits beside it."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 1024)


@pytest.mark.parametrize("option", ["--runs", "--results"])
def test_a_full_disk_ends_the_command_with_one_message_and_records_stay_whole(
    option: str, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*ONE, "--results", str(small / "results")) == 0
    record = path_of("erm", 0, small / "results")
    before = record.read_bytes()
    filler = small / "filler"
    fill(filler)
    capsys.readouterr()
    places = {"--results": "results", "--runs": "runs"} | {option: str(small / "results")}
    more = ("--arms", "erm", "--seeds", "1", *chain(*places.items()))
    assert run(*more) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert f"cannot write to {small}" in said
    assert "No space left on device" in said or "unexpected pos" in said
    assert "Traceback" not in said
    assert record.read_bytes() == before
    assert not list(small.rglob("*.tmp"))
    filler.unlink()
    assert run(*more) == 0
    assert read_record(path_of("erm", 1, Path(places["--results"])))["status"] == "done"


def test_a_read_only_file_system_is_named_before_training_and_records_are_read(
    small: Path, capsys: pytest.CaptureFixture[str], trained: list[tuple[str, int]]
) -> None:
    results = small / "results"
    assert run(*ONE, "--results", str(results)) == 0
    trained.clear()
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    assert run("--arms", "erm", "--seeds", "0,1", "--results", str(results)) == 2
    assert f"cannot write to {results}: Read-only file system" in capsys.readouterr().err
    assert trained == []
    assert read(path_of("erm", 0, results))["status"] == "done"


@pytest.mark.parametrize("output", ["pipe without a reader, no stderr", "full disk, no descriptor at all"])
def test_a_run_whose_output_cannot_be_written_is_made(output: str, fresh: Path, study: Study) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)  # as `| head`, when it has seen enough
    none = "no descriptor" in output
    full = Path("/dev/full")
    if none and not full.exists():
        pytest.skip("no /dev/full here")
    with full.open("w") if none else os.fdopen(write_end, "w") as stdout:

        def close() -> None:
            for descriptor in (0, 2) if none else (2,):
                os.close(descriptor)

        done = subprocess.run(
            [sys.executable, "-m", "benchmark", "run", "smoke", *TINY, *ONE],
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            stdout=stdout,
            preexec_fn=close,
            check=False,
            timeout=240,
        )
    assert done.returncode == 0
    assert without_times(read(path_of("erm", 0))) == without_times(study.records["erm", 0])
    assert not list(fresh.rglob("*.failed"))
    for file in fresh.rglob("*.pt"):
        assert file.read_bytes().startswith(b"PK")  # nothing was printed into a file that took a closed one's number
