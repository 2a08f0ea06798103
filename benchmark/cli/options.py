"""The command line's arguments: every command with its options."""

import argparse
import math
from pathlib import Path
from typing import TypeAlias

from benchmark.runtime.errors import nearest
from benchmark.runtime.files import refuse_irregular
from benchmark.settings.preset import MAX_SEEDS
from benchmark.speed.lines import PARTS

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="sba-benchmark", description="Does Stochastic Batch Augmentation hold?")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        add_run,
        add_status,
        add_report,
        add_evaluate,
        add_crosscheck,
        add_autoattack,
        add_tune,
        add_list,
        add_speed,
        add_doctor,
    ):
        add(commands)
    return top


def add_run(commands: Commands) -> None:
    """Add the command `run`."""
    run = commands.add_parser("run", help="train, evaluate and record every run of a preset that is not done yet")
    run.set_defaults(command="run")
    add_choice(run)
    run.add_argument("--data-root", type=Path, metavar="DIR", help="where data is looked for first")
    run.add_argument("--synthetic", action="store_true", help="with --smoke: made-up images in the official format")
    run.add_argument(
        "--tensorboard", action="store_true", help="write event files to RUNS/tensorboard (needs the package)"
    )
    run.add_argument(
        "--deterministic", action="store_true", help="only operations of torch that give the same result each time"
    )
    run.add_argument(
        "--skip-corrupt",
        type=count,
        default=0,
        metavar="N",
        help="replace up to N damaged image files, and list them in the record (default: none; streamed data only)",
    )
    run.add_argument("--force", action="store_true", help="repeat runs that are done")
    run.add_argument("--retry-failed", action="store_true", help="repeat runs that failed or diverged")
    run.add_argument("--jobs", type=count, default=1, metavar="N", help="runs at a time, in N processes (default: 1)")
    run.add_argument(
        "--processes",
        type=processes,
        metavar="N|gpus",
        help="processes that train each run together; gpus: one for each",
    )
    run.add_argument(
        "--launcher",
        default="local",
        metavar="NAME",
        help="local, torchrun (as --processes gpus), or ray: each run is a task of a Ray cluster, --jobs of them on "
        "each GPU, or on each node without (default: local)",
    )
    run.add_argument(
        "--ray-address", metavar="ADDRESS", help="of a Ray cluster (default: one of this machine is started)"
    )
    run.add_argument("--report", action="store_true", help="also write the report of the results folder")
    run.add_argument("--checkpoint-steps", type=count, default=500, metavar="N", help="also save every N steps")
    run.add_argument("--worker-of", type=int, help=argparse.SUPPRESS)  # of this process; set by --jobs


def add_status(commands: Commands) -> None:
    """Add the command `status`."""
    status = commands.add_parser("status", help="done, running, pending, diverged, failed; and the time left")
    status.set_defaults(command="status", synthetic=False, tensorboard=False)
    add_choice(status)


def add_choice(command: argparse.ArgumentParser) -> None:
    """Add what says which runs are meant, and where they live."""
    command.add_argument("preset", help="a name from `list presets`, or path/to/mine.toml")
    command.add_argument("--arms", type=names, help="only these arms: a,b")
    command.add_argument("--seeds", type=seeds, help="only these seeds: 0,1,2 or 0-9")
    command.add_argument("--shard", type=shard, metavar="I/N", help="only the I-th of N parts, for job arrays: 1/8")
    command.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override one setting")
    command.add_argument(
        "--results", type=Path, metavar="DIR", help="records (default: results, for smoke runs runs/smoke)"
    )
    command.add_argument(
        "--runs", type=Path, metavar="DIR", help="checkpoints, logs (default: runs)", default=Path("runs")
    )
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")
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


