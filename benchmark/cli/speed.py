"""The command `speed`: measures the parts, after each line writes the figures, and prints their table."""

import argparse

from benchmark.runtime.environment import choose_device
from benchmark.runtime.files import check_writable
from benchmark.speed.measure import measure
from benchmark.speed.page import read_measured, tables, write_measured, write_page


def main(options: argparse.Namespace) -> None:
    """Measure this machine unless only the page is asked for, and write the page."""
    check_writable(options.output)
    if not options.page:
        for measured in measure(choose_device(options.device), options.parts, options.checkpoint, options.data_root):
            path = write_measured(measured, options.output)  # after each line, so that an interruption loses none
        print(f"\n{tables(read_measured(path))}\n\nWritten to {path}.")
    print(f"Page of all machines: {write_page(options.output)}.")
