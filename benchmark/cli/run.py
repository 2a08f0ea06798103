"""The command `run`: plan, data, everything that is still to do, and the tables."""

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmark.data.load import Data, data_roots, load_data
from benchmark.data.synthetic import write_synthetic
from benchmark.execution.driver import execute, refuse_before, summarize, tidy_after_kills
from benchmark.execution.events import refuse_without_tensorboard
from benchmark.execution.log import forget_failure
from benchmark.execution.paths import Places
from benchmark.execution.pending import Again, What, pending
from benchmark.execution.ray_launcher import on_cluster, refuse_launcher
from benchmark.execution.run import Worker
from benchmark.execution.workers import in_parallel
from benchmark.records.store import check_writable, record_path
from benchmark.runtime.distributed import Group, joined, launched
from benchmark.runtime.environment import choose_device
from benchmark.runtime.errors import UsageError
from benchmark.runtime.memory import keep_freed_memory
from benchmark.runtime.signals import stoppable
from benchmark.settings import smoke
from benchmark.settings.ablation import ablate
from benchmark.settings.load import family_member, load_preset
from benchmark.settings.plan import Run, at_equal_compute, make_plan, part
from benchmark.settings.preset import Preset
from benchmark.settings.tuning import trials_preset


def run_preset(options: argparse.Namespace) -> None:
    """Do what is pending of a preset, in this process or in several workers, and print the tables.

    Args:
        options: of the command line; `line` is that line itself, for the workers.

    Raises:
        BenchmarkError: wrong settings, missing data; a run failed or diverged.
        Stopped: by a signal.
    """
    refuse_contradictions(options)
    keep_freed_memory()
    with joined() as group, contextlib.redirect_stdout(sys.stdout if group.leads else io.StringIO()):
        device = group.agree(lambda: choose_device(options.device))
        plan, places = group.agree(lambda: planned(options, device))
        options.since = options.since or time.time()
        again = Again(repeated(options), options.since)
        todo = group.agree(lambda: to_do(plan, places, again, options) if group.leads else [])
        todo = [plan[number] for number in group.share([plan.index(run) for run in todo])]
        if not options.worker_of:
            done = len(plan) - len(todo)
            together = f" x {group.size} processes" if group.size > 1 else ""
            name = plan[0].preset.name if plan else options.preset
            print(f"{name}: {len(plan)} runs, {done} done, {len(todo)} to do, on {device}{together}.", flush=True)
        if todo:
            with stoppable(options.worker_of or 0) as stop:
                data = load_in_turn(options, todo[0].preset, group)
                work(todo, options, Worker(data, places, device, stop, again, options.checkpoint_steps, group))
        if group.leads and not options.worker_of:  # a worker is one of several; the one that started them does the rest
            conclude(plan, places, options)


def refuse_contradictions(options: argparse.Namespace) -> None:
    """Refuse options that exclude one another.

    Raises:
        UsageError: names them.
    """
    refuse_launcher(options)
    if options.tensorboard:
        refuse_without_tensorboard()
    if options.synthetic and not options.smoke:
        raise UsageError("--synthetic is for --smoke runs only; made-up images have no place in a study.")
    if launched() and (options.jobs > 1 or options.launcher != "local"):
        raise UsageError("torchrun's processes train runs together, those of --jobs or Ray one each: leave one out.")


def planned(options: argparse.Namespace, device: torch.device) -> tuple[list[Run], Places]:
    """Return the plan and its folders.

    Raises:
        UsageError: wrong settings.
    """
    preset = chosen_preset(options, device)
    places = Places(
        results_folder(options), options.runs, options.runs / "tensorboard" if options.tensorboard else None
    )
    return part(make_plan(preset, options.arms, options.seeds), options.shard), places


def results_folder(options: argparse.Namespace) -> Path:
    """Return the folder of the records; those of smoke runs and of trials lie apart from those of studies."""
    if options.results:
        return Path(options.results)
    if options.smoke:
        return smoke.FOLDER / "results"
    return Path(options.runs) / "tuning" if options.tuning else Path("results")


def to_do(plan: Sequence[Run], places: Places, again: Again, options: argparse.Namespace) -> list[Run]:
    """Return the runs of the plan that are to be started.

    Raises:
        UsageError: folders that cannot be written, records of other settings.
    """
    check_writable(places.results, places.runs)
    if again.what != "nothing" and not options.worker_of:
        for run in plan:
            forget_failure(run, places.runs)
    return pending(plan, places, again)


def repeated(options: argparse.Namespace) -> What:
    """Return what the options want repeated."""
    return "all" if options.force else "diverged" if options.retry_failed else "nothing"


def load(options: argparse.Namespace, preset: Preset, first: bool = True) -> Data:
    """Load the preset's data, or made-up images in its format, which the first process of the command writes."""
    root = options.data_root
    if options.synthetic:
        folder = smoke.FOLDER / "data"
        root = write_synthetic(preset.data, folder) if first and not options.worker_of else folder
    return load_data(preset.data, data_roots(root), options.skip_corrupt)


def load_in_turn(options: argparse.Namespace, preset: Preset, group: Group) -> Data:
    """Load the data in the first process of a group, which may decode them, then in the others, from its cache."""
    loaded = group.agree(lambda: load(options, preset) if group.leads else None)
    return group.agree(lambda: loaded or load(options, preset, first=False))


def work(todo: Sequence[Run], options: argparse.Namespace, worker: Worker) -> None:
    """Do the runs here, or in several workers or on a cluster after having met here whatever stops them all."""
    if options.launcher == "ray":
        meet_errors_here(todo, worker)
        on_cluster(todo, options, worker.device.type, worker.again.since, worker.stop)
        return
    jobs = min(options.jobs, len(todo))
    if jobs == 1:
        execute(todo, worker)
        return
    meet_errors_here(todo, worker)
    in_parallel(options.line, jobs, worker.again.since, worker.stop)


def meet_errors_here(todo: Sequence[Run], worker: Worker) -> None:
    """Refuse what would stop every worker, and leave them the GPU's memory."""
    refuse_before(todo, worker)
    if worker.device.type == "cuda":
        torch.cuda.empty_cache()


def conclude(plan: Sequence[Run], places: Places, options: argparse.Namespace) -> None:
    """Print the tables of the records that are there, and how the runs ended.

    Raises:
        RunError: not all ended well.
    """
    # Imported here: statistics and figures take a second, and a process that follows another one prints nothing.
    from benchmark.cli.printed import print_table, write

    name = plan[0].preset.name if plan else ""
    if options.tuning:
        print(
            f"Choose the best trial of each arm by: python -m benchmark tune {options.preset} --trials {places.results}"
        )
    elif any(record_path(places.results, name, run.arm, run.seed).is_file() for run in plan):
        print_table(places.results, name)
        if options.smoke:
            write(places.results, places.results / "RESULTS.md" if options.results else smoke.FOLDER / "RESULTS.md")
    tidy_after_kills(plan, places)
    summarize(plan, places)


def chosen_preset(options: argparse.Namespace, device: torch.device) -> Preset:
    """Return the preset that the options name, shrunk and changed as they say."""
    name = family_member(options.preset, device.type)
    shrunk = smoke.shrink(load_preset(name), options.synthetic) if options.smoke else ()
    preset = load_preset(name, tuple(options.set), shrunk)
    if options.ablation:
        preset = ablate(preset)
    if options.tuning:
        preset = trials_preset(preset)
    return at_equal_compute(preset) if options.compute else preset
