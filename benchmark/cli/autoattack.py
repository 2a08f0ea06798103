"""The command `autoattack`: AutoAttack standard on trained runs, from their checkpoints."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmark.data.load import data_roots, load_data
from benchmark.evaluation.catalogue import STANDARD_QUERIES, STANDARD_STEPS
from benchmark.evaluation.crosscheck import load_attacked_set, run_autoattack
from benchmark.execution.files import Folders, RunPaths
from benchmark.records.schema import Record
from benchmark.records.store import AUTOATTACK, add_rows, read_record, read_rows, refuse_other_depth
from benchmark.runtime.environment import choose_device
from benchmark.runtime.errors import UsageError
from benchmark.runtime.files import check_writable
from benchmark.settings.load import family_member, load_preset
from benchmark.settings.plan import Run, make_plan
from benchmark.settings.preset import Preset

_SAME = ("arm", "seed", "eps", "images", "weights")  # of an outcome that is not computed again


def main(options: argparse.Namespace) -> None:
    """Attack the selected runs, and add a row for each run and eps to autoattack.json.

    Existing rows with the same weights and images are not repeated.

    Raises:
        UsageError: see `finished_runs` and `load_attacked_set`; a run was not attacked at an eps.
    """
    device = choose_device(options.device)
    preset = load_preset(family_member(options.preset, device.type), options.set)
    runs = finished_runs(preset, options, options.seeds)
    check_writable(options.results, options.runs)
    folder, lock = options.results / preset.name, options.runs / preset.name / f"{AUTOATTACK.name}.lock"
    known = {tuple(row[key] for key in _SAME) for row in read_rows(folder, AUTOATTACK)}
    data = load_data(preset.data, data_roots(options.data_root)).to(device)
    eps, images = options.eps or [preset.analysis.eps], min(options.images, preset.evaluation.images)
    for run, record, checkpoint in runs:
        weights = record.get("final_weights_hash", "")
        left = [value for value in eps if (run.arm, run.seed, value, images, weights) not in known]
        if not left:
            continue
        attacked = load_attacked_set(run, record, checkpoint, data, device, images)
        for row in run_autoattack(run, record, attacked, data, left):
            add_rows(folder, AUTOATTACK, [row], lock, steps=STANDARD_STEPS, queries=STANDARD_QUERIES)
            print(
                f"{row['arm']} seed {row['seed']}, eps {row['eps']:g}/255: of {row['images']} images {row['clean']} "
                f"are correct, {row['suite']} under the study's attacks, {row['robust']} under AutoAttack",
                flush=True,
            )
    print(f"AutoAttack standard on {len(runs)} runs: {folder / AUTOATTACK.name}.")


def finished_runs(
    preset: Preset, options: argparse.Namespace, seeds: Sequence[int] | None
) -> list[tuple[Run, Record, Path]]:
    """Return the runs of the arms in the options at some seeds (None: all), each with its record and checkpoint's path.

    Raises:
        UsageError: a run has no finished record with these settings; see `refuse_other_depth`, too.
    """
    refuse_other_depth(options.results)
    found = []
    for run in make_plan(preset, options.arms, seeds):
        paths = RunPaths(run, Folders(options.results, options.runs))
        record = read_record(paths.record) if paths.record.is_file() else None
        if record is None or record["settings_hash"] != run.identity or record["status"] != "done":
            raise UsageError(
                f"there is no finished record of these settings in {paths.record}. Run it first: python -m benchmark "
                f"run {options.preset} --arms {run.arm} --seeds {run.seed}, with the same --results, --runs and --set."
            )
        found.append((run, record, paths.checkpoint))
    return found
