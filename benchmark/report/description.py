"""The description of a study, from its records: data, network, training, attacks, arms, devices, choices, search."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmark.analysis.published import data_set
from benchmark.analysis.study import Study
from benchmark.analysis.trials import Trials, accuracies, best
from benchmark.evaluation.catalogue import scale_warning
from benchmark.records.consistency import device_kind
from benchmark.report.attack_tables import checked
from benchmark.report.tables import Table, augmented, flops
from benchmark.report.words import code, count, escape, seed_list, series, si, value_text

_CHOSEN_WITH_PLAIN_TRAINING = ("learning_rate", "weight_decay", "padding")


def what(study: Study, studies: Sequence[Study] = ()) -> list[str]:
    """Return the description of a study as lines; `studies` are all of the report."""
    return [
        *common(study),
        *named(study),
        *chosen(study, studies),
        *first_images(study),
        *checks(study),
        ran(study),
    ]


def common(study: Study) -> list[str]:
    """Return lines on data, network, training and attacks, which all arms share."""
    record = study.any_record
    data, settings = record["data"], record["settings"]
    known = data_set(data["name"])
    attacks = ", ".join(f"{a['name']} ({count(a['steps'], 'step')})" for a in settings["evaluation"]["attacks"])
    eps = ", ".join(f"{value:g}" for value in study.eps[1:])
    return [
        f"Data: {escape(known.title)} ({code(data['name'])}), {data['train_images']:,} training and "
        f"{data['test_images']:,} {study.split} images of {data['classes']} classes, at {settings['data']['pixels']} "
        f"pixels.{f' {known.note}' if known.note else ''}",
        f"Network: {code(record['model']['name'])}, {record['model']['parameters']:,} parameters, "
        f"{record['model']['flops'] / 1e6:,.1f} MFLOPs forward for one image.",
        training(settings),
        f"Attacks: {attacks}, on {settings['evaluation']['images']:,} {study.split} images at Linf eps {eps} (1/255).",
    ]


def training(settings: Mapping[str, Any]) -> str:
    """Return the line on training; `padding` is left out where streamed images are cropped and resized."""
    recipe, streamed = settings["recipe"], settings["data"].get("streamed")
    shown = {key: value for key, value in recipe.items() if not (streamed and key == "padding")}
    crops = "; standard augmentation: random resized crops, 8% to 100% of the area" if streamed else ""
    compute = "; each arm until it has spent the FLOPs of plain training" if settings.get("compute") else ""
    return f"Training: {', '.join(_settings_list(shown))}{crops}{compute}."


def named(study: Study) -> list[str]:
    """Return the line on comparisons, seeds, margin and endpoints that were named before the runs."""
    seeds = seed_list(study.seeds)
    if study.exploratory:
        return [
            f"Named before the runs: {count(len(study.against), 'row')} against {code(study.treatment)}, in the order "
            f"of the tables; eps = {study.analysis['eps']:g}/255; {seeds}."
        ]
    families = [", ".join(map(code, family)) for family in study.families]
    compared = " and, as a family of its own, its relatives ".join(families)
    names = series(study.title(endpoint) for endpoint in study.endpoints)
    return [
        f"Named before the runs: {code(study.treatment)} against {compared}; {seeds}; margin of equivalence "
        f"{study.analysis['margin']:g} points; tested, the first as the primary endpoint: {names}."
    ]


def _chooses(study: Study) -> bool:
    """Return whether a study chooses settings: it is exploratory and evaluates on held-out training images."""
    return study.exploratory and study.split == "validation"


def frozen_from(study: Study, studies: Sequence[Study]) -> list[Study]:
    """Return the studies that chose the settings of a study's treatment."""
    spec = study.arm_settings(study.treatment)
    found = []
    for other in studies:
        frozen = other.arm_settings(other.treatment)
        if _chooses(other) and not _chooses(study) and spec and frozen and _includes(spec, frozen):
            found.append(other)
    return found


