"""The command `crosscheck`: the attacks of three packages on trained runs, from their checkpoints."""

import argparse

from benchmark.cli.autoattack import finished_runs
from benchmark.data.load import data_roots, load_data
from benchmark.evaluation.crosscheck import FILE, compare, load_attacked_set, write_crosscheck
from benchmark.records.schema import CrosscheckRow
from benchmark.runtime.environment import choose_device
from benchmark.runtime.errors import UsageError
from benchmark.runtime.files import check_writable
from benchmark.settings.load import family_member, load_preset


def main(options: argparse.Namespace) -> int:
    """Compare every attack on every run that the options name, and write crosscheck.json; 1 if any image differs.

    Raises:
        UsageError: a run has no finished record or no checkpoint, or the preset makes no costly checks.
    """
    device = choose_device(options.device)
    preset = load_preset(family_member(options.preset, device.type), tuple(options.set))
    if preset.evaluation.checks is None:
        raise UsageError(
            f"preset {preset.name} has no [evaluation.checks], whose `repeated` is the number of images to compare. "
            "They are part of a study's settings: name them before its runs, as the preset cifar10_jpeg_cpu does."
        )
    runs = finished_runs(preset, options, options.seeds or preset.seeds[:1])
    check_writable(options.results)
    data, rows = load_data(preset.data, data_roots(options.data_root)).to(device), list[CrosscheckRow]()
    for run, record, checkpoint in runs:
        attacked = load_attacked_set(run, record, checkpoint, data, device, preset.evaluation.checks.repeated)
        for row in compare(run, record, attacked):
            print(
                f"{row['arm']} seed {row['seed']}, {row['attack']} {row['norm']} {row['eps']:g} "
                f"against {row['package']}: {row['disagreements']} of {row['images']} images differ",
                flush=True,
            )
            rows.append(row)
    path = options.results / preset.name / FILE
    write_crosscheck(path, rows, device)
    differing = sum(row["disagreements"] for row in rows)
    print(f"{differing} disagreements in {sum(row['images'] for row in rows):,} outcomes; written to {path}.")
    return 1 if differing else 0
