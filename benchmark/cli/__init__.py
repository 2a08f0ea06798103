"""The command line: `python -m benchmark COMMAND`, also `sba-benchmark COMMAND`.

In: the user's words. Out: what the command prints and its exit code.

`options.py` has every command's options, `COMMANDS` every command's function; longer ones have a file each. Imports of
torch are local to the commands that need it, because they take seconds.

To add a command: its options in `options.py`, its function here or in a file of its own, and its row in `COMMANDS`.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from benchmark.cli.options import parser
from benchmark.runtime.console import outputs, printable
from benchmark.runtime.errors import BenchmarkError, UsageError
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
        return COMMANDS[options.command](options)
    except BenchmarkError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return _ended(error.exit_code)
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


def _run_command(options: argparse.Namespace) -> int:
    from benchmark.cli.run import run_preset
    from benchmark.runtime.environment import DETERMINISTIC, deterministic

    if options.deterministic and not options.worker_of:
        print(DETERMINISTIC, flush=True)
    with deterministic(options.deterministic):
        run_preset(options)
    return 0


def _status_command(options: argparse.Namespace) -> int:
    from benchmark.cli.status import status

    print(status(options))
    return 0


def _report_command(options: argparse.Namespace) -> int:
    from benchmark.cli.printed import write
    from benchmark.report.build import Form, check_report

    if not options.results.is_dir():
        raise UsageError(
            f"--results {options.results}: there is no such folder. Records are in results/<preset>/<arm>/."
        )
    forms: list[Form] = [form for form in ("html", "csv", "latex") if getattr(options, form)]
    if not options.check:
        write(options.results, options.output, forms)
        return 0
    problems = check_report(options.results, options.output or options.results.parent / "RESULTS.md", forms)
    print("\n".join(problems) if problems else "RESULTS.md and its figures match the records.")
    return 1 if problems else 0


def _list_command(options: argparse.Namespace) -> int:
    from tabulate import tabulate

    from benchmark.cli.listing import KINDS

    print(tabulate(KINDS[options.kind](), tablefmt="plain", disable_numparse=True))
    return 0


def _evaluate_command(options: argparse.Namespace) -> int:
    from benchmark.cli.evaluate import evaluate_network
    from benchmark.runtime.files import check_writable

    if options.output:
        check_writable(options.output.parent)
    return evaluate_network(options)


def _crosscheck_command(options: argparse.Namespace) -> int:
    """Compare the attack packages on trained runs; return 1 if any image has another outcome."""
    from benchmark.cli.crosscheck import crosscheck

    return crosscheck(options)


def _autoattack_command(options: argparse.Namespace) -> int:
    from benchmark.cli.autoattack import autoattack

    autoattack(options)
    return 0


def _tune_command(options: argparse.Namespace) -> int:
    from benchmark.cli.tune import tune

    tune(options)
    return 0


def _speed_command(options: argparse.Namespace) -> int:
    from benchmark.runtime.files import check_writable
    from benchmark.speed.page import read_measured, tables, write_measured, write_page

    check_writable(options.output)
    if not options.page:
        from benchmark.runtime.environment import choose_device
        from benchmark.speed.measure import measure

        for measured in measure(choose_device(options.device), options.parts, options.checkpoint, options.data_root):
            path = write_measured(measured, options.output)  # after each line, so that an interruption loses none
        print(f"\n{tables(read_measured(path))}\n\nWritten to {path}.")
    print(f"Page of all machines: {write_page(options.output)}.")
    return 0


def _doctor_command(options: argparse.Namespace) -> int:
    from benchmark.cli.doctor import doctor

    print(doctor(options.data_root))
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run_command,
    "status": _status_command,
    "report": _report_command,
    "evaluate": _evaluate_command,
    "crosscheck": _crosscheck_command,
    "autoattack": _autoattack_command,
    "tune": _tune_command,
    "list": _list_command,
    "speed": _speed_command,
    "doctor": _doctor_command,
}
