"""The speed command: everything that it measures, on one machine in one run, as lines with their targets."""

import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmark.attack_cost import attack_lines
from benchmark.common_loop import common_lines
from benchmark.environment import describe_environment
from benchmark.gpu_speed import gpu_lines
from benchmark.memory import keep_freed_memory
from benchmark.process_cost import process_lines
from benchmark.progress import print_line
from benchmark.sba_cost import cost_lines
from benchmark.speed_lines import Line
from benchmark.speed_page import SCHEMA, Measured, line_text
from benchmark.throughput import loop_lines


def measure_all(device: torch.device, checkpoint: Path | None, data_root: Path | None) -> Measured:
    """Measure a device; each line is printed as soon as it is there.

    Args:
        device: what is measured.
        checkpoint: see `attack_lines`.
        data_root: see `attack_lines`.

    Raises:
        UsageError, DataError: see `attack_lines`.
        RunError: a process of the command line failed.
    """
    keep_freed_memory()
    began, lines = time.monotonic(), list[Line]()
    for line in all_lines(device, checkpoint, data_root):
        lines.append(line)
        print_line(f"{time.monotonic() - began:5.0f} s  {line_text(line)}")
    return Measured(
        schema=SCHEMA,
        environment=describe_environment(device),
        minutes=round((time.monotonic() - began) / 60, 1),
        lines=lines,
    )


def all_lines(device: torch.device, checkpoint: Path | None, data_root: Path | None) -> Iterator[Line]:
    """Yield every line; what needs a checkpoint comes first, so that a wrong one is named at once."""
    yield from attack_lines(device, checkpoint, data_root)
    yield from loop_lines(device)
    yield from common_lines(device)
    yield from cost_lines(device)
    yield from gpu_lines(device)
    yield from process_lines(device)
