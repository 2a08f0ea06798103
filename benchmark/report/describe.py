"""What a study is, read from its records: data, network, training, attacks, arms, place and date."""

from collections.abc import Sequence
from typing import Any

from benchmark.analysis.endpoints import ENDPOINTS
from benchmark.analysis.study import Study
from benchmark.analysis.verdicts import count
from benchmark.records.consistency import device_kind
from benchmark.report.prose import DATA_NOTES

COSTLY = 6  # sanity checks with a higher number cost attacks of their own


def what(study: Study) -> str:
    """Say what a study is: data, network, training, attacks, arms, what was named beforehand, when."""
    compared = " and, as a family of its own, ".join(
        ", ".join(f"`{arm}`" for arm in family) for family in study.families
    )
    reach = (
        f"accuracy to reach {study.analysis['level']:g}%; "
        if any(ENDPOINTS[endpoint].undefined for endpoint in study.endpoints)
        else ""
    )
    lines = [
        *common(study),
        "Arms: " + "; ".join(arm_text(study, arm) for arm in study.arms) + ".",
        f"Named before the runs: `{study.treatment}` against {compared}; endpoints {', '.join(study.endpoints)}, the "
        f"first primary; eps = {study.analysis['eps']:g}/255; {reach}"
        f"margin of equivalence {study.analysis['margin']:g} points; seeds {', '.join(map(str, study.seeds))}.",
        *checked(study),
        ran(study),
        *mixed(study),
    ]
    return "\n".join(f"- {line}" for line in lines)


def checked(study: Study) -> list[str]:
    """Say in which runs the costly sanity checks ran, where a preset names their seeds."""
    checks = study.any_record["settings"]["evaluation"].get("checks") or {}
    if checks.get("seeds") is None:
        return []
    runs = [run for arm in study.arms for run in study.done(arm)]
    found = sum(any(check["number"] > COSTLY for check in run["checks"]) for run in runs)
    return [
        f"Costly sanity checks: of {seed_list(checks['seeds'])} alone, so far in {found} of {count(len(runs), 'run')}; "
        "a flag in one of them counts for its arm."
    ]


def mixed(study: Study) -> list[str]:
    """Warn of seeds whose runs are from several kinds of device."""
    seeds = [seed for seed in study.seeds if len(devices(study, seed)) > 1]
    if not seeds:
        return []
    kinds = " and ".join(sorted({kind for seed in seeds for kind in devices(study, seed)}))
    return [
        f"**Mixed devices: the runs of {seed_list(seeds)} are from {kinds}. "
        "There, arms differ in more than the method.**"
    ]


def devices(study: Study, seed: int) -> set[str]:
    """Return the kinds of device that the runs of a seed are from."""
    return {device_kind(run["environment"]["device"]) for (_, s), run in study.records.items() if s == seed}


def common(study: Study) -> list[str]:
    """Say what all arms of a study share: data, network, training, attacks."""
    record = study.any_record
    data, settings = record["data"], record["settings"]
    note = f" {DATA_NOTES[data['name']]}" if data["name"] in DATA_NOTES else ""
    attacks = ", ".join(f"{a['name']} ({count(a['steps'], 'step')})" for a in settings["evaluation"]["attacks"])
    return [
        f"Data: {data['name']}, {data['train_images']:,} training and {data['test_images']:,} {study.split} images of "
        f"{data['classes']} classes, at {settings['data']['pixels']} pixels.{note}",
        f"Network: {record['model']['name']}, {record['model']['parameters']:,} parameters, "
        f"{record['model']['flops'] / 1e6:,.1f} MFLOPs forward for one image.",
        training(settings),
        f"Attacks: {attacks}, on {settings['evaluation']['images']:,} {study.split} images at Linf eps "
        f"{', '.join(f'{eps:g}' for eps in study.eps[1:])} (in 1/255).",
    ]


def training(settings: dict[str, Any]) -> str:
    """Say how all arms of a study train; `padding` has no meaning where streamed images are cropped and resized."""
    recipe, streamed = settings["recipe"], settings["data"].get("streamed")
    shown = {key: value for key, value in recipe.items() if not (streamed and key == "padding")}
    crops = "; standard augmentation: random resized crops, 8% to 100% of the area" if streamed else ""
    return f"Training: {listed(shown)}{crops}."


def ran(study: Study) -> str:
    """Say where and when a study ran; of several devices, which seeds each has."""
    places: dict[str, set[int]] = {}
    for (_, seed), record in study.records.items():
        place = record["environment"]
        places.setdefault(place.get("device_name", place["device"]), set()).add(seed)
    named = [
        name + (f" ({seed_list(sorted(seeds))})" if len(places) > 1 else "") for name, seeds in sorted(places.items())
    ]
    dates = sorted(record["environment"]["date"][:10] for record in study.records.values())
    return f"Ran on {', '.join(named)}, {dates[0]}" + (f" to {dates[-1]}." if dates[-1] != dates[0] else ".")


def arm_text(study: Study, arm: str) -> str:
    """Say what an arm is: method, augmentation, settings; of the treatment's method, what differs from it."""
    spec, treatment = study.arm_settings(arm), study.arm_settings(study.treatment)
    if spec is None:
        return f"`{arm}` (no run yet)"
    if arm != study.treatment and treatment is not None and spec["method"] == treatment["method"]:
        differing = ", ".join(changes(spec, treatment))
        return f"`{arm}` (as `{study.treatment}`{', but ' if differing else ''}{differing})"
    parts = [spec["method"], f"augmentation {spec['augmentation']}", *own_epochs(spec)]
    return f"`{arm}` ({', '.join(parts + settings_list(spec['settings']))})"


def changes(spec: dict[str, Any], base: dict[str, Any]) -> list[str]:
    """Say how one arm differs from another: method, augmentation, epochs and settings ("noise = 1").

    Of another method all settings are listed, since the same name need not mean the same there.
    """
    same = spec["method"] == base["method"]
    old, new = base["settings"] if same else {}, spec["settings"]
    gone = [f"without {key}" for key in old if key not in new]
    return [
        *([] if same else [f"method {spec['method']}"]),
        *([] if spec["augmentation"] == base["augmentation"] else [f"augmentation {spec['augmentation']}"]),
        *([] if spec.get("epochs") == base.get("epochs") else own_epochs(spec) or ["the recipe's epochs"]),
        *settings_list({key: value for key, value in new.items() if key not in old or old[key] != value}),
        *gone,
    ]


def own_epochs(spec: dict[str, Any]) -> list[str]:
    """Say how long an arm trains that has epochs of its own."""
    return [count(spec["epochs"], "epoch")] if spec.get("epochs") else []


def settings_list(settings: dict[str, Any]) -> list[str]:
    """Write settings as "key = value"."""
    return [f"{key} = {value_text(value)}" for key, value in settings.items()]


def listed(settings: dict[str, Any]) -> str:
    """Write settings as "key = value, ..."."""
    return ", ".join(settings_list(settings))


def value_text(value: Any) -> str:
    """Write a setting's value: 0.5, 1, true, none, softmax, [stem, block1]."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def unnamed(study: Study) -> str:
    """Name the records whose seeds the preset does not name, or nothing."""
    runs = ", ".join(f"`{arm}` seed {seed}" for arm, seed in study.unnamed)
    return f" Not named by the preset and used in no number here: {runs}." if runs else ""


def seed_list(seeds: Sequence[int]) -> str:
    """Write seeds: "seed 1", "seeds 1, 2"."""
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
