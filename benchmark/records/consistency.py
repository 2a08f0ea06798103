"""Whether records belong to one study: same data, settings, analysis, torch and device; paired seeds."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from benchmark.records.schema import Record
from benchmark.runtime.errors import UsageError

ATTACKED = "attacked images"
# What was named when records did not say it yet. The levels were not: they are only tabulated, and tested by nobody.
BEFORE: dict[str, Any] = {
    "exploratory": False,
    "relatives": [],
    "positive_control": None,
    "endpoints": ["clean", "area", "eps"],
    "level": 70.0,
    "levels": [60.0, 70.0, 80.0],
}


def name(record: Record) -> str:
    """Name a record for a message: arm/seed-n."""
    return f"{record['arm']}/seed-{record['seed']}"


def refuse_mixed(preset: str, records: list[Record]) -> None:
    """Raise UsageError with the list of what differs between records that must agree."""
    problems = list(disagreements([(name(record), shared(record)) for record in records]))
    for arm in sorted({record["arm"] for record in records}):
        of_arm = [
            (name(record), flat("settings.arm", record["settings"]["arm"]))
            for record in records
            if record["arm"] == arm
        ]
        problems += disagreements(of_arm)
    for seed in sorted({record["seed"] for record in records}):
        of_seed = [(name(record), pairing(record)) for record in records if record["seed"] == seed]
        problems += disagreements(of_seed)
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
        "torch": ".".join(environment["torch"].split(".")[:2]),
        "compiled": environment.get("compiled", "off"),
    }
    for part, value in settings.items():  # the arm's part differs between arms, in its own epochs too
        if part != "arm":
            values |= flat(f"settings.{part}", value)
    values |= flat("analysis", {key: value for key, value in named(record).items() if key != "title"})
    if record["robustness"] is not None:
        values[ATTACKED] = record["robustness"]["images"]
    return values


def named(record: Record) -> dict[str, Any]:
    """Return what was named before a run, as JSON values; what older records do not say is as it was in their time."""
    return {**BEFORE, **record["analysis"]}


def device_kind(device: str) -> str:
    """Return the kind of a device text: "cuda" for "cuda:0 NVIDIA H100"."""
    match = re.match(r"[A-Za-z]+", device)
    return match.group().lower() if match else device


def flat(prefix: str, value: Any) -> dict[str, Any]:
    """Flatten nested dictionaries to dotted keys."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, part in value.items() for k, v in flat(f"{prefix}.{key}", part).items()}


def pairing(record: Record) -> dict[str, Any]:
    """Return what the runs of one seed must share to be paired."""
    seed = record["seed"]
    return {
        f"{key} (seed {seed})": value
        for key, value in (("weights_hash", record["weights_hash"]), ("order_hash", record["order_hash"]))
    }


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
            yield f"{key}: " + "; ".join(f"{short(value)} in {some(where)}" for value, where in holders.items())


def short(text: str) -> str:
    """Shorten a value for a message."""
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"


def some(names: list[str]) -> str:
    """Name up to three records and count the rest."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
