"""The command line's arguments: every command with its options."""

import argparse
import math
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from benchmark.cli.listing import KINDS
from benchmark.runtime.errors import nearest
from benchmark.runtime.files import path_of, refuse_irregular
from benchmark.settings.values import MAX_SEEDS
from benchmark.speed.lines import PARTS

Options: TypeAlias = dict[str, dict[str, Any]]  # option -> arguments of argparse's add_argument


class _Parser(argparse.ArgumentParser):
    """A parser whose error is one message, as that of any other mistake."""

    def error(self, message: str) -> NoReturn:
        """End with the message, without the list of all options."""
        self.exit(2, f"error: {message}. All options: {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; the parsed `command` is a key of `COMMANDS`."""
    top = _Parser(prog="sba-benchmark", description="A benchmark of Stochastic Batch Augmentation.")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, (purpose, options) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        if name == "status":  # which plans runs like `run`
            command.set_defaults(tensorboard=False, worker_of=None)
        variants = command.add_mutually_exclusive_group() if _VARIANTS.keys() <= options.keys() else command
        for option, settings in options.items():
            (variants if option in _VARIANTS else command).add_argument(option, **settings)
    return top


# Parsers of values. Each raises argparse.ArgumentTypeError, which names the allowed form.


def _names(text: str) -> list[str]:
    """Parse "a,b"; a name that stands twice counts once."""
    found = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; write a,b")
    return list(found)


def _parts(text: str) -> list[str]:
    """Parse parts of the speed command, as "a,b"."""
    found = _names(text)
    if unknown := [name for name in found if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no part; {nearest(unknown[0], PARTS)}")
    return found


def _radii(text: str) -> list[float]:
    """Parse positive, finite numbers, as "0.5,1"."""
    try:
        found = list(dict.fromkeys(map(float, _names(text))))
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
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not first.isdecimal() or not last.isdecimal() or int(last) < int(first):
            raise argparse.ArgumentTypeError(f"{text!r}: write seeds as 0,1,2 or 0-9")
        if int(last) - int(first) >= MAX_SEEDS:
            raise argparse.ArgumentTypeError(f"{text!r}: a study has at most {MAX_SEEDS} seeds")
        found += range(int(first), int(last) + 1)
    return list(dict.fromkeys(found))


def _output_file(text: str) -> Path:
    """Parse the path of a file to create or replace; refuse folders, devices, pipes and sockets."""
    path = path_of(text)
    try:
        refuse_irregular(path)
    except IsADirectoryError:
        raise argparse.ArgumentTypeError(f"{text!r} is a folder; name a file in it") from None
    except OSError as error:
        if path.exists():  # otherwise the command that writes it reports the reason
            raise argparse.ArgumentTypeError(f"{text!r}: {error.strerror}") from None
    return path


# The options of every command.


def _flag(purpose: str) -> dict[str, Any]:
    return {"action": "store_true", "help": purpose}


def _folder(purpose: str, default: str | None = None) -> dict[str, Any]:
    return {"type": path_of, "metavar": "DIR", "help": purpose, "default": default and Path(default)}


def _number(purpose: str, default: int) -> dict[str, Any]:
    return {"type": _count, "metavar": "N", "help": purpose, "default": default}


_ARMS: Options = {"--arms": {"type": _names, "help": "only these arms: a,b"}}
_SEEDS: Options = {"--seeds": {"type": _seeds, "help": "only these seeds: 0,1,2 or 0-9"}}
_SET: Options = {
    "--set": {"action": "append", "default": [], "metavar": "SECTION.KEY=VALUE", "help": "override one setting"}
}
_DATA: Options = {"--data-root": _folder("searched first for the data")}
_RESULTS: Options = {"--results": _folder("records (default: results)", "results")}
_RUNS: Options = {"--runs": _folder("checkpoints, logs (default: runs)", "runs")}
_DEVICE: Options = {"--device": {"default": "auto", "help": "auto, cpu, cuda or cuda:1 (default: auto)"}}
_TRAINED: Options = {"preset": {"help": "a preset whose runs have records and checkpoints"}}
_VARIANTS: Options = {
    "--ablation": _flag("instead of the arms: one arm for each reading of SBA"),
    "--tuning": _flag(
        "instead of the arms: the trials of an equal search for each (records: RUNS/tuning); see the command tune"
    ),
    "--compute": _flag("compute mode: each arm spends the FLOPs that plain training spends"),
}
_SELECTION: Options = {  # of runs and their folders
    "preset": {"help": "a name from `list presets`, or path/to/mine.toml"},
    **(_ARMS | _SEEDS | _SET | _RUNS | _DEVICE),
    "--shard": {"type": _shard, "metavar": "I/N", "help": "only the I-th of N parts, for job arrays: 1/8"},
    "--results": _folder("records (default: results, for smoke runs runs/smoke)"),
    "--smoke": _flag("shrink to a tiny subset and 2 seeds, with its own report"),
    "--synthetic": _flag("with --smoke: made-up images in the official format"),
    **_VARIANTS,
}
_RUN: Options = {
    "--tensorboard": _flag("write event files to RUNS/tensorboard (needs the package)"),
    "--deterministic": _flag("use only operations of torch that are deterministic"),
    "--skip-corrupt": _number(
        "replace up to N damaged image files, and list them in the record (default: none; streamed data only)", 0
    ),
    "--force": _flag("repeat finished runs"),
    "--retry-failed": _flag("repeat runs that failed or diverged"),
    "--jobs": _number("runs at a time, in N processes (default: 1)", 1),
    "--processes": {
        "type": _processes,
        "metavar": "N|gpus",
        "help": "processes that train each run together; gpus: one for each GPU",
    },
    "--launcher": {
        "default": "local",
        "metavar": "NAME",
        "help": "local, torchrun (as --processes gpus), or ray: each run is a task of a Ray cluster, --jobs of them on "
        "each GPU, or on each node without GPUs (default: local)",
    },
    "--ray-address": {"metavar": "ADDRESS", "help": "of a Ray cluster (default: one of this machine is started)"},
    "--report": _flag("also write the report of the results folder"),
    "--checkpoint-steps": _number("also save every N steps", 500),
    "--worker-of": {"type": int, "help": argparse.SUPPRESS},  # process id of the parent; set by --jobs
}
_REPORT: Options = {
    "--output": {"type": _output_file, "metavar": "FILE", "help": "default: RESULTS.md beside the records' folder"},
    "--html": _flag("also write RESULTS.html, a page that needs no other file"),
    "--csv": _flag("also write every table as CSV, in the folder tables"),
    "--latex": _flag("also write every table as LaTeX with booktabs, likewise"),
    "--check": _flag("change nothing; exit 1 where the files differ"),
}
_EVALUATE: Options = {
    "checkpoint": {"nargs": "?", "type": path_of, "help": "a run's checkpoint, or a file with a state_dict"},
    "--model": {
        "metavar": "PACKAGE.MODULE:NAME",
        "help": "a network, or a callable without arguments that returns one",
    },
    "--preset": {"help": "its data set and attacks (default: the checkpoint's own)"},
    **(_SET | _DATA | _RESULTS | _DEVICE),
    "--output": {"type": _output_file, "metavar": "FILE", "help": "also write the record (JSON)"},
}
_CROSSCHECK: Options = _TRAINED | _ARMS | _SET | _DATA | _RESULTS | _RUNS | _DEVICE
_AUTOATTACK: Options = _TRAINED | _ARMS | _SEEDS | _SET | _DATA | _RESULTS | _RUNS | _DEVICE
_TUNE: Options = {
    "preset": {"help": "a preset with a [tuning] table whose trials ran: run PRESET --tuning"},
    **_SET,
    "--trials": _folder("the trials' records (default: runs/tuning)", "runs/tuning"),
    "--results": _folder("for trials.json (default: results)", "results"),
    "--output": _folder("for the tuned preset (default: the folder of PRESET's file)"),
}
_SPEED: Options = {
    "--checkpoint": {"type": path_of, "metavar": "FILE", "help": "attack this run's network (default: digits)"},
    **(_DEVICE | _DATA),
    "--output": _folder("for speed.md and speed/*.json (default: docs)", "docs"),
    "--parts": {
        "type": _parts,
        "default": PARTS,
        "help": f"measure only these parts, keep the others: {','.join(PARTS)}",
    },
    "--page": _flag("measure nothing; write speed.md from speed/*.json again"),
}
_ONE_SEED: Options = {"--seeds": {"type": _seeds, "help": "only these seeds: 0,1,2 or 0-9 (default: the first)"}}
_STRONG: Options = {
    "--eps": {"type": _radii, "help": "Linf radii in 1/255: 0.5,1 (default: the preset's analysis.eps)"},
    "--images": _number("at most, in one batch (default: 500)", 500),
}
_KIND: Options = {"kind": {"choices": tuple(KINDS)}}
COMMANDS: dict[str, tuple[str, Options]] = {  # command -> its help and options
    "run": ("train, evaluate and record every pending run of a preset", _SELECTION | _DATA | _RUN),
    "status": ("done, running, pending, diverged, failed; and the time left", _SELECTION),
    "report": ("write RESULTS.md and its figures from records", _RESULTS | _REPORT),
    "evaluate": ("accuracy, attacks and sanity flags of one network, anyone's", _EVALUATE),
    "crosscheck": ("our attacks beside pyautoattack's and foolbox's, on trained runs", _CROSSCHECK | _ONE_SEED),
    "autoattack": ("AutoAttack standard (pyautoattack) on trained runs", _AUTOATTACK | _STRONG),
    "tune": ("choose the best trial of each arm: their table and a preset, from records", _TUNE),
    "list": ("the known names of one kind, one a line, each with its description", _KIND),
    "speed": ("measure training, start-up, memory and attacks beside their targets", _SPEED),
    "doctor": ("versions, devices, data, disk, and each preset's time on this machine", _DATA),
}
