"""Facts about studies from their records: arms, choices of settings, search, devices; how to repeat them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmark.analysis.exploratory import decide
from benchmark.analysis.published import data_set
from benchmark.analysis.study import Study
from benchmark.analysis.trials import FILE, Trials, accuracies, best, read_trials
from benchmark.records.consistency import device_kind
from benchmark.records.schema import AutoAttackRow, CrosscheckRow
from benchmark.report.cost_tables import augmented, flops
from benchmark.report.notation import code, count, escape, fixed, seed_list, series, settings_list, si, value_text
from benchmark.report.table import Table

_CHOSEN_WITH_PLAIN_TRAINING = ("learning_rate", "weight_decay", "padding")


def frozen_from(study: Study, studies: Sequence[Study]) -> list[Study]:
    """Return the exploratory studies on held-out training images that chose the settings of a study's treatment."""
    spec = study.arm_settings(study.treatment)
    choosing = [other for other in studies if other.exploratory and other.split == "validation"]
    frozen = [(other, other.arm_settings(other.treatment)) for other in choosing if study not in choosing]
    return [other for other, chosen in frozen if spec and chosen and _includes(spec, chosen)]


def same_recipe(study: Study, other: Study) -> bool:
    """Return whether two studies share the settings that are chosen with plain training, beside the epochs."""
    recipe, others = (s.recipe(s.treatment) for s in (study, other))
    return all(recipe.get(key) == others.get(key) for key in _CHOSEN_WITH_PLAIN_TRAINING)


def _includes(spec: Mapping[str, Any], frozen: Mapping[str, Any]) -> bool:
    same = all(spec["settings"].get(key) == value for key, value in frozen["settings"].items())
    return bool(spec["method"] == frozen["method"] and same)


def chosen_on(studies: Sequence[Study], shown: Sequence[Study]) -> tuple[set[str], set[str], set[str], bool]:
    """Return the data sets on which the settings of the studies shown were chosen, those on which nothing was chosen,
    those of the latter whose photographs the former have as lossy copies, and whether the choice replaced no setting.
    """
    frozen = {study: frozen_from(study, studies) for study in shown}
    sources = {of.any_record["data"]["name"] for found in frozen.values() for of in found}
    same = [study for study, found in frozen.items() if any(same_recipe(study, of) for of in found)]
    fresh = {study.any_record["data"]["name"] for study in same} - sources
    copied = {original for source in sources if (original := data_set(source).version_of) in fresh}
    untuned = not any(decision.row for found in frozen.values() for of in found for decision in decide(of))
    return sources, fresh, copied, untuned


def titles(names: Collection[str]) -> str:
    """Return the titles of data sets as a list in words."""
    return series(sorted(data_set(name).title for name in names))


def ran(study: Study) -> str:
    """Return where and when a study ran; of several devices, which seeds each has."""
    places: dict[str, set[int]] = {}
    for (_, seed), record in study.records.items():
        place = record["environment"]
        places.setdefault(place.get("device_name", place["device"]), set()).add(seed)
    devices = [
        escape(name) + (f" ({seed_list(sorted(seeds))})" if len(places) > 1 else "")
        for name, seeds in sorted(places.items())
    ]
    dates = sorted(record["environment"]["date"][:10] for record in study.records.values())
    return f"Ran on {series(devices)}, {dates[0]}" + (f" to {dates[-1]}." if dates[-1] != dates[0] else ".")


def not_run_yet(study: Study) -> dict[str, list[str]]:
    """Return seeds ("seeds 1 to 7") -> the treatment and compared arms of which these are missing."""
    found: dict[str, list[str]] = {}
    for arm in study.arms:
        if (arm == study.treatment or arm in study.against) and (missing := study.seeds_with(arm, "missing")):
            found.setdefault(seed_list(missing), []).append(code(arm))
    return found


def mixed_devices(study: Study) -> str | None:
    """Return a warning where the runs of one seed are from several kinds of device."""
    kinds: dict[int, set[str]] = {}
    for (_, seed), run in study.records.items():
        kinds.setdefault(seed, set()).add(device_kind(run["environment"]["device"]))
    seeds = [seed for seed in study.seeds if len(kinds.get(seed, ())) > 1]
    if not seeds:
        return None
    found = series(sorted({kind for seed in seeds for kind in kinds[seed]}))
    return (
        f"Mixed devices: the runs of {seed_list(seeds)} are from {found}. There, arms differ in more than the method."
    )


def arms_table(study: Study) -> Table:
    """Return each arm's role, method, augmentation and settings."""
    rows = [[code(arm), _role(study, arm), _arm_text(study, arm)] for arm in study.arms]
    return Table(["arm", "role", "method and settings"], rows, words=["role", "method and settings"])


def arms_in_short(studies: Sequence[Study]) -> str:
    """Return the method and settings of each arm of the claims that differ from the treatment's, as one text."""
    found: dict[str, str] = {}
    for study in studies:
        for arm in study.families[0]:
            if study.arm_settings(arm):
                found.setdefault(arm, f"{code(arm)} ({_arm_text(study, arm)})")
    return "; ".join(found.values())


