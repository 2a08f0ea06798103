"""Worker processes that prepare batches: one thread each, deaf to signals, gone with the iterator and the parent."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from benchmark.data.workers import prepared

# Workers are more than the cores of a small machine, and Python 3.12 warns of forks where threads are.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:This process .* multi-threaded")

PROGRAM = Path(__file__).parents[2] / "support" / "processes" / "slow_loading.py"


class Seen(Dataset[tuple[int, int, list[int]]]):
    """Returns the process that prepared a batch, its threads, and the batch."""

    def __getitem__(self, indices: list[int]) -> tuple[int, int, list[int]]:
        return os.getpid(), torch.get_num_threads(), indices


def test_batches_come_in_order_from_processes_of_one_thread() -> None:
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(0)).reshape(20, 3)
    seen = list(prepared(Seen(), rows, 2, pin_memory=False))
    assert [row for _, _, row in seen] == rows.tolist()
    assert len({process for process, _, _ in seen} - {os.getpid()}) == 2
    assert {threads for _, threads, _ in seen} == {1}


def test_without_workers_this_process_prepares_them() -> None:
    assert {process for process, _, _ in prepared(Seen(), torch.zeros(3, 1), 0, pin_memory=False)} == {os.getpid()}


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_generator_and_the_signals_of_this_process_are_as_before(workers: int) -> None:
    before = torch.get_rng_state(), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    list(prepared(Seen(), torch.zeros(3, 1), workers, pin_memory=False))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before[1]


def test_workers_end_with_the_iterator() -> None:
    batches = prepared(Seen(), torch.zeros(1000, 1), 2, pin_memory=False)
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    del batches
    assert multiprocessing.active_children() == []


def started(ending: str) -> tuple["subprocess.Popen[str]", list[int]]:
    """The program in a group of its own, and its workers."""
    environment = os.environ | {
        "PYTHONPATH": str(PROGRAM.parents[3]),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    program = subprocess.Popen(
        [sys.executable, str(PROGRAM), ending],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert program.stdout is not None
    return program, [int(process) for process in program.stdout.readline().split()]


def running(process: int) -> bool:
    """Whether a process is there and no zombie; on a system without /proc, whether it is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def gone(processes: list[int], within: float = 120.0) -> bool:
    until = time.monotonic() + within
    while any(map(running, processes)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(running, processes))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_is_the_main_processs_business(number: signal.Signals) -> None:
    if number == signal.SIGTERM and not hasattr(signal, "sigtimedwait"):
        pytest.skip("this system does not tell who sent a signal")
    program, workers = started("signal")
    assert len(workers) == 2
    os.killpg(program.pid, number)
    out, error = program.communicate(timeout=240)
    assert program.returncode == 128 + number
    assert out == "20\n"  # batches after the signal
    assert error.strip() in ("stopping after this step.", "stopping after this step; once more stops at once.")
    assert gone(workers)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["signal", "early"])  # "early": before the workers are up
def test_workers_end_when_their_parent_is_killed(moment: str) -> None:
    if moment == "early" and not hasattr(signal, "sigtimedwait"):
        pytest.skip("a worker cannot wait for a signal and look for its parent here")
    program, workers = started(moment)
    program.kill()
    program.communicate(timeout=240)
    assert len(workers) == 2
    assert gone(workers)


@pytest.mark.slow
def test_a_program_that_leaves_the_iterator_open_ends_and_its_workers_too() -> None:
    program, workers = started("open")
    out, error = program.communicate(timeout=240)
    assert (program.returncode, out, error) == (0, "", "")
    assert gone(workers)
