"""Memory: large blocks are used again, and each run has its own peak."""

import subprocess
import sys

import pytest
import torch

from benchmark.runtime.memory import GLIBC, peak_memory, reset_peak_memory

FAULTS = """
import resource, torch
from benchmark.runtime.memory import keep_freed_memory
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Linear(64, 8192), torch.nn.ReLU(), torch.nn.Linear(8192, 8))
images = torch.zeros(1500, 64)
def faults():
    for step in range(7):
        if step == 4:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        model(images).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults())
keep_freed_memory()
print(faults())
"""


@pytest.mark.skipif(not GLIBC, reason="glibc alone has the setting")
@pytest.mark.slow
def test_large_blocks_that_a_step_frees_are_used_again_by_the_next() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True)
    default, kept = map(int, done.stdout.split())
    assert kept < default / 3


def test_peak_memory_sees_an_allocation_and_forgets_it_after_a_reset(cpu: torch.device) -> None:
    reset_peak_memory(cpu)
    before = peak_memory(cpu)
    held = torch.ones(60_000_000)
    assert peak_memory(cpu) - before > 150_000_000
    del held
    reset_peak_memory(cpu)
    assert peak_memory(cpu) < before + 100_000_000
