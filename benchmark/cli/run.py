"""The command `run`: computes the pending runs of a preset and prints its tables."""

import argparse
import contextlib
import functools
import io
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmark.analysis.claims import load_claims
from benchmark.data.load import Data, data_roots, load_data
from benchmark.data.synthetic import write_synthetic
from benchmark.evaluation.catalogue import scale_warning
from benchmark.execution.files import (
    Folders,
    RunPaths,
    Status,
    is_pending,
    mark_for_repetition,
    refuse_wrong_paths,
    status,
)
from benchmark.execution.launchers import LAUNCHERS, Launcher
from benchmark.execution.preflight import refuse_other_analysis
from benchmark.execution.progress import refuse_without_tensorboard
from benchmark.execution.worker import Context, summarize, tidy_after_kills
from benchmark.runtime.distributed import Group, joined
from benchmark.runtime.environment import DETERMINISTIC, choose_device, deterministic
from benchmark.runtime.errors import UsageError, nearest
from benchmark.runtime.files import check_writable
from benchmark.runtime.memory import keep_freed_memory
from benchmark.runtime.signals import stoppable
from benchmark.settings.load import family_member, load_preset
from benchmark.settings.plan import Run, make_plan, part
from benchmark.settings.preset import Preset
from benchmark.settings.variants import SMOKE_FOLDER, ablate, at_equal_compute, shrink, study_of, trials_preset

ENDINGS: tuple[Status, ...] = ("diverged", "failed")  # of runs that are neither done nor started again


def main(options: argparse.Namespace) -> None:
    """Compute the pending runs of a preset, in this process or in several workers, and print the tables.

    Raises:
        BenchmarkError: wrong settings, missing data; a run failed or diverged.
        Stopped: by a signal.
    """
    keep_freed_memory()
    with (
        deterministic(options.deterministic),
        joined() as group,
        contextlib.redirect_stdout(sys.stdout if group.leads else io.StringIO()),
    ):
        launcher = group.agree(lambda: _checked_launcher(options))  # here, so that one process prints an error
        if options.deterministic and not options.worker_of:
            print(DETERMINISTIC, flush=True)
        device = group.agree(lambda: choose_device(options.device))
        plan, folders = group.agree(lambda: planned(options, device))
        numbers = group.share(group.agree(lambda: _pending(plan, folders, options) if group.leads else []))
        todo = [plan[number] for number in numbers]
        if group.leads and not options.worker_of:
            together = f" x {group.size} processes" if group.size > 1 else ""
            name = plan[0].preset.name if plan else options.preset
            print(f"{name}: {_counts(plan, numbers, folders)}, on {device}{together}.", flush=True)
            if not plan:  # only with --shard, see `make_plan`
                print("The study has fewer runs than --shard has parts: this part is empty.", flush=True)
            # The attacks of trials are fixed, since nothing is chosen by them: nobody can follow the warning.
            if todo and not options.tuning and (warning := scale_warning(todo[0].settings["evaluation"])):
                print(f"Warning: {warning}", flush=True)
            if todo and (note := _too_few_seeds(options, todo[0].preset)):
                print(f"Note: {note}", flush=True)
        if todo:
            with stoppable(options.worker_of or 0) as stop:
                load = functools.cache(lambda: _load_in_turn(options, todo[0].preset, group))
                launcher.run(todo, Context(options, folders, device, stop, group, load))
        if group.leads and not options.worker_of:  # the process that started the workers does the rest
            _conclude(plan, folders, options)


def _checked_launcher(options: argparse.Namespace) -> Launcher:
    """Return the launcher, after the checks that need nothing but the options."""
    name = options.launcher
    if name not in LAUNCHERS:
        raise UsageError(f"--launcher {name!r}: {nearest(name, LAUNCHERS)}")
    together = options.processes not in (None, "1") and name != "ray"
    launcher = LAUNCHERS["torchrun" if together else name]
    launcher.check(options)
    if options.tensorboard:
        refuse_without_tensorboard()
    if (options.report or options.smoke) and not options.worker_of:  # these write a report after the runs
        load_claims()
    return launcher


def planned(options: argparse.Namespace, device: torch.device) -> tuple[list[Run], Folders]:
    """Return the plan and its folders; UsageError for wrong settings."""
    if options.synthetic and not options.smoke:
        raise UsageError("--synthetic is for --smoke runs only; made-up images have no place in a study.")
    preset = _chosen_preset(options, device)
    events = options.runs / "tensorboard" if options.tensorboard else None
    folders = Folders(_results_folder(options), options.runs, events)
    return part(make_plan(preset, options.arms, options.seeds), options.shard), folders


def _results_folder(options: argparse.Namespace) -> Path:
    """Return the folder of the records; smoke runs and trials have others than studies."""
    if options.results:
        return Path(options.results)
    if options.smoke:
        return SMOKE_FOLDER / "results"
    return Path(options.runs) / "tuning" if options.tuning else Path("results")