def add_report(commands: Commands) -> None:
    """Add the command `report`."""
    report = commands.add_parser("report", help="write RESULTS.md and its figures from records")
    report.set_defaults(command="report")
    report.add_argument(
        "--results", type=Path, metavar="DIR", default=Path("results"), help="records (default: results)"
    )
    report.add_argument(
        "--output", type=file_to_write, metavar="FILE", help="default: RESULTS.md beside the records' folder"
    )
    report.add_argument("--html", action="store_true", help="also write RESULTS.html, one page for itself")
    report.add_argument("--csv", action="store_true", help="also write every table as CSV, in the folder tables")
    report.add_argument("--latex", action="store_true", help="also write every table as LaTeX with booktabs, likewise")
    report.add_argument("--check", action="store_true", help="change nothing; exit 1 where the files differ")


def add_evaluate(commands: Commands) -> None:
    """Add the command `evaluate`."""
    one = commands.add_parser("evaluate", help="accuracy, attacks and sanity flags of one network, anyone's")
    one.set_defaults(command="evaluate")
    one.add_argument("checkpoint", nargs="?", type=Path, help="a run's checkpoint, or a file with a state_dict")
    one.add_argument("--model", metavar="PACKAGE.MODULE:CALLABLE", help="returns the network; called without arguments")
    one.add_argument("--preset", help="its data set and attacks (default: the checkpoint's own)")
    one.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override one setting")
    one.add_argument("--data-root", type=Path, metavar="DIR", help="where data is looked for first")
    one.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")
    one.add_argument(
        "--output", type=file_to_write, metavar="FILE", help="also write what was found as a record (JSON)"
    )


def add_crosscheck(commands: Commands) -> None:
    """Add the command `crosscheck`."""
    cross = commands.add_parser("crosscheck", help="our attacks beside pyautoattack's and foolbox's, on trained runs")
    cross.set_defaults(command="crosscheck")
    cross.add_argument("preset", help="a preset whose runs have records and checkpoints")
    cross.add_argument("--arms", type=names, help="only these arms: a,b")
    cross.add_argument("--seeds", type=seeds, help="only these seeds: 0,1,2 or 0-9 (default: the first)")
    cross.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override one setting")
    cross.add_argument("--data-root", type=Path, metavar="DIR", help="where data is looked for first")
    cross.add_argument(
        "--results", type=Path, metavar="DIR", default=Path("results"), help="records (default: results)"
    )
    cross.add_argument("--runs", type=Path, metavar="DIR", default=Path("runs"), help="checkpoints (default: runs)")
    cross.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")


def add_autoattack(commands: Commands) -> None:
    """Add the command `autoattack`."""
    strong = commands.add_parser("autoattack", help="AutoAttack standard (pyautoattack) on trained runs")
    strong.set_defaults(command="autoattack")
    strong.add_argument("preset", help="a preset whose runs have records and checkpoints")
    strong.add_argument("--arms", type=names, help="only these arms: a,b")
    strong.add_argument("--seeds", type=seeds, help="only these seeds: 0,1,2 or 0-9")
    strong.add_argument("--eps", type=radii, help="Linf radii in 1/255: 0.5,1 (default: the one that the preset names)")
    strong.add_argument("--images", type=count, default=500, metavar="N", help="at most, in one batch (default: 500)")
    strong.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override one setting")
    strong.add_argument("--data-root", type=Path, metavar="DIR", help="where data is looked for first")
    strong.add_argument(
        "--results", type=Path, metavar="DIR", default=Path("results"), help="records (default: results)"
    )
    strong.add_argument("--runs", type=Path, metavar="DIR", default=Path("runs"), help="checkpoints (default: runs)")
    strong.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")


def add_tune(commands: Commands) -> None:
    """Add the command `tune`."""
    tune = commands.add_parser("tune", help="choose the best trial of each arm: their table and a preset, from records")
    tune.set_defaults(command="tune")
    tune.add_argument("preset", help="a preset with a [tuning] table whose trials ran: run PRESET --tuning")
    tune.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override one setting")
    tune.add_argument(
        "--trials",
        type=Path,
        metavar="DIR",
        default=Path("runs/tuning"),
        help="the trials' records (default: runs/tuning)",
    )
    tune.add_argument(
        "--results", type=Path, metavar="DIR", default=Path("results"), help="for trials.json (default: results)"
    )
    tune.add_argument(
        "--output", type=Path, metavar="DIR", help="for the tuned preset (default: where PRESET's own file lies)"
    )


