"""The command line: `python -m benchmark COMMAND`, also `sba-benchmark COMMAND`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.arguments import parser
from benchmark.errors import BenchmarkError, UsageError

if TYPE_CHECKING:
    from benchmark.report import Form


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done. 1: a run failed or diverged, or `report --check` differs. 2: wrong usage or settings. 3: data missing.
    130: interrupted; finished epochs and runs are kept.
    """
    options = parser().parse_args(arguments)
    try:
        code = COMMANDS[options.command](options)
        sys.stdout.flush()
        return code
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(
            "\ninterrupted. Finished epochs and runs are kept; the same command goes on from there.",
            file=sys.stderr,
        )
        return 130


def run_command(options: argparse.Namespace) -> int:
    """Run the study, with deterministic operations where they are asked for."""
    # Imported here, as in the other commands: torch takes seconds, and a report or a list does not need it.
    from benchmark.environment import DETERMINISTIC, deterministic

    if options.deterministic:
        print(DETERMINISTIC, flush=True)
    with deterministic(options.deterministic):
        return run_study(options)


def run_study(options: argparse.Namespace) -> int:
    """Plan, load data, run what is pending, and print the table."""
    from benchmark import smoke
    from benchmark.ablation import ablate
    from benchmark.data import data_roots, load_data
    from benchmark.driver import Places, execute, pending, raise_if_unfinished
    from benchmark.environment import choose_device
    from benchmark.events import refuse_without_tensorboard
    from benchmark.memory import keep_freed_memory
    from benchmark.plan import at_equal_compute, make_plan
    from benchmark.preset_files import load_preset

    if options.tensorboard:
        refuse_without_tensorboard()
    keep_freed_memory()
    device = choose_device(options.device)
    if options.synthetic and not options.smoke:
        raise UsageError("--synthetic is for --smoke runs only; made-up images have no place in a study.")
    name = family_member(options.preset, device.type)
    shrunk = smoke.shrink(load_preset(name), options.synthetic) if options.smoke else ()
    preset = load_preset(name, tuple(options.set), shrunk)
    if options.ablation:
        preset = ablate(preset)
    if options.compute:
        preset = at_equal_compute(preset)
    results = options.results or (smoke.FOLDER / "results" if options.smoke else Path("results"))
    places = Places(results, options.runs, options.runs / "tensorboard" if options.tensorboard else None)
    plan = make_plan(preset, options.arms, options.seeds)
    check_writable(places.results, places.runs)
    todo = pending(plan, places, options.force)
    print(
        f"{preset.name}: {len(plan)} runs, {len(plan) - len(todo)} done, {len(todo)} to do, on {device}.",
        flush=True,
    )
    failed = []
    if todo:
        root = smoke.write_synthetic(preset, smoke.FOLDER / "data") if options.synthetic else options.data_root
        failed = execute(todo, load_data(preset.data, data_roots(root)), places, device, options.force)
    if len(failed) < len(plan):
        print_table(places.results, preset.name)
    if options.smoke and len(failed) < len(plan):
        write(places.results, places.results / "RESULTS.md" if options.results else smoke.FOLDER / "RESULTS.md")
    raise_if_unfinished(plan, places, failed)
    return 0


def family_member(name: str, device: str) -> str:
    """Return the preset for a study's name: "cifar10" is cifar10_gpu where CUDA is used, else cifar10_cpu."""
    from benchmark.preset_files import preset_names

    member = f"{name}_{'gpu' if device == 'cuda' else 'cpu'}"
    if name in preset_names() or member not in preset_names():
        return name
    print(f"Preset {member}, because the device is {device}.", flush=True)
    return member


def check_writable(*folders: Path) -> None:
    """Refuse folders that cannot be written before hours are spent."""
    import tempfile

    from benchmark.records import unwritable

    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise unwritable(folder, error) from error


def print_table(results: Path, preset: str) -> None:
    """Print the arms' accuracy, their robust accuracy and what SBA's difference carries."""
    from benchmark.endpoints import ENDPOINTS
    from benchmark.records import read_study
    from benchmark.robustness_tables import robustness_table
    from benchmark.study import load_study
    from benchmark.tables import comparison_table, seeds_table

    study = load_study(preset, read_study(results, preset))
    print(f"\nAccuracy after the last epoch, %\n\n{seeds_table(study)}")
    compared = f"Each row minus {study.treatment}" if study.exploratory else f"{study.treatment} against each arm"
    first = study.endpoints[0]
    print(f"\n{compared}: {study.title(first)}, {ENDPOINTS[first].unit}\n\n{comparison_table(study, first)}")
    print(f"\nAccuracy under these attacks at Linf eps (1/255), %\n\n{robustness_table(study)}\n")