def _pending(plan: Sequence[Run], folders: Folders, options: argparse.Namespace) -> list[int]:
    """Mark the runs that --force or --retry-failed repeat, and return the plan's numbers of the runs to be started."""
    refuse_wrong_paths(plan, folders)
    if (options.force or options.retry_failed) and not options.worker_of:
        check_writable(folders.results, folders.runs)
        mark_for_repetition(plan, folders, everything=options.force)
    todo = [number for number, run in enumerate(plan) if is_pending(run, RunPaths(run, folders))]
    if plan and not options.worker_of:
        refuse_other_analysis(plan[0], folders)
    if todo:
        check_writable(folders.results, folders.runs)
    return todo


def _counts(plan: Sequence[Run], todo: Sequence[int], folders: Folders) -> str:
    """Return as text the number of runs that are done, that ended otherwise (`ENDINGS`) and that are to be started."""
    started = {*todo}
    ended = Counter(status(run, RunPaths(run, folders)) for i, run in enumerate(plan) if i not in started)
    done = ended.total() - sum(ended[ending] for ending in ENDINGS)
    others = [f"{ended[ending]} {ending}" for ending in ENDINGS if ended[ending]]
    return ", ".join([f"{len(plan)} runs", f"{done} done", *others, f"{len(todo)} to do"])


def _too_few_seeds(options: argparse.Namespace, preset: Preset) -> str:
    """Return that the user's own study has too few seeds for a test; "" for other studies."""
    if options.smoke or preset.analysis.exploratory or not options.preset.endswith(".toml"):
        return ""
    from benchmark.analysis.paired import MIN_PAIRS_TO_TEST as LEAST  # statistics take a second

    if len(preset.seeds) >= LEAST:
        return ""
    return (
        f"with seeds = {list(preset.seeds)} differences are described, not tested; a test takes {LEAST} seeds or more. "
        f"They are named before the runs: for a test set them now, for example seeds = {[*range(LEAST)]}."
    )


def _load(options: argparse.Namespace, preset: Preset, first: bool = True) -> Data:
    """Load the preset's data, or made-up images in its format, which the first process writes."""
    root = options.data_root
    if options.synthetic:
        folder = SMOKE_FOLDER / "data"
        root = write_synthetic(preset.data, folder) if first and not options.worker_of else folder
    return load_data(preset.data, data_roots(root), options.skip_corrupt, fewer=options.smoke)


def _load_in_turn(options: argparse.Namespace, preset: Preset, group: Group) -> Data:
    """Load the data in the first process of a group, which may decode them, then in the others, from its cache."""
    loaded = group.agree(lambda: _load(options, preset) if group.leads else None)
    return group.agree(lambda: loaded or _load(options, preset, first=False))


def _conclude(plan: Sequence[Run], folders: Folders, options: argparse.Namespace) -> None:
    """Print the tables of the existing records, write the report if asked to, and summarize the runs."""
    # Imported here: statistics and figures take a second, and workers print no tables.
    from benchmark.cli.report import write

    results = folders.results
    if options.tuning and plan and not options.smoke:
        name = options.preset if options.preset.endswith(".toml") else study_of(plan[0].preset.name)
        given = [name, "--trials", str(results), *(word for text in options.set for word in ("--set", text))]
        print(f"Choose the best trial of each arm by: python -m benchmark tune {shlex.join(given)}")
    elif not options.tuning and any(RunPaths(run, folders).record.is_file() for run in plan):
        _print_tables(results, plan[0].preset.name)
        if options.smoke:
            write(results, results / "RESULTS.md" if options.results else SMOKE_FOLDER / "RESULTS.md")
    if options.report and not (options.smoke or options.tuning):
        write(results)
    tidy_after_kills(plan, folders)
    summarize(plan, folders)


def _print_tables(results: Path, preset: str) -> None:
    """Print a study's accuracies, differences of the first endpoint and robust accuracies."""
    from benchmark.analysis.endpoints import ENDPOINTS
    from benchmark.analysis.study import load_study
    from benchmark.records.store import read_study
    from benchmark.report.attack_tables import robustness_table
    from benchmark.report.tables import comparison_table, contrast_table, seeds_table
    from benchmark.report.words import direction

    study = load_study(preset, read_study(results, preset))
    print(f"\nAccuracy after the last epoch, %\n\n{seeds_table(study).text()}")
    compared = f"Each row minus {study.treatment}" if study.exploratory else f"{study.treatment} against each arm"
    first = study.endpoints[0]
    differences = contrast_table(study, first) if study.exploratory else comparison_table(study, first)
    measured = f"{study.title(first)}, {ENDPOINTS[first].unit}{direction(first)}"
    print(f"\n{compared}: {measured}\n\n{differences.text()}")
    print(f"\nAccuracy under these attacks at Linf eps (1/255), %\n\n{robustness_table(study).text()}\n")


def _chosen_preset(options: argparse.Namespace, device: torch.device) -> Preset:
    """Return the preset of the options, with its overrides and variant applied."""
    name = family_member(options.preset, device.type, quiet=bool(options.worker_of))
    preset = load_preset(name, options.set, shrink(load_preset(name), options.synthetic) if options.smoke else {})
    if options.ablation:
        preset = ablate(preset)
    if options.tuning:
        preset = trials_preset(preset)
    return at_equal_compute(preset) if options.compute else preset
