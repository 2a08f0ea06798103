"""The command `run`: plan, data, everything that is still to do, and the tables."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmark import smoke
from benchmark.ablation import ablate
from benchmark.data import Data, data_roots, load_data
from benchmark.driver import Worker, execute, refuse_before, summarize, tidy_after_kills
from benchmark.environment import choose_device
from benchmark.errors import UsageError
from benchmark.events import refuse_without_tensorboard
from benchmark.logs import forget_failure
from benchmark.memory import keep_freed_memory
from benchmark.pending import Again, What, pending
from benchmark.places import Places
from benchmark.plan import Run, at_equal_compute, make_plan, part
from benchmark.preset_files import family_member, load_preset
from benchmark.printed import print_table, write
from benchmark.ray_launcher import on_cluster, refuse_launcher
from benchmark.records import check_writable, record_path
from benchmark.settings import Preset
from benchmark.stopping import stoppable
from benchmark.workers import in_parallel


def run_preset(options: argparse.Namespace) -> None:
    """Do what is pending of a preset, in this process or in several workers, and print the tables.

    Args:
        options: of the command line; `line` is that line itself, for the workers.

    Raises:
        BenchmarkError: wrong settings, missing data; a run failed or diverged.
        Stopped: by a signal.
    """
    refuse_launcher(options)
    if options.tensorboard:
        refuse_without_tensorboard()
    if options.synthetic and not options.smoke:
        raise UsageError("--synthetic is for --smoke runs only; made-up images have no place in a study.")
    keep_freed_memory()
    device = choose_device(options.device)
    preset = chosen_preset(options, device)
    results = options.results or (smoke.FOLDER / "results" if options.smoke else Path("results"))
    places = Places(results, options.runs, options.runs / "tensorboard" if options.tensorboard else None)
    plan = part(make_plan(preset, options.arms, options.seeds), options.shard)
    check_writable(places.results, places.runs)
    again = Again(repeated(options), options.since or time.time())
    if options.worker_of:  # one of several; the one that started them does the rest
        with stoppable(options.worker_of) as stop:
            todo = pending(plan, places, again)
            execute(todo, Worker(load(options, preset), places, device, stop, again, options.checkpoint_steps))
        return
    if again.what != "nothing":
        for run in plan:
            forget_failure(run, places.runs)
    todo = pending(plan, places, again)
    print(f"{preset.name}: {len(plan)} runs, {len(plan) - len(todo)} done, {len(todo)} to do, on {device}.", flush=True)
    if todo:
        with stoppable() as stop:
            work(todo, options, Worker(load(options, preset), places, device, stop, again, options.checkpoint_steps))
    conclude(plan, places, options)


def repeated(options: argparse.Namespace) -> What:
    """Return what the options want repeated."""
    return "all" if options.force else "diverged" if options.retry_failed else "nothing"


def load(options: argparse.Namespace, preset: Preset) -> Data:
    """Load the preset's data, or made-up images in its format, which the first process of the command writes."""
    root = options.data_root
    if options.synthetic:
        folder = smoke.FOLDER / "data"
        root = folder if options.worker_of else smoke.write_synthetic(preset, folder)
    return load_data(preset.data, data_roots(root))


def work(todo: Sequence[Run], options: argparse.Namespace, worker: Worker) -> None:
    """Do the runs here, or in several workers or on a cluster after having met here whatever stops them all."""
    if options.launcher == "ray":
        refuse_before(todo, worker)
        on_cluster(todo, options, worker.device.type, worker.again.since, worker.stop)
        return
    jobs = min(options.jobs, len(todo))
    if jobs == 1:
        execute(todo, worker)
        return
    refuse_before(todo, worker)
    in_parallel(options.line, jobs, worker.again.since, worker.stop)


def conclude(plan: Sequence[Run], places: Places, options: argparse.Namespace) -> None:
    """Print the tables of the records that are there, and how the runs ended.

    Raises:
        RunError: not all ended well.
    """
    name = plan[0].preset.name if plan else ""
    if any(record_path(places.results, name, run.arm, run.seed).is_file() for run in plan):
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
    return at_equal_compute(preset) if options.compute else preset