def chosen(study: Study, studies: Sequence[Study]) -> list[str]:
    """Return lines on the exploratory studies that chose the settings, and on their images."""
    name, treatment = study.any_record["data"]["name"], code(study.treatment)
    lines = []
    for other in frozen_from(study, studies):
        source = data_set(other.any_record["data"]["name"])
        by = f"by {code(other.preset)} on held-out training images of"
        if other.any_record["data"]["name"] == name:
            lines.append(f"Chosen {by} the same data set: the settings of {treatment}, which may favour it.")
            continue
        whole = same_recipe(study, other)
        text = f"The settings of {treatment} were chosen {by} {escape(source.title)}, and frozen."
        if whole:
            text = f"Nothing was chosen on these images. {text[:-1]}; learning rate, weight decay and crops likewise."
            text = text if study.exploratory else f"Confirmatory: {text[0].lower()}{text[1:]}"
        if source.version_of == name:
            text += " Those are lossy copies of these photographs: the trainings are new, the pictures are not."
        lines.append(text)
    return lines


def same_recipe(study: Study, other: Study) -> bool:
    """Return whether two studies share the settings that are chosen with plain training, beside the epochs."""
    recipe, others = (s.any_record["settings"]["recipe"] for s in (study, other))
    return all(recipe.get(key) == others.get(key) for key in _CHOSEN_WITH_PLAIN_TRAINING)


def _includes(spec: Mapping[str, Any], frozen: Mapping[str, Any]) -> bool:
    same = all(spec["settings"].get(key) == value for key, value in frozen["settings"].items())
    return bool(spec["method"] == frozen["method"] and same)


def first_images(study: Study) -> list[str]:
    """Return a line on the normalisation of studies before numerics 2."""
    if study.any_record["settings"].get("numerics", 1) >= 2:
        return []
    return [
        "Normalisation and whitening come from the first 5,000 training images in the data set's order, which in an "
        "image folder is by class; they are the same for every arm and seed."
    ]


def checks(study: Study) -> list[str]:
    """Return a line on the runs with costly sanity checks, if the preset names their seeds."""
    seeds = (study.any_record["settings"]["evaluation"].get("checks") or {}).get("seeds")
    if seeds is None:
        return []
    runs = [run for arm in study.arms for run in study.done(arm)]
    return [
        f"Costly sanity checks: of {seed_list(seeds)} alone, so far in {sum(map(checked, runs))} of "
        f"{count(len(runs), 'run')}; a flag in one of them counts for its arm."
    ]


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


def weak_suite(study: Study) -> str | None:
    """Return a warning where no attack of a norm is scale-free."""
    suite = study.any_record["settings"]["evaluation"]
    linf, l2 = ([attack["name"] for attack in suite.get(key, ())] for key in ("attacks", "l2_attacks"))
    return scale_warning({"Linf": linf, "L2": l2})


def arms_table(study: Study) -> Table:
    """Return each arm's role, method, augmentation and settings."""
    rows = [[code(arm), _role(study, arm), _arm_text(study, arm)] for arm in study.arms]
    return Table(["arm", "role", "what it is"], rows, words=["role", "what it is"])


def _role(study: Study, arm: str) -> str:
    if arm == study.treatment:
        return "treatment"
    if arm in study.against:
        return "claims" if arm in study.families[0] else "relative"
    return "positive control" if arm == study.positive_control else "shown, not tested"


def _arm_text(study: Study, arm: str) -> str:
    """Return an arm's method, augmentation and settings, or its differences from a treatment of the same method."""
    spec, treatment = study.arm_settings(arm), study.arm_settings(study.treatment)
    if spec is None:
        return "no run yet"
    if arm != study.treatment and treatment is not None and spec["method"] == treatment["method"]:
        differing = ", ".join(changes(spec, treatment))
        return f"as {code(study.treatment)}{', but ' if differing else ''}{differing}"
    parts = [f"method {escape(spec['method'])}", f"augmentation {spec['augmentation']}", *_own_epochs(spec)]
    return ", ".join(parts + _settings_list(spec["settings"]))


