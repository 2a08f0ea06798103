"""The command `status`: the status of each run of a plan, and an estimate of the time left."""

import argparse
import statistics
from collections import Counter
from collections.abc import Sequence

from tabulate import tabulate

from benchmark.cli.run import planned
from benchmark.execution.files import STATUSES, Folders, RunPaths, Status, failure, refuse_wrong_paths, statuses
from benchmark.execution.progress import log_lines
from benchmark.records.store import read_record, record_files
from benchmark.runtime.console import duration
from benchmark.runtime.environment import choose_device
from benchmark.settings.plan import Run

States = dict[tuple[str, int], Status]


def main(options: argparse.Namespace) -> None:
    """Print a table of the runs by arm and seed, the last log lines of running ones, and an estimate of the time left.

    Nothing is changed, not even a damaged record.

    Raises:
        UsageError: see `make_plan` and `refuse_wrong_paths`.
        RunError: a file beside the records has the name of no record.
    """
    plan, folders = planned(options, choose_device(options.device))
    name = plan[0].preset.name if plan else options.preset
    refuse_wrong_paths(plan, folders)
    record_files(folders.results, name)
    states = {(run.arm, run.seed): now for run, now in zip(plan, statuses(plan, folders), strict=True)}
    arms, seeds = dict.fromkeys(run.arm for run in plan), dict.fromkeys(run.seed for run in plan)
    rows = [[arm, *(states.get((arm, seed), "") for seed in seeds)] for arm in arms]
    table = tabulate(rows, ["arm", *(f"seed {seed}" for seed in seeds)], tablefmt="plain")
    counts = [f"{n} {kind}" for kind in STATUSES if (n := list(states.values()).count(kind))]
    parts = [f"{name}: {', '.join([f'{len(plan)} runs', *counts])}.", table, *_details(plan, folders, states)]
    print("\n\n".join([*parts, _time_left(plan, folders, states)]))


def _details(plan: Sequence[Run], folders: Folders, states: States) -> list[str]:
    """Return the last log line of each running run and the reason of each failed one."""
    found = []
    for wanted in ("running", "failed"):
        for run in (run for run in plan if states[run.arm, run.seed] == wanted):
            paths = RunPaths(run, folders)
            text = failure(paths) if wanted == "failed" else (log_lines(paths.log) or [""])[-1]
            found.append(f"{run.arm} seed {run.seed}, {wanted}: {text}")
    return ["\n".join(found)] if found else []


def _time_left(plan: Sequence[Run], folders: Folders, states: States) -> str:
    """Estimate the time left from the finished runs of the same arm, else of all arms."""
    spent: dict[str, list[float]] = {}
    for run in plan:
        if states[run.arm, run.seed] == "done":
            cost = read_record(RunPaths(run, folders).record)["cost"]
            spent.setdefault(run.arm, []).append(cost["train_seconds"] + cost["attack_seconds"])
    left = [run.arm for run in plan if states[run.arm, run.seed] in ("running", "pending", "damaged")]
    if not left:
        return _way_on(states)
    if not spent:
        return f"{len(left)} runs are left; no run is finished from which their time could be estimated."
    everything = statistics.median(value for values in spent.values() for value in values)
    total = sum(statistics.median(spent[arm]) if arm in spent else everything for arm in left)
    workers = max(list(states.values()).count("running"), 1)
    at_a_time = f"{workers} at a time" if workers > 1 else "one at a time"
    return f"About {duration(total / workers)} for the {len(left)} runs left, {at_a_time}, by the records' own times."


def _way_on(states: States) -> str:
    """Return the next step where no run is left to be started: none, or those for runs that are not done."""
    counts = Counter(states.values())
    ways = []
    if counts["other settings"]:
        ways.append(
            "`run` refuses the records of other settings and names the settings: choose another folder with --results "
            "DIR, or repeat the runs with --force."
        )
    if counts["failed"] or counts["diverged"]:
        ways.append("Repeat runs that failed or diverged with --retry-failed.")
    return " ".join(ways) or "Nothing is left to do."
