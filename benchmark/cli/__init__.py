"""The command line: `python -m benchmark COMMAND`, also `sba-benchmark COMMAND`.

In: the user's words. Out: what the command prints and its exit code.

`options.py` has `COMMANDS`, the table of commands with their options; the module of a command's name has its `main`,
and is imported when it runs, because torch takes seconds.

To add a command: its row in `COMMANDS`, and a module of its name whose `main` takes the options and returns an exit
code, or None for 0.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from benchmark.cli.options import parser
from benchmark.runtime.console import outputs, printable
from benchmark.runtime.errors import BenchmarkError
from benchmark.runtime.signals import Stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done. 1: a run failed or diverged, or `report --check` differs. 2: wrong usage or settings. 3: data missing.
    129, 130, 143: stopped by SIGHUP, SIGINT or SIGTERM; everything up to the last step is kept.
    """
    with outputs() as output:
        options = parser().parse_args(arguments)
        options.line = list(sys.argv[1:] if arguments is None else arguments)
        code = _run_one(options)
        output.flush()
        if output.error is None or isinstance(output.error, BrokenPipeError) or options.command == "run":
            return code  # a reader such as head closed the pipe; the output of a run is no part of it
        print(f"error: cannot write to the standard output: {output.error}.", file=sys.stderr)
        return code or 1


def _run_one(options: argparse.Namespace) -> int:
    """Run a command; report its error as a message and an exit code."""
    try:
        module = "listing" if options.command == "list" else options.command  # a module `list` would hide the type
        return import_module(f"benchmark.cli.{module}").main(options) or 0
    except BenchmarkError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return _ended(error.exit_code)
    except PermissionError as error:  # a folder or file that the user named
        if error.filename is None:
            raise
        print(f"error: {printable(str(error.filename))} may not be used: {error.strerror}.", file=sys.stderr)
        return _ended(2)
    except (KeyboardInterrupt, Stopped) as stopped:
        if os.environ.get("RANK", "0") == "0":  # once for all processes of torchrun
            print("\ninterrupted. Finished work is kept; the same command goes on from there.", file=sys.stderr)
        return _ended(stopped.exit_code if isinstance(stopped, Stopped) else 130)


def _ended(code: int) -> int:
    """Return an exit code; a process of torchrun ends with it at once, see `benchmark.runtime.distributed.joined`."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