def changes(spec: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Return the differences of an arm from another: method, augmentation, epochs and settings ("noise = 1").

    All settings are listed if the methods differ, since equal names need not mean the same.
    """
    same = spec["method"] == base["method"]
    old, new = base["settings"] if same else {}, spec["settings"]
    gone = [f"without {key}" for key in old if key not in new]
    return [
        *([] if same else [f"method {escape(spec['method'])}"]),
        *([] if spec["augmentation"] == base["augmentation"] else [f"augmentation {spec['augmentation']}"]),
        *([] if spec.get("epochs") == base.get("epochs") else _own_epochs(spec) or ["the recipe's epochs"]),
        *_settings_list({key: value for key, value in new.items() if key not in old or old[key] != value}),
        *gone,
    ]


def _own_epochs(spec: Mapping[str, Any]) -> list[str]:
    return [count(spec["epochs"], "epoch")] if spec.get("epochs") else []


def _settings_list(settings: Mapping[str, Any]) -> list[str]:
    """Write settings as "key = value"."""
    return [escape(f"{key} = {value_text(value)}") for key, value in settings.items()]


def rows_table(study: Study) -> Table:
    """Return the changed settings, training FLOPs and share of augmented steps of each row of an ablation."""
    default, base = study.arm_settings(study.treatment), flops(study, study.treatment)
    rows = []
    for arm in study.arms:
        spec, runs, spent = study.arm_settings(arm), study.done(arm), flops(study, arm)
        differs = "no run yet" if spec is None else "; ".join(changes(spec, default)) if default else "unknown"
        relative = f" ({spent / base:.2f}x)" if base else ""
        share = f"{100 * fmean(map(augmented, runs)):.0f}%" if runs else "-"
        rows.append([code(arm), differs or "-", si(spent) + relative if spent else "-", share])
    words = f"differs from {code(study.treatment)} in"
    return Table(["row", words, "FLOPs", "augmented"], rows, words=[words])


# The search of a tuned study.


def budget_text(trials: Trials) -> str:
    """Return the budget of every arm, the images that scored its trials, and the shared search space."""
    budget = trials["budget"]
    shared = "; ".join(f"{name.replace('_', ' ')} {_space_text(space)}" for name, space in trials["recipe"].items())
    return (
        f"Every arm had the same budget: {budget['trials']} trials of {budget['epochs']} epochs on "
        f"{budget['train_images']:,} images, the points of one scrambled Sobol sequence, scored by clean accuracy on "
        f"{budget['validation_images']:,} validation images of the training split at {seed_list(budget['seeds'])}. "
        f"All arms searched {shared}, with the same values in the same trials; beside them each searched its method's "
        "own settings. The best trial of each arm runs here, at seeds that no trial had."
    )


def search_table(trials: Trials) -> Table:
    """Return each arm's own search space, its trials' accuracy in % on the validation images, and its best settings."""
    scores, rows = accuracies(trials["rows"]), []
    for trial in best(trials["rows"]):
        of_arm = [score for (arm, _), score in scores.items() if arm == trial.arm]
        finished = sorted(100 * score for score in of_arm if score is not None)
        own = "; ".join(f"{name} {_space_text(space)}" for name, space in trials["arms"][trial.arm].items())
        values = ", ".join(f"{key} = {value_text(value, 6)}" for key, value in (trial.recipe | trial.settings).items())
        number = f"{len(of_arm)}" + (f", {len(of_arm) - len(finished)} diverged" if len(finished) < len(of_arm) else "")
        shown = [f"{score:.2f}" for score in (finished[0], finished[(len(finished) - 1) // 2], finished[-1])]
        rows.append([code(trial.arm), own or "-", number, *shown, values])
    words = ["own search space", "trials", "the best trial sets"]
    return Table(["arm", *words[:2], "worst", "median", "best", words[2]], rows, words=words)


def _space_text(space: Mapping[str, Any]) -> str:
    """Format a dimension: "0.1 to 2 (log)" or "one of a, b"."""
    if points := space.get("feasible_points"):
        return f"one of {', '.join(value_text(point, 6) for point in points)}"
    return f"{space['min']:g} to {space['max']:g}" + (" (log)" if space.get("scaling") == "log" else "")