def add_list(commands: Commands) -> None:
    """Add the command `list`."""
    listing = commands.add_parser("list", help="what there is, one line each with its source")
    listing.set_defaults(command="list")
    listing.add_argument("kind", choices=("presets", "arms", "methods", "datasets", "models", "attacks"))


def add_speed(commands: Commands) -> None:
    """Add the command `speed`."""
    speed = commands.add_parser("speed", help="measure training, start-up, memory and attacks beside their targets")
    speed.set_defaults(command="speed")
    speed.add_argument("--checkpoint", type=Path, metavar="FILE", help="attack this run's network (default: digits)")
    speed.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")
    speed.add_argument("--data-root", type=Path, metavar="DIR", help="where the checkpoint's data is looked for first")
    speed.add_argument(
        "--output", type=Path, default=Path("docs"), metavar="DIR", help="for speed.md and speed/*.json (default: docs)"
    )
    speed.add_argument(
        "--parts", type=parts, default=PARTS, help=f"measure only these parts, the others stay: {','.join(PARTS)}"
    )
    speed.add_argument("--page", action="store_true", help="measure nothing; write speed.md from speed/*.json again")


def add_doctor(commands: Commands) -> None:
    """Add the command `doctor`."""
    doctor = commands.add_parser("doctor", help="versions, devices, data, disk, and what each preset would take here")
    doctor.set_defaults(command="doctor")
    doctor.add_argument("--data-root", type=Path, metavar="DIR", help="where data is looked for first")


def names(text: str) -> list[str]:
    """Parse "a,b".

    Raises:
        argparse.ArgumentTypeError: there is no name in it.
    """
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; write a,b")
    return found


def parts(text: str) -> list[str]:
    """Parse names of parts of the speed command.

    Raises:
        argparse.ArgumentTypeError: there is no such part.
    """
    found = names(text)
    if unknown := [name for name in found if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no part; {nearest(unknown[0], PARTS)}")
    return found


def radii(text: str) -> list[float]:
    """Parse "0.5,1".

    Raises:
        argparse.ArgumentTypeError: anything else than numbers above 0.
    """
    try:
        found = [float(part) for part in names(text)]
    except ValueError:
        found = []
    if not found or not all(0 < value < math.inf for value in found):
        raise argparse.ArgumentTypeError(f"{text!r}: write numbers above 0 as 0.5,1")
    return found


def count(text: str) -> int:
    """Parse a whole number from 1 on.

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write a whole number from 1 on")
    return int(text)


def file_to_write(text: str) -> Path:
    """Parse the path of a file that may be there already.

    Raises:
        argparse.ArgumentTypeError: it leads to a folder, or to a device, a pipe or a socket.
    """
    path = Path(text)
    try:
        refuse_irregular(path)
    except IsADirectoryError:
        raise argparse.ArgumentTypeError(f"{text!r} is a folder; name a file in it") from None
    except OSError as error:
        if path.exists():  # where it is not, whoever writes it says why it cannot be written
            raise argparse.ArgumentTypeError(f"{text!r}: {error.strerror}") from None
    return path


def processes(text: str) -> str:
    """Parse a number of processes, or "gpus".

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    return text if text == "gpus" else str(count(text))


def shard(text: str) -> tuple[int, int]:
    """Parse "i/n" with 1 <= i <= n.

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    numbers = [count(number) for number in text.split("/")]
    if len(numbers) != 2 or numbers[0] > numbers[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: write i/n with i from 1 to n, for example 1/8")
    return numbers[0], numbers[1]


def seeds(text: str) -> list[int]:
    """Parse "0,1,2", "0-9" or a mixture.

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    found: list[int] = []
    for part in names(text):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or int(last or first) < int(first):
            raise argparse.ArgumentTypeError(f"{text!r}: write seeds as 0,1,2 or 0-9")
        if int(last or first) - int(first) >= MAX_SEEDS:
            raise argparse.ArgumentTypeError(f"{text!r}: a study has at most {MAX_SEEDS} seeds")
        found += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(found))
