"""The command `crosscheck`: the attacks of three packages on trained runs, from their checkpoints."""

import argparse

from benchmark.cli.autoattack import finished_runs
from benchmark.data.load import data_roots, load_data
from benchmark.evaluation.crosscheck import compare, load_attacked_set, load_foolbox
from benchmark.records.schema import CrosscheckRow
from benchmark.records.store import CROSSCHECK, add_rows
from benchmark.runtime.environment import choose_device, describe_environment
from benchmark.runtime.errors import UsageError
from benchmark.runtime.files import check_writable
from benchmark.settings.load import family_member, load_preset


def main(options: argparse.Namespace) -> int:
    """Compare every attack on every run that the options name; 1 if any image differs.

    The rows are added to crosscheck.json after each comparison; its environment is that of the last command.

    Raises:
        UsageError: foolbox is not installed, a run has no finished record or no checkpoint, or the preset makes no
            costly checks.
    """
    load_foolbox()
    device = choose_device(options.device)
    preset = load_preset(family_member(options.preset, device.type), options.set)
    if preset.evaluation.checks is None:
        raise UsageError(
            f"preset {preset.name} has no [evaluation.checks], whose `repeated` is the number of images to compare. "
            "They are part of a study's settings: name them before its runs, as the preset cifar10_jpeg_cpu does."
        )
    runs = finished_runs(preset, options, options.seeds or preset.seeds[:1])
    check_writable(options.results, options.runs)
    folder, lock = options.results / preset.name, options.runs / preset.name / f"{CROSSCHECK.name}.lock"
    environment = describe_environment(device)
    data, rows = load_data(preset.data, data_roots(options.data_root)).to(device), list[CrosscheckRow]()
    for run, record, checkpoint in runs:
        attacked = load_attacked_set(run, record, checkpoint, data, device, preset.evaluation.checks.repeated)
        for row in compare(run, record, attacked):
            add_rows(folder, CROSSCHECK, [row], lock, environment=environment)
            rows.append(row)
            print(
                f"{row['arm']} seed {row['seed']}, {row['attack']} {row['norm']} {row['eps']:g} "
                f"against {row['package']}: {row['disagreements']} of {row['images']} images differ",
                flush=True,
            )
    differing, images = (sum(row[key] for row in rows) for key in ("disagreements", "images"))
    print(f"{differing} disagreements in {images:,} outcomes; written to {folder / CROSSCHECK.name}.")
    return 1 if differing else 0
