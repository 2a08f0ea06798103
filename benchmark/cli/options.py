"""The command line's arguments: every command with its options."""

import argparse
import math
from pathlib import Path
from typing import Any, TypeAlias

from benchmark.cli.listing import KINDS
from benchmark.runtime.errors import nearest
from benchmark.runtime.files import refuse_irregular
from benchmark.settings.preset import MAX_SEEDS
from benchmark.speed.lines import PARTS

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; the parsed `command` is a key of `benchmark.cli.COMMANDS`."""
    top = argparse.ArgumentParser(prog="sba-benchmark", description="A benchmark of Stochastic Batch Augmentation.")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for add in (
        _add_run,
        _add_status,
        _add_report,
        _add_evaluate,
        _add_crosscheck,
        _add_autoattack,
        _add_tune,
        _add_list,
        _add_speed,
        _add_doctor,
    ):
        add(commands)
    return top


# Parsers of values. Each raises argparse.ArgumentTypeError, which names the allowed form.


def _names(text: str) -> list[str]:
    """Parse "a,b"."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; write a,b")
    return found


def _parts(text: str) -> list[str]:
    """Parse parts of the speed command, as "a,b"."""
    found = _names(text)
    if unknown := [name for name in found if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no part; {nearest(unknown[0], PARTS)}")
    return found


def _radii(text: str) -> list[float]:
    """Parse positive, finite numbers, as "0.5,1"."""
    try:
        found = [float(part) for part in _names(text)]
    except ValueError:
        found = []
    if not found or not all(0 < value < math.inf for value in found):
        raise argparse.ArgumentTypeError(f"{text!r}: write numbers above 0 as 0.5,1")
    return found


def _count(text: str) -> int:
    """Parse an integer of at least 1."""
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write a whole number from 1 on")
    return int(text)


def _processes(text: str) -> str:
    """Parse a number of processes, or "gpus"."""
    return text if text == "gpus" else str(_count(text))


def _shard(text: str) -> tuple[int, int]:
    """Parse "i/n" with 1 <= i <= n."""
    numbers = [_count(number) for number in text.split("/")]
    if len(numbers) != 2 or numbers[0] > numbers[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: write i/n with i from 1 to n, for example 1/8")
    return numbers[0], numbers[1]


def _seeds(text: str) -> list[int]:
    """Parse "0,1,2", "0-9" or a mixture."""
    found: list[int] = []
    for part in _names(text):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or int(last or first) < int(first):
            raise argparse.ArgumentTypeError(f"{text!r}: write seeds as 0,1,2 or 0-9")
        if int(last or first) - int(first) >= MAX_SEEDS:
            raise argparse.ArgumentTypeError(f"{text!r}: a study has at most {MAX_SEEDS} seeds")
        found += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(found))


def _output_file(text: str) -> Path:
    """Parse the path of a file to create or replace; refuse folders, devices, pipes and sockets."""
    path = Path(text)
    try:
        refuse_irregular(path)
    except IsADirectoryError:
        raise argparse.ArgumentTypeError(f"{text!r} is a folder; name a file in it") from None
    except OSError as error:
        if path.exists():  # otherwise the command that writes it reports the reason
            raise argparse.ArgumentTypeError(f"{text!r}: {error.strerror}") from None
    return path


# Options that several commands share.

_DIR: dict[str, Any] = {"type": Path, "metavar": "DIR"}
_SHARED: dict[str, dict[str, Any]] = {
    "--arms": {"type": _names, "help": "only these arms: a,b"},
    "--seeds": {"type": _seeds, "help": "only these seeds: 0,1,2 or 0-9"},
    "--set": {"action": "append", "default": [], "metavar": "SECTION.KEY=VALUE", "help": "override one setting"},
    "--data-root": _DIR | {"help": "searched first for the data"},
    "--results": _DIR | {"default": Path("results"), "help": "records (default: results)"},
    "--runs": _DIR | {"default": Path("runs"), "help": "checkpoints, logs (default: runs)"},
    "--device": {"default": "auto", "help": "auto, cpu, cuda or cuda:1 (default: auto)"},
}


def _add_shared(command: argparse.ArgumentParser, *options: str) -> None:
    for option in options:
        command.add_argument(option, **_SHARED[option])


def _add_selection(command: argparse.ArgumentParser) -> None:
    """Add the options that select runs and their folders."""
    command.add_argument("preset", help="a name from `list presets`, or path/to/mine.toml")
    _add_shared(command, "--arms", "--seeds", "--set", "--runs", "--device")
    command.add_argument("--shard", type=_shard, metavar="I/N", help="only the I-th of N parts, for job arrays: 1/8")
    command.add_argument("--results", **_DIR, help="records (default: results, for smoke runs runs/smoke)")
    command.add_argument(
        "--smoke", action="store_true", help="shrink to a tiny subset and 2 seeds, with its own report"
    )
    variant = command.add_mutually_exclusive_group()
    variant.add_argument("--ablation", action="store_true", help="instead of the arms: one arm for each reading of SBA")
    variant.add_argument(
        "--tuning",
        action="store_true",
        help="instead of the arms: the trials of an equal search for each (records: RUNS/tuning); see the command tune",
    )
    command.add_argument(
        "--compute", action="store_true", help="compute mode: each arm spends the FLOPs that plain training spends"
    )


# Commands.


def _add_run(commands: Commands) -> None:
    run = commands.add_parser("run", help="train, evaluate and record every pending run of a preset")
    _add_selection(run)
    _add_shared(run, "--data-root")
    run.add_argument("--synthetic", action="store_true", help="with --smoke: made-up images in the official format")
    run.add_argument(
        "--tensorboard", action="store_true", help="write event files to RUNS/tensorboard (needs the package)"
    )
    run.add_argument("--deterministic", action="store_true", help="use only operations of torch that are deterministic")
    run.add_argument(
        "--skip-corrupt",
        type=_count,
        default=0,
        metavar="N",
        help="replace up to N damaged image files, and list them in the record (default: none; streamed data only)",
    )
    run.add_argument("--force", action="store_true", help="repeat finished runs")
    run.add_argument("--retry-failed", action="store_true", help="repeat runs that failed or diverged")
    run.add_argument("--jobs", type=_count, default=1, metavar="N", help="runs at a time, in N processes (default: 1)")
    run.add_argument(
        "--processes",
        type=_processes,
        metavar="N|gpus",
        help="processes that train each run together; gpus: one for each GPU",
    )
    run.add_argument(
        "--launcher",
        default="local",
        metavar="NAME",
        help="local, torchrun (as --processes gpus), or ray: each run is a task of a Ray cluster, --jobs of them on "
        "each GPU, or on each node without GPUs (default: local)",
    )
    run.add_argument(
        "--ray-address", metavar="ADDRESS", help="of a Ray cluster (default: one of this machine is started)"
    )
    run.add_argument("--report", action="store_true", help="also write the report of the results folder")
    run.add_argument("--checkpoint-steps", type=_count, default=500, metavar="N", help="also save every N steps")
    run.add_argument("--worker-of", type=int, help=argparse.SUPPRESS)  # process id of the parent; set by --jobs


def _add_status(commands: Commands) -> None:
    status = commands.add_parser("status", help="done, running, pending, diverged, failed; and the time left")
    status.set_defaults(synthetic=False, tensorboard=False)
    _add_selection(status)


def _add_report(commands: Commands) -> None:
    report = commands.add_parser("report", help="write RESULTS.md and its figures from records")
    _add_shared(report, "--results")
    report.add_argument(
        "--output", type=_output_file, metavar="FILE", help="default: RESULTS.md beside the records' folder"
    )
    report.add_argument("--html", action="store_true", help="also write RESULTS.html, a page that needs no other file")
    report.add_argument("--csv", action="store_true", help="also write every table as CSV, in the folder tables")
    report.add_argument("--latex", action="store_true", help="also write every table as LaTeX with booktabs, likewise")
    report.add_argument("--check", action="store_true", help="change nothing; exit 1 where the files differ")


def _add_evaluate(commands: Commands) -> None:
    evaluate = commands.add_parser("evaluate", help="accuracy, attacks and sanity flags of one network, anyone's")
    evaluate.add_argument("checkpoint", nargs="?", type=Path, help="a run's checkpoint, or a file with a state_dict")
    evaluate.add_argument(
        "--model", metavar="PACKAGE.MODULE:CALLABLE", help="returns the network; called without arguments"
    )
    evaluate.add_argument("--preset", help="its data set and attacks (default: the checkpoint's own)")
    _add_shared(evaluate, "--set", "--data-root", "--results", "--device")
    evaluate.add_argument("--output", type=_output_file, metavar="FILE", help="also write the record (JSON)")


def _add_crosscheck(commands: Commands) -> None:
    cross = commands.add_parser("crosscheck", help="our attacks beside pyautoattack's and foolbox's, on trained runs")
    cross.add_argument("preset", help="a preset whose runs have records and checkpoints")
    _add_shared(cross, "--arms", "--set", "--data-root", "--results", "--runs", "--device")
    cross.add_argument("--seeds", type=_seeds, help="only these seeds: 0,1,2 or 0-9 (default: the first)")


def _add_autoattack(commands: Commands) -> None:
    strong = commands.add_parser("autoattack", help="AutoAttack standard (pyautoattack) on trained runs")
    strong.add_argument("preset", help="a preset whose runs have records and checkpoints")
    _add_shared(strong, *_SHARED)
    strong.add_argument("--eps", type=_radii, help="Linf radii in 1/255: 0.5,1 (default: the preset's analysis.eps)")
    strong.add_argument("--images", type=_count, default=500, metavar="N", help="at most, in one batch (default: 500)")


def _add_tune(commands: Commands) -> None:
    tune = commands.add_parser("tune", help="choose the best trial of each arm: their table and a preset, from records")
    tune.add_argument("preset", help="a preset with a [tuning] table whose trials ran: run PRESET --tuning")
    _add_shared(tune, "--set")
    tune.add_argument(
        "--trials", **_DIR, default=Path("runs/tuning"), help="the trials' records (default: runs/tuning)"
    )
    tune.add_argument("--results", **_DIR, default=Path("results"), help="for trials.json (default: results)")
    tune.add_argument("--output", **_DIR, help="for the tuned preset (default: the folder of PRESET's file)")


def _add_list(commands: Commands) -> None:
    listing = commands.add_parser("list", help="the known names of one kind, one a line, each with its description")
    listing.add_argument("kind", choices=tuple(KINDS))


def _add_speed(commands: Commands) -> None:
    speed = commands.add_parser("speed", help="measure training, start-up, memory and attacks beside their targets")
    speed.add_argument("--checkpoint", type=Path, metavar="FILE", help="attack this run's network (default: digits)")
    _add_shared(speed, "--device", "--data-root")
    speed.add_argument("--output", **_DIR, default=Path("docs"), help="for speed.md and speed/*.json (default: docs)")
    speed.add_argument(
        "--parts", type=_parts, default=PARTS, help=f"measure only these parts, keep the others: {','.join(PARTS)}"
    )
    speed.add_argument("--page", action="store_true", help="measure nothing; write speed.md from speed/*.json again")


def _add_doctor(commands: Commands) -> None:
    doctor = commands.add_parser("doctor", help="versions, devices, data, disk, and each preset's time on this machine")
    _add_shared(doctor, "--data-root")
