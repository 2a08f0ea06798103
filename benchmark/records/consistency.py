"""Whether a record agrees with itself, and records with one another: data, settings, analysis, torch; paired seeds."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from benchmark.records.outcomes import unpack_bits
from benchmark.records.schema import Check, EpochAccuracy, Record, Robustness
from benchmark.runtime.errors import UsageError
from benchmark.settings.plan import identity

ATTACKED = "attacked images"
# Values of fields that older records lack. The levels were not named then: they are only tabulated, never tested.
BEFORE: dict[str, Any] = {
    "exploratory": False,
    "relatives": [],
    "positive_control": None,
    "endpoints": ["clean", "area", "eps"],
    "level": 70.0,
    "levels": [60.0, 70.0, 80.0],
}


# Another machine may have evaluated a run, and rounds a few logits differently.
ROUNDED_IMAGES, ROUNDED_SHARE = 2, 0.002


def contradictions(record: Record) -> Iterator[str]:
    """Yield one line for each value of a record that another one contradicts.

    Raises:
        ValueError: outcome bits whose number is not the record's number of images.
    """
    trained = bool(record["settings_hash"])
    if trained and record["settings_hash"] != identity(record["settings"], record["seed"]):
        yield "settings and seed are not those of settings_hash"
    if [epoch["epoch"] for epoch in record["epochs"]] != list(range(1, len(record["epochs"]) + 1)):
        yield "epochs are not numbered from 1"
    summaries = [EpochAccuracy(epoch=epoch["epoch"], accuracy=epoch["accuracy"]) for epoch in record["epochs"]]
    if record["best_epoch"] != max(summaries, key=lambda summary: summary["accuracy"], default=None):
        yield "best_epoch is not the best of epochs"
    done = record["status"] == "done"
    if record["last_epoch"] != (summaries[-1] if summaries and done else None):
        yield "last_epoch is not the last of epochs"
    if trained and done and not summaries:
        yield "no epoch is recorded"
    if done != (record["reason"] is None):
        yield f"a run that is {record['status']} has {'a' if done else 'no'} reason"
    if (record["clean"] is not None) != done or (record["robustness"] is not None and not done):
        yield f"a run that is {record['status']} has {'no' if done else 'an'} evaluation"
    if record["checks"] and flags_of(record["checks"]) != record["flags"]:
        yield "flags are not those of checks"
    yield from _contradicting_outcomes(record)


def flags_of(checks: Iterable[Check]) -> list[str]:
    """Return the flags that checks raised, as a record lists them."""
    return [f"check {check['number']}: {check['flag']}" for check in checks if check["flag"]]


def _contradicting_outcomes(record: Record) -> Iterator[str]:
    """Yield the contradictions between counts of images and their outcomes."""
    clean, calibration, robustness = record["clean"], record["calibration"], record["robustness"]
    images = record["data"]["test_images"]
    if clean is not None:
        correct = int(unpack_bits(clean["correct"], clean["n"]).sum())
        if clean["n"] != images:
            yield f"clean has {clean['n']} images, data.test_images is {images}"
        last = record["last_epoch"]
        allowed = max(ROUNDED_IMAGES, ROUNDED_SHARE * images)
        if last is not None and abs(correct - last["accuracy"] * clean["n"]) > allowed:
            yield f"clean has {correct} correct images, last_epoch {last['accuracy']:.2%} of {clean['n']}"
    if calibration is not None and calibration["n"] != images:
        yield f"calibration has {calibration['n']} images, data.test_images is {images}"
    if robustness is not None:
        yield from _contradicting_attacks(robustness, images)
    spent = sum(attack["gradients"] for attack in robustness["attacks"]) if robustness else 0
    if record["cost"]["attack_gradients"] != spent:
        yield f"cost.attack_gradients is not the sum over attacks, {spent}"


def _contradicting_attacks(robustness: Robustness, images: int) -> Iterator[str]:
    """Yield the contradictions between the attacks on a set of images."""
    n = robustness["n"]
    if int(unpack_bits(robustness["images"], images).sum()) != n:
        yield f"robustness.images does not name {n} images"
    survivors: dict[tuple[str, float], Any] = {}
    for attack in robustness["attacks"]:
        radius, correct = (attack["norm"], attack["eps"]), unpack_bits(attack["correct"], n)
        where = f"{attack['attack']} at {attack['norm']} eps {attack['eps']:g}"
        if (correct & ~survivors.get(radius, unpack_bits(robustness["clean"], n))).any():
            yield f"{where}: an image is correct that an attack before it had fooled"
        if attack["fooled"] > n:
            yield f"{where}: more images are fooled than were attacked"
        survivors[radius] = correct
    counts = [*robustness["corruptions"], *([robustness["noise"]] if robustness["noise"] else [])]
    if any(count["correct"] > n for count in counts):
        yield "more images are correct under noise or a corruption than were tried"


def name(record: Record) -> str:
    """Name a record for a message: arm/seed-n."""
    return f"{record['arm']}/seed-{record['seed']}"


def refuse_mixed(preset: str, records: list[Record]) -> None:
    """Raise UsageError with the list of differences between records that must agree."""
    problems = list(disagreements([(name(record), shared(record)) for record in records]))
    for part, together in ((_arm, "arm"), (_pairing, "seed")):
        groups: dict[Any, list[tuple[str, dict[str, Any]]]] = {}
        for record in records:
            groups.setdefault(dict(record)[together], []).append((name(record), part(record)))
        for value in sorted(groups):
            problems += disagreements(groups[value])
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise UsageError(
            f"the records of {preset} do not belong to one study; these differ:\n{listed}\n"
            "Move the records that do not belong to another folder, or delete them to repeat their runs."
        )


def shared(record: Record) -> dict[str, Any]:
    """Return everything that all records of a study must share, as dotted key -> value."""
    settings, environment = record["settings"], record["environment"]
    values = {
        "preset": record["preset"],
        "data.fingerprint": record["data"]["fingerprint"],
        "data.synthetic": record["data"]["synthetic"],
        "model.parameters": record["model"]["parameters"],  # a network may change under its name
        "torch": ".".join(environment["torch"].split(".")[:2]),
        "compiled": environment.get("compiled", "off"),
    }
    for part, value in settings.items():  # the arm's part differs between arms, in its own epochs too
        if part != "arm":
            values |= _flat(f"settings.{part}", value)
    values |= _flat("analysis", binding(named(record)))
    if record["robustness"] is not None:
        values[ATTACKED] = record["robustness"]["images"]
    return values


def named(record: Record) -> dict[str, Any]:
    """Return the analysis that was named before a run, as JSON values; fields that older records lack are filled in."""
    return {**BEFORE, **record["analysis"]}


def binding(analysis: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an analysis that all runs of a study must share.

    That excludes its title and, of an exploratory study, which tests none, its endpoints.
    """
    free = {"title", "endpoints"} if analysis["exploratory"] else {"title"}
    return {key: value for key, value in analysis.items() if key not in free}