def write(results: Path, output: Path | None, forms: Sequence["Form"] = ()) -> None:
    """Write the report and say where it is."""
    from benchmark.report import write_report

    paths = write_report(results, output or results.parent / "RESULTS.md", forms)
    figures = [path for path in paths if path.suffix == ".svg"]
    print(f"Report: {paths[0]} and {len(figures)} figures under {results}.", flush=True)
    pages = [path for path in paths if path.suffix == ".html"]
    tables = [path for path in paths if path.suffix in (".csv", ".tex")]
    if pages:
        print(f"The same as one page: {pages[0]}.", flush=True)
    if tables:
        print(f"{len(tables)} tables under {tables[0].parent}.", flush=True)


def report_command(options: argparse.Namespace) -> int:
    """Write or check the report."""
    from benchmark.report import check_report

    if not options.results.is_dir():
        raise UsageError(
            f"--results {options.results}: there is no such folder. Records are in results/<preset>/<arm>/."
        )
    forms: list[Form] = [form for form in ("html", "csv", "latex") if getattr(options, form)]
    if not options.check:
        write(options.results, options.output, forms)
        return 0
    problems = check_report(options.results, options.output or options.results.parent / "RESULTS.md", forms)
    print("\n".join(problems) if problems else "RESULTS.md and its figures are what the records give.")
    return 1 if problems else 0


def list_command(options: argparse.Namespace) -> int:
    """List one kind of name."""
    from tabulate import tabulate

    from benchmark import registry
    from benchmark.preset_files import load_preset, preset_names

    if options.kind == "presets":
        rows = [(name, load_preset(name).title) for name in preset_names()]
    elif options.kind == "arms":
        arms = {name: arm for preset in preset_names() for name, arm in load_preset(preset).arms.items()}
        rows = [(name, f"method {arm.method}, augmentation {arm.augmentation}") for name, arm in arms.items()]
    else:
        tables = {"methods": registry.methods(), "datasets": registry.DATASETS, "models": registry.MODELS}
        rows = [(name, row.source) for name, row in tables.get(options.kind, registry.ATTACKS).items()]
    print(tabulate(rows, tablefmt="plain"))
    return 0


def evaluate_command(options: argparse.Namespace) -> int:
    """Evaluate one network and print its report."""
    from benchmark.evaluate_command import evaluate_network

    if options.output:
        check_writable(options.output.parent)
    return evaluate_network(options)


def crosscheck_command(options: argparse.Namespace) -> int:
    """Compare the attack packages on trained runs; 1 where any image has another outcome."""
    from benchmark import crosscheck
    from benchmark.data import data_roots, load_data
    from benchmark.driver import Places
    from benchmark.environment import choose_device
    from benchmark.plan import make_plan
    from benchmark.preset_files import load_preset

    device = choose_device(options.device)
    preset = load_preset(family_member(options.preset, device.type), tuple(options.set))
    plan = make_plan(preset, options.arms, options.seeds or preset.seeds[:1])
    places = Places(options.results, options.runs)
    check_writable(options.results)
    rows = crosscheck.crosscheck(plan, load_data(preset.data, data_roots(options.data_root)), places, device)
    path = options.results / preset.name / crosscheck.FILE
    crosscheck.write_crosscheck(path, rows, device)
    differing = sum(row["disagreements"] for row in rows)
    print(f"{differing} disagreements in {sum(row['images'] for row in rows):,} outcomes; written to {path}.")
    return 1 if differing else 0


def speed_command(options: argparse.Namespace) -> int:
    """Print the throughput table and what SBA's steps cost."""
    from benchmark.attack_cost import attack_cost_table
    from benchmark.environment import choose_device
    from benchmark.events import refuse_without_tensorboard
    from benchmark.memory import keep_freed_memory
    from benchmark.sba_cost import cost_tables
    from benchmark.speed import speed_table

    if options.tensorboard:
        refuse_without_tensorboard()
    keep_freed_memory()
    device = choose_device(options.device)
    print(speed_table(device))
    print(f"\n{cost_tables(device)}")
    print(f"\n{attack_cost_table(device, options.checkpoint, options.data_root)}")
    return 0


def doctor_command(options: argparse.Namespace) -> int:
    """Print what this machine has and what the presets would take on it."""
    from benchmark.doctor import doctor

    print(doctor(options.data_root))
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run_command,
    "report": report_command,
    "evaluate": evaluate_command,
    "crosscheck": crosscheck_command,
    "list": list_command,
    "speed": speed_command,
    "doctor": doctor_command,
}
