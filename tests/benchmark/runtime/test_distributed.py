"""Several processes that train one run together: the same record, one writer, one message."""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from processes.once import once
from processes.torchrun import started, torchrun
from studies.tiny_study import TINY, path_of, read, without_times

from benchmark.runtime.distributed import ALONE, Group
from benchmark.runtime.errors import DataError
from benchmark.runtime.files import load_tensors

LIMIT = 240  # seconds


def start(*arguments: str) -> "subprocess.Popen[str]":
    """Start the tiny study, or part of it, in two processes of torchrun's that train together."""
    return torchrun("run", "smoke", *TINY, "--seeds", "0", *arguments)


def two_processes(*arguments: str) -> tuple[int, str]:
    """Run the tiny study, or part of it, by --processes 2; return its exit code and output."""
    job = started("benchmark", "run", "smoke", *TINY, "--seeds", "0", "--processes", "2", *arguments)
    said, _ = job.communicate(timeout=LIMIT)
    return job.returncode, said


def processes_of(parent: int) -> list[int]:
    """The living children of a process, those of torchrun in the order of their ranks."""
    found = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The record of SBA, trained by two processes."""

    def train(folder: Path) -> None:
        code, said = two_processes("--arms", "sba", f"--results={folder / 'results'}", f"--runs={folder / 'runs'}")
        assert code == 0, said
        assert said.count("epoch 3/3") == 1  # the first process alone talks
        assert "Warning" not in said

    return read(path_of("sba", 0, once(tmp_path_factory, "together", train) / "results"))


@pytest.mark.slow
def test_two_processes_make_the_record_of_one_within_rounding(together: dict[str, Any], study: Any) -> None:
    alone = study.records["sba", 0]
    for key in ("settings_hash", "weights_hash", "order_hash", "data"):
        assert together[key] == alone[key]
    for one, other in zip(together["epochs"], alone["epochs"], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=2e-3)  # bfloat16, and 18 steps that add up
        assert one["accuracy"] == pytest.approx(other["accuracy"], abs=0.012)
        assert (one["learning_rate"], one["augmented"]) == (other["learning_rate"], other["augmented"])
    for key in ("train_gradients", "train_flops"):
        assert together["cost"][key] == alone["cost"][key]
    assert together["environment"]["processes"] == "2"
    assert "processes" not in alone["environment"]


def until_epoch(number: int, job: "subprocess.Popen[str]") -> None:
    """Wait until a job has told of an epoch."""
    assert job.stdout is not None
    for line in job.stdout:
        if f"epoch {number}/3" in line:
            return


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
def test_what_ends_a_job_is_told_and_the_same_command_goes_on_to_the_same_record(together: dict[str, Any]) -> None:
    """First one of the processes is killed, then torchrun gets a signal, then nothing happens."""
    job = start("--arms", "sba", "--checkpoint-steps", "2")
    until_epoch(1, job)
    os.kill(processes_of(job.pid)[1], signal.SIGKILL)
    said, _ = job.communicate(timeout=LIMIT)
    assert job.returncode != 0
    # Where training was already over, the first process learns of it by torchrun's signal.
    assert "another process of this job ended" in said or "interrupted. Finished work" in said, said
    assert "the same command goes on from there" in said
    job = start("--arms", "sba", "--checkpoint-steps", "2")
    until_epoch(2, job)
    job.send_signal(signal.SIGTERM)
    said, _ = job.communicate(timeout=LIMIT)
    assert job.returncode != 0
    assert said.count("interrupted. Finished work is kept") == 1
    (checkpoint,) = Path("runs").rglob("seed-0-????????????????.pt")
    assert load_tensors(checkpoint)["images"] >= 2 * 384  # epochs of 6 steps
    job = start("--arms", "sba", "--checkpoint-steps", "2")
    said, _ = job.communicate(timeout=LIMIT)
    assert job.returncode == 0, said
    assert "on cpu x 2 processes" in said
    assert re.search(r"resuming after epoch [23]/3", said)
    assert without_times(read(path_of("sba", 0))) == without_times(together)


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
def test_a_number_of_processes_that_does_not_divide_the_batch_is_refused_once(tmp_path: Path) -> None:
    code, said = two_processes("--arms", "erm", "--set=recipe.batch_size=65")
    assert code == 2
    line, last = (line for line in said.splitlines() if line.startswith("error: "))
    assert "a process of this job ended with an error, which is printed above" in last
    assert "recipe.batch_size = 65" in line
    assert "2 processes" in line
    assert "1, 5, 13, 65" in line
    assert "recipe.accumulate" in line
    assert "File " not in line
    assert not list(tmp_path.rglob("seed-*"))


def test_each_process_has_its_rows_of_each_part_of_the_batch() -> None:
    rows = torch.arange(12)
    assert ALONE.own(rows, parts=3) is rows
    parts = [Group(rank, 2).own(rows, parts=3).tolist() for rank in range(2)]
    assert parts == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]
    assert Group(1, 3).own(torch.arange(12).reshape(6, 2)).tolist() == [[4, 5], [6, 7]]


def test_who_computes_while_the_others_wait_has_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    before = torch.get_num_threads()
    with ALONE.all_threads():
        assert torch.get_num_threads() == before
    with contextlib.suppress(DataError), Group(0, 3).all_threads():
        assert torch.get_num_threads() == 3 * before
        raise DataError("no images")
    assert torch.get_num_threads() == before


def test_one_process_agrees_with_itself() -> None:
    def fail() -> None:
        raise DataError("no images")

    with pytest.raises(DataError, match="no images"):
        ALONE.agree(fail)
    assert ALONE.agree(lambda: 3) == 3
    assert ALONE.share("x") == "x"
    assert ALONE.any(True)
    assert ALONE.sum(1, 2) == [1, 2]
