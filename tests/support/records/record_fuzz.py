"""One wrong value in a sealed record, for every value there is: each must be refused by name, or be a valid record too.

`PYTHONPATH=.:tests/support python -m records.record_fuzz` tries all;
tests/benchmark/records/test_record_fuzz.py tries fewer.
"""

import copy
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from records import planted

from benchmark.records.store import format_record, record_path
from benchmark.report import build
from benchmark.runtime.errors import BenchmarkError

Place = tuple[str | int, ...]
MISSING = object()
LONGEST = 2000  # characters of a message
# Values that another run, or other checks, may have: only the seal can tell that they are not this one's.
VALID = ("robustness.noise = None", "data.skipped = {}", "final_weights_hash = MISSING")
FIGURES = re.compile(r"checks\.\d+\.figures(\..+ = MISSING| = \{)")
SIGNED = ("train_loss", "median_margin", "nll")


class Case(NamedTuple):
    """A value that replaces the one at a place of a record; MISSING takes its key away."""

    place: Place
    value: Any

    def __str__(self) -> str:
        value = "MISSING" if self.value is MISSING else repr(self.value)
        return f"{'.'.join(map(str, self.place))} = {value[:40]}"


def places(value: Any, here: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield every place below a value; of a list, the first and the last entry."""
    if here:
        yield here, value
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*here, key))
    elif isinstance(value, list) and value:
        for number in sorted({0, len(value) - 1}):
            yield from places(value[number], (*here, number))


def wrong(place: Place, value: Any) -> Iterator[Any]:
    """Yield values that cannot stand in the place of a value."""
    if isinstance(place[-1], str):
        yield MISSING
    if isinstance(value, bool):
        yield from (1, "true", None)
    elif isinstance(value, int) and "figures" not in place:
        yield from (value + 0.5, str(value), None, True, -1, 2**90, float("nan"))
    elif isinstance(value, int | float):
        yield from (str(value), None, True, [value], float("nan"), float("inf"))
        yield from () if place[-1] in SIGNED or "figures" in place else (-1.0,)
    elif isinstance(value, str):
        yield from (5, None, True, [value], f"{value}\n", f"\x1b[31m{value}")
    elif isinstance(value, list):
        yield from (None, {}, "x", [None], [[]])
    elif isinstance(value, dict):
        yield from (None, [], "x", {}, value | {"unknown": 1})


def cases(record: Any) -> Iterator[Case]:
    """Yield every wrong value at every place of a record, except where a table may hold anything."""
    for place, value in places(record):
        open_table = place[0] in ("settings", "analysis", "environment") or place[:2] == ("data", "skipped")
        for changed in wrong(place, value):
            if open_table and (changed is MISSING or (isinstance(changed, dict) and "unknown" in changed)):
                continue
            yield Case(place, changed)


def changed(record: Any, case: Case) -> Any:
    """Return a record with one wrong value."""
    result = copy.deepcopy(record)
    *above, last = case.place
    table: Any = result
    for key in above:
        table = table[key]
    if case.value is MISSING:
        del table[last]
    else:
        table[last] = case.value
    return result


def written(record: Any) -> str:
    """Write a record with a seal that is right, also where a number in it is none of JSON's."""
    try:
        return format_record(record)
    except ValueError:
        return json.dumps(record)


def outcome(results: Path, case: Case, record: Any) -> str:
    """Return "refused", "valid" where another run may have this value, or what went wrong."""
    path = record_path(results, "planted", "sba", 1)
    path.write_text(written(changed(record, case)), encoding="utf-8")
    try:
        with patch.object(build, "drawings", lambda _study: {}):
            build.render(results, results / "RESULTS.md")
    except BenchmarkError as error:
        text = str(error)
        readable = len(text) < LONGEST and text.replace("\n", "").isprintable()
        return "refused" if readable and "sba/seed-1" in text else f"unreadable: {text[:200]!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "valid" if str(case) in VALID or FIGURES.match(str(case)) else "accepted"


def whole_record() -> Any:
    """Return a planted record in which every optional part is there."""
    record: Any = planted.record("sba", 1, 870)
    record["checks"] = planted.costly_checks(1, "odd")
    record["data"]["skipped"] = {"a/1.png": "truncated"}
    record["environment"] |= {"deterministic": "off"}
    record["analysis"] |= {"relatives": ["cutmix"], "positive_control": "adversarial", "exploratory": False}
    record["final_weights_hash"] = "0123456789abcdef"
    return planted.completed(record)


def fuzz(folder: Path, every: int = 1) -> tuple[Counter[str], list[str]]:
    """Try every n-th case; return how often what happened, and the cases that were neither refused nor valid."""
    record = whole_record()
    others: list[Any] = [planted.record(arm, seed, 860) for arm in ("sba", "standard", "mixup") for seed in range(2)]
    for other in others:
        other |= {key: record[key] for key in ("environment", "data", "analysis", "final_weights_hash")}
    planted.write(folder, others)
    counts, bad = Counter[str](), list[str]()
    for case in list(cases(record))[::every]:
        found = outcome(folder, case, record)
        counts[found.partition(":")[0]] += 1
        if found not in ("refused", "valid"):
            bad.append(f"{case}: {found}")
    return counts, bad


if __name__ == "__main__":
    tried, wrongly = fuzz(Path(tempfile.mkdtemp()))
    print("\n".join(wrongly))
    print(f"{sum(tried.values())} wrong values: {dict(tried)}")
    sys.exit(bool(wrongly))
