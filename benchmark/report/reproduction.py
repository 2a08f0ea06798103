"""What it takes to repeat studies: commands, commits and versions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.analysis.study import Study
from benchmark.analysis.trials import FILE, read_trials
from benchmark.records.schema import AutoAttackRow, CrosscheckRow
from benchmark.report.tables import Table
from benchmark.report.words import code, escape


def commands(study: Study, folder: Path, compared: Mapping[str, Sequence[CrosscheckRow]]) -> list[str]:
    """Return the arguments of `python -m` that repeat a study and what lies beside its records: trials and attacks."""
    lines = [_command(study)]
    if (trials := folder / FILE).is_file():
        searched = read_trials(trials)["preset"]
        lines = [f"benchmark run {searched} --tuning", f"benchmark tune {searched}", *lines]
    if rows := compared.get(study.preset):
        lines.append(f"benchmark crosscheck {study.preset}{_selected(rows)}")
    if attacked := study.autoattack:
        images, eps = max(row["images"] for row in attacked), sorted({row["eps"] for row in attacked})
        at = ",".join(f"{value:g}" for value in eps)
        lines.append(f"benchmark autoattack {study.preset}{_selected(attacked)} --eps {at} --images {images}")
    return lines


def _selected(rows: Sequence[CrosscheckRow] | Sequence[AutoAttackRow]) -> str:
    """Return the options that select the runs of some rows."""
    arms = ",".join(dict.fromkeys(row["arm"] for row in rows))
    return f" --arms {arms} --seeds {','.join(map(str, sorted({row['seed'] for row in rows})))}"


def _command(study: Study) -> str:
    """Return the command of a study's runs: its number of processes, preset and mode."""
    processes = study.any_record["environment"].get("processes")
    together = f"torch.distributed.run --standalone --nproc-per-node {processes} -m " if processes else ""
    preset = study.preset
    for option, chosen in (("ablation", study.exploratory), ("compute", study.any_record["settings"].get("compute"))):
        if chosen and preset.endswith(f"_{option}"):
            preset = f"{preset.removesuffix(f'_{option}')} --{option}"
    return f"{together}benchmark run {preset}"


def environment_alike(studies: Sequence[Study]) -> dict[str, str]:
    """Return the versions and devices that every run of all studies has: key -> value."""
    found = {key: {value for values in of for value in values} for key, of in _environments(studies).items()}
    return {key: next(iter(values)) for key, values in found.items() if len(values) == 1}


def environment_table(studies: Sequence[Study]) -> Table:
    """Return the data of every study, and what its runs have where not all runs have the same; a dash: not recorded."""
    data = [{f"{run['data']['name']} {run['data']['fingerprint'][:16]}" for run in s.records.values()} for s in studies]
    alike = environment_alike(studies)
    differing = {key: found for key, found in _environments(studies).items() if key not in alike}
    rows = [
        [key.replace("_", " "), *(escape(", ".join(sorted(values))) for values in found)]
        for key, found in {"data, digest": data, **differing}.items()
    ]
    presets = [code(study.preset) for study in studies]
    return Table(["", *presets], rows, words=presets)


def _environments(studies: Sequence[Study]) -> dict[str, list[set[str]]]:
    """Return key -> the values of each study's runs, without their dates."""
    runs = [[record["environment"] for record in study.records.values()] for study in studies]
    keys = dict.fromkeys(key for of in runs for environment in of for key in environment if key != "date")
    return {key: [{str(environment.get(key, "-")) for environment in of} for of in runs] for key in keys}


def commits(study: Study) -> dict[str, dict[str, list[int]]]:
    """Return commit -> arm -> the seeds that ran at it."""
    found: dict[str, dict[str, list[int]]] = {}
    for (arm, seed), record in study.records.items():
        found.setdefault(record["environment"]["commit"], {}).setdefault(arm, []).append(seed)
    return found