def other_augmentation(studies: Sequence[Study]) -> str:
    """Return a sentence on the arms of the claims whose augmentation is not the treatment's; "" without any."""
    found: dict[str, None] = {}
    for study in studies:
        treatment = study.arm_settings(study.treatment)
        for arm in study.families[0]:
            spec = study.arm_settings(arm)
            if treatment and spec and spec["augmentation"] != treatment["augmentation"]:
                ours = f"{code(study.treatment)} has the augmentation {treatment['augmentation']}"
                found[f"{ours}, {code(arm)} {spec['augmentation']}"] = None
    return f"{'; '.join(found)}: a difference from such an arm includes what the augmentation does." if found else ""


def _role(study: Study, arm: str) -> str:
    if arm == study.treatment:
        return "treatment"
    if arm in study.against:
        families = ("claims", "relative") if len(study.families) > 1 else ("compared",)
        return next(name for name, family in zip(families, study.families, strict=True) if arm in family)
    return "positive control" if arm == study.positive_control else "shown, not tested"


def _arm_text(study: Study, arm: str) -> str:
    """Return an arm's method, augmentation and settings, or its differences from a treatment of the same method."""
    spec, treatment = study.arm_settings(arm), study.arm_settings(study.treatment)
    if spec is None:
        return "no run yet"
    if arm != study.treatment and treatment is not None and spec["method"] == treatment["method"]:
        differing = ", ".join(changes(spec, treatment))
        return f"as {code(study.treatment)}{', but ' if differing else ''}{differing}"
    parts = [f"method {escape(spec['method'])}", f"augmentation {spec['augmentation']}", *_own_recipe(spec)]
    return ", ".join(parts + settings_list(spec["settings"]))


def changes(spec: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Return the differences of an arm from another: method, augmentation, recipe and settings ("noise = 1").

    All settings are listed if the methods differ, since equal names need not mean the same.
    """
    same = spec["method"] == base["method"]
    old, new = base["settings"] if same else {}, spec["settings"]
    gone = [f"without {key}" for key in old if key not in new]
    return [
        *([] if same else [f"method {escape(spec['method'])}"]),
        *([] if spec["augmentation"] == base["augmentation"] else [f"augmentation {spec['augmentation']}"]),
        *([] if _own_recipe(spec) == _own_recipe(base) else _own_recipe(spec) or ["the study's recipe"]),
        *settings_list({key: value for key, value in new.items() if key not in old or old[key] != value}),
        *gone,
    ]


def _own_recipe(spec: Mapping[str, Any]) -> list[str]:
    epochs = [count(spec["epochs"], "epoch")] if spec.get("epochs") else []
    return epochs + settings_list(spec.get("recipe") or {})


def rows_table(study: Study) -> Table:
    """Return the changed settings, training FLOPs and share of augmented steps of each row of an ablation."""
    default, base = study.arm_settings(study.treatment), flops(study, study.treatment)
    rows = []
    for arm in study.arms:
        spec, runs, spent = study.arm_settings(arm), study.done(arm), flops(study, arm)
        differs = "no run yet" if spec is None else "; ".join(changes(spec, default)) if default else "unknown"
        relative = f" ({fixed(spent / base)}x)" if base else ""
        share = f"{fixed(100 * fmean(map(augmented, runs)), 0)}%" if runs else "-"
        rows.append([code(arm), differs or "-", si(spent) + relative if spent else "-", share])
    words = f"differs from {code(study.treatment)} in"
    return Table(["row", words, "FLOPs", "augmented"], rows, words=[words])


def search_table(trials: Trials) -> Table:
    """Return each arm's own search space, its trials' accuracy in % on the validation images, and its best settings."""
    scores, rows = accuracies(trials["rows"]), []
    for trial in best(trials["rows"]):
        of_arm = [score for (arm, _), score in scores.items() if arm == trial.arm]
        finished = sorted(100 * score for score in of_arm if score is not None)
        own = "; ".join(spaces(trials["arms"][trial.arm]))
        values = ", ".join(f"{key} = {value_text(value, 6)}" for key, value in (trial.recipe | trial.settings).items())
        number = f"{len(of_arm)}" + (f", {len(of_arm) - len(finished)} diverged" if len(finished) < len(of_arm) else "")
        shown = [fixed(score) for score in (finished[0], finished[(len(finished) - 1) // 2], finished[-1])]
        rows.append([code(trial.arm), own or "-", number, *shown, values])
    words = ["own search space", "trials", "the best trial sets"]
    return Table(["arm", *words[:2], "worst", "median", "best", words[2]], rows, words=words)


def spaces(searched: Mapping[str, Any]) -> list[str]:
    """Return the dimensions of a search space: "p 0.1 to 2 (log)" or "p one of a, b"."""
    found = []
    for name, space in searched.items():
        if points := space.get("feasible_points"):
            values = f"one of {', '.join(value_text(point, 6) for point in points)}"
        else:
            values = f"{space['min']:g} to {space['max']:g}" + (" (log)" if space.get("scaling") == "log" else "")
        found.append(f"{name} {values}")
    return found


# What it takes to repeat studies.


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
