"""The command `status`: how each run of a plan stands, and the time that the rest takes, from the finished ones."""

import argparse
import statistics
import time
from collections.abc import Sequence

from tabulate import tabulate

from benchmark.cli.run import chosen_preset, results_folder
from benchmark.execution.lock import LEASE, lock_path
from benchmark.execution.log import failure, last_line
from benchmark.execution.paths import Places
from benchmark.records.schema import Record
from benchmark.records.store import DamagedRecordError, read_record, record_path
from benchmark.runtime.console import duration
from benchmark.runtime.environment import choose_device
from benchmark.settings.plan import Run, make_plan, part

STATES = ("done", "diverged", "failed", "running", "pending", "damaged", "other settings")


def status(options: argparse.Namespace) -> str:
    """Return a table of the runs by arm and seed, what is going on, and an estimate of the time left.

    Nothing is changed, not even a damaged record.

    Raises:
        UsageError: see `make_plan`.
    """
    preset = chosen_preset(options, choose_device(options.device))
    places = Places(results_folder(options), options.runs)
    plan = part(make_plan(preset, options.arms, options.seeds), options.shard)
    states = {(run.arm, run.seed): state(run, places) for run in plan}
    arms, seeds = (list(dict.fromkeys(key[i] for key in states)) for i in (0, 1))
    rows = [[arm, *(states.get((str(arm), int(seed)), "") for seed in seeds)] for arm in arms]
    table = tabulate(rows, ["arm", *(f"seed {seed}" for seed in seeds)], tablefmt="plain")
    counts = [f"{n} {name}" for name in STATES if (n := list(states.values()).count(name))]
    parts = [f"{preset.name}: {len(plan)} runs, {', '.join(counts)}.", table, *details(plan, places, states)]
    return "\n\n".join([*parts, time_left(plan, places, states)])


def state(run: Run, places: Places) -> str:
    """Return one of STATES for a run."""
    path, lock = record_path(places.results, run.preset.name, run.arm, run.seed), lock_path(run, places.results)
    if lock.is_file() and time.time() - lock.stat().st_mtime < LEASE:
        return "running"
    if path.is_file():
        try:
            record = read_record(path)
        except DamagedRecordError:
            return "damaged"
        return record["status"] if record["settings_hash"] == run.identity else "other settings"
    return "pending" if failure(run, places.runs) is None else "failed"


def details(plan: Sequence[Run], places: Places, states: dict[tuple[str, int], str]) -> list[str]:
    """Return, for each run that is going on or has failed, the last line of its log."""
    told = [(run, states[run.arm, run.seed]) for run in plan]
    lines = [
        f"{run.arm} seed {run.seed}, {now}: {last_line(run, places.runs)}" for run, now in told if now == "running"
    ]
    lines += [f"{run.arm} seed {run.seed}, failed: {failure(run, places.runs)}" for run, now in told if now == "failed"]
    return ["\n".join(lines)] if lines else []


def time_left(plan: Sequence[Run], places: Places, states: dict[tuple[str, int], str]) -> str:
    """Estimate what is left from what the finished runs of the same arm spent (else of all arms), one at a time."""
    spent: dict[str, list[float]] = {}
    for run in plan:
        if states[run.arm, run.seed] == "done":
            record = read_record(record_path(places.results, run.preset.name, run.arm, run.seed))
            spent.setdefault(run.arm, []).append(seconds(record))
    left = [run.arm for run in plan if states[run.arm, run.seed] in ("running", "pending", "damaged")]
    if not left:
        return "Nothing is left to do."
    if not spent:
        return f"{len(left)} runs are left; no run is finished from which their time could be estimated."
    everything = statistics.median(value for values in spent.values() for value in values)
    total = sum(statistics.median(spent[arm]) if arm in spent else everything for arm in left)
    workers = max(list(states.values()).count("running"), 1)
    at_a_time = f"{workers} at a time" if workers > 1 else "one at a time"
    return f"About {duration(total / workers)} for the {len(left)} runs left, {at_a_time}, by the records' own times."


def seconds(record: Record) -> float:
    """Return the seconds of training and attacks that a run took."""
    return record["cost"]["train_seconds"] + record["cost"]["attack_seconds"]
