"""The speed command: its parts, measured on one machine in one run."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from benchmark.runtime.console import print_line
from benchmark.runtime.environment import describe_environment
from benchmark.runtime.memory import keep_freed_memory
from benchmark.speed.common_loop import common_lines
from benchmark.speed.evaluation_cost import attack_lines, evaluation_lines
from benchmark.speed.gpu import gpu_lines
from benchmark.speed.lines import PARTS, Line
from benchmark.speed.page import SCHEMA, Measured, line_text
from benchmark.speed.process_cost import process_lines
from benchmark.speed.sba_cost import cost_lines
from benchmark.speed.throughput import loop_lines


def measure(
    device: torch.device, parts: Sequence[str], checkpoint: Path | None, data_root: Path | None
) -> Iterator[Measured]:
    """Measure `parts` of a device; print each line and yield all lines so far after it.

    Raises:
        UsageError, DataError: see `attack_lines`.
        RunError: a process of the command line failed.
    """
    keep_freed_memory()
    began, lines = time.monotonic(), list[Line]()
    makers: dict[str, Callable[[], Iterator[Line]]] = {
        "attacks": lambda: attack_lines(device, checkpoint, data_root),
        "evaluation": lambda: evaluation_lines(device, checkpoint, data_root),
        "gpu": lambda: gpu_lines(device),
        "training": lambda: loop_lines(device),
        "common": lambda: common_lines(device),
        "sba": lambda: cost_lines(device),
        "processes": lambda: process_lines(device),
    }
    for part in sorted(parts, key=PARTS.index):
        for line in makers[part]():
            lines.append(line)
            print_line(f"{time.monotonic() - began:5.0f} s  {line_text(line)}")
            yield Measured(schema=SCHEMA, environment=describe_environment(device), lines=list(lines))