def device_kind(device: str) -> str:
    """Return the kind of a device text: "cuda" for "cuda:0 NVIDIA H100"."""
    match = re.match(r"[A-Za-z]+", device)
    return match.group().lower() if match else device


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, part in value.items() for k, v in _flat(f"{prefix}.{key}", part).items()}


def _arm(record: Record) -> dict[str, Any]:
    """Return the values that the runs of one arm must share."""
    return _flat("settings.arm", record["settings"]["arm"])


def _pairing(record: Record) -> dict[str, Any]:
    """Return the values that the runs of one seed must share to be paired."""
    return {f"{key} (seed {record['seed']})": record[key] for key in ("weights_hash", "order_hash")}


def disagreements(records: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    """Yield one line for each key whose values differ: every value with the records that hold it.

    A key that only some records have differs too, except for the attacked images, which a diverged run never
    reached.
    """
    named = list(records)
    for key in dict.fromkeys(key for _, values in named for key in values):
        holders: dict[str, list[str]] = {}
        for record, values in named:
            if key in values or key != ATTACKED:
                holders.setdefault(str(values.get(key, "absent")), []).append(record)
        if len(holders) > 1:
            yield f"{key}: " + "; ".join(f"{_short(value)} in {_some(where)}" for value, where in holders.items())


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def differences(old: object, new: object, key: str = "") -> list[str]:
    """Return "key: old -> new" for every value in which two nested dictionaries differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(k for k in new if k not in old)]
        return [line for k in keys for line in differences(old.get(k), new.get(k), f"{key}.{k}".lstrip("."))]
    return [] if old == new else [f"{key}: {old!r} -> {new!r}"]
