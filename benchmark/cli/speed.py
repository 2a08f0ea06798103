"""The command `speed`: measures its parts on one machine in one run, and writes their figures and page."""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from benchmark.runtime.console import print_line
from benchmark.runtime.environment import choose_device, describe_environment
from benchmark.runtime.files import check_writable
from benchmark.runtime.memory import keep_freed_memory
from benchmark.speed.common_loop import common_lines
from benchmark.speed.evaluation_cost import attack_lines, evaluation_lines
from benchmark.speed.gpu import gpu_lines
from benchmark.speed.lines import PARTS, Line
from benchmark.speed.page import SCHEMA, Measured, line_text, read_measured, tables, write_measured, write_page
from benchmark.speed.process_cost import process_lines
from benchmark.speed.sba_cost import cost_lines
from benchmark.speed.throughput import loop_lines


def main(options: argparse.Namespace) -> None:
    """Measure this machine unless only the page is asked for, and write the page.

    Raises:
        UsageError, DataError: see `attack_lines`.
        RunError: a process of the command line failed.
    """
    check_writable(options.output)
    if not options.page:
        for measured in measure(choose_device(options.device), options.parts, options.checkpoint, options.data_root):
            path = write_measured(measured, options.output)  # after each line, so that an interruption loses none
        print(f"\n{tables(read_measured(path))}\n\nWritten to {path}.")
    print(f"Page of all machines: {write_page(options.output)}.")


def measure(
    device: torch.device, parts: Sequence[str], checkpoint: Path | None, data_root: Path | None
) -> Iterator[Measured]:
    """Measure `parts` of a device; print each line and yield all lines so far after it."""
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
