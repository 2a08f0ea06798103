"""Settings as properties: a preset survives its file, and no field takes a value that it must not."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from whole_presets import Values, as_values, load, presets

from benchmark.runtime.errors import UsageError
from benchmark.settings.load import load_preset
from benchmark.settings.plan import at_equal_compute, make_plan
from benchmark.settings.preset import MAX_SEEDS, Preset
from benchmark.settings.preset_checks import dotted
from benchmark.settings.smoke import shrink

Place = tuple[str | int, ...]
# One folder for all examples: each replaces the file.
SHARED = settings(
    deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def assert_within(written: Any, kept: Any) -> None:
    """Nothing that a file says is dropped or replaced by a default."""
    if isinstance(written, dict):
        for key in written:
            assert_within(written[key], kept[key])
    elif isinstance(written, list):
        assert len(written) == len(kept)
        for one, other in zip(written, kept, strict=True):
            assert_within(one, other)
    else:
        assert written == kept


@given(values=presets())
@SHARED
def test_a_preset_is_the_same_after_a_file(tmp_path: Path, values: Values) -> None:
    first = load(values, tmp_path)
    assert_within(values, as_values(first))
    again = load(as_values(first), tmp_path)
    assert again == first
    assert as_values(again) == as_values(first)
    plan, planned = make_plan(first, None, None), make_plan(again, None, None)
    assert [run.identity for run in plan] == [run.identity for run in planned]
    assert len({run.path(Path("r"), ".json") for run in plan}) == len(first.arms) * len(first.seeds)


@given(values=presets())
@settings(SHARED, max_examples=20)
def test_a_smoke_run_and_compute_mode_of_any_preset_are_presets(tmp_path: Path, values: Values) -> None:
    values["name"] = values["name"][:20]  # theirs are longer
    values["data"] |= {"dataset": "digits", "pixels": 8}
    values["recipe"]["padding"] = 0
    preset = load(values, tmp_path)
    small = load_preset(str(tmp_path / "mine.toml"), (), shrink(preset))
    assert small.title.endswith(preset.title)
    assert small.name == f"{preset.name}-smoke"
    compute = at_equal_compute(preset)
    assert Preset.model_validate_json(compute.model_dump_json()) == compute


# What no field may take, from the settings' own schema: a new field is tested by being there.


class Wrong(NamedTuple):
    """A place in a preset and a value that it must not take."""

    place: Place
    value: Any


BASE = as_values(load_preset("cifar10_jpeg_cpu"))
OWN = {"epochs": 3, "seeds": list(BASE["seeds"]), "recipe": {"learning_rate": 0.2, "weight_decay": 0.01}}
BASE["arms"] = {name: BASE["arms"][name] for name in ("sba", "standard")} | {"erm": BASE["arms"]["erm"] | OWN}  # few
BASE["analysis"] |= {"against": ["erm"], "relatives": ["standard"], "positive_control": "erm"}
BASE["compute_arms"] = ["sba", "erm"]
BASE["recipe"]["drops"] = [0.5]
BASE["evaluation"]["checks"]["seeds"] = [0]
DIMENSION = {"min": 0.1, "max": 0.9, "scaling": "log", "feasible_points": []}
BASE["tuning"] = {
    **{"trials": 4, "seeds": [7], "fresh_seeds": [8], "validation_images": 100},
    "recipe": {"learning_rate": dict(DIMENSION), "weight_decay": dict(DIMENSION)},
    "arms": {"erm": {"erm": dict(DIMENSION)}, "sba": {}},
}
SCHEMA = Preset.model_json_schema()
OTHER_TYPES: dict[str, list[Any]] = {
    "integer": [-1, "3", 1.5, 1.0, True, [1], {"a": 1}, float("nan"), float("inf"), 2**63, -(2**70)],
    "number": [-1.0, "1", True, [1.0], {"a": 1.0}, float("nan"), float("inf"), float("-inf"), 10**400],
    "string": [3, 1.5, True, ["a"], {"a": "b"}, "", "no such name", "two\nlines", "nul\0", "x" * 10_000],
    "boolean": [0, 1, "true", "", [True]],
    "array": [3, "text", True, {"a": 1}, []],
    "object": [3, "text", True, []],
}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references and without the null that TOML cannot write."""
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    (schema,) = options
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def wrong_values(schema: dict[str, Any], place: Place, optional: bool) -> Iterator[Wrong]:
    """Every wrong value of a field, and of all below it that the base preset has."""
    schema = resolved(schema)
    if "type" not in schema:  # anything
        return
    kind = schema["type"]
    edges = {"minimum": -1, "maximum": 1, "exclusiveMinimum": 0, "exclusiveMaximum": 0}
    outside = [schema[edge] + step * max(1, schema[edge] // 2**50) for edge, step in edges.items() if edge in schema]
    free = place == ("title",) or "all_layers" in place  # any line of text is one
    found = [value for value in OTHER_TYPES[kind] if not (free and value in ("no such name", "x" * 10_000))]
    found = [value for value in found if not (kind == "array" and optional and value == [])]
    yield from (Wrong(place, value) for value in found + outside)
    if kind == "array":
        below = at(place)
        yield from wrong_values(schema["items"], (*place, len(below) - 1), False)
        if "maxItems" in schema:
            yield Wrong(place, list(range(schema["maxItems"] + 1)))
        yield Wrong(place, [*below, {"no": "such"}])
    if kind == "object" and place[-1:] != ("settings",):
        yield Wrong((*place, "no_such_key"), 1)
        yield Wrong((*place, "no such key\n"), {"a": 1})
        if "minProperties" in schema:
            yield Wrong(place, {})
        required = schema.get("required", [])
        named = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
        fields = schema.get("properties") or {"erm": named[0]}  # a table of arms, and a dimension of that name
        for name, field in fields.items():
            yield from wrong_values(field, (*place, name), name not in required)


def at(place: Place, values: Any = BASE) -> Any:
    for part in place:
        values = values[part]
    return values


def at_or(place: Place) -> Any:
    """The base's value at a place, None where it has none."""
    try:
        return at(place)
    except (KeyError, IndexError):
        return None


def with_value(place: Place, value: Any) -> Values:
    changed = copy.deepcopy(BASE)
    at(place[:-1], changed)[place[-1]] = value
    return changed


CASES = [wrong for wrong in wrong_values(SCHEMA, (), False) if wrong.place]
FIELDS = list(dict.fromkeys(wrong.place for wrong in CASES))


def test_the_base_of_wrong_values_is_right_and_has_every_field(tmp_path: Path) -> None:
    assert as_values(load(BASE, tmp_path)) == BASE
    tables = [table for table in SCHEMA["$defs"].values() if "properties" in table]
    assert len(FIELDS) > sum(len(table["properties"]) for table in tables)


@pytest.mark.parametrize("place", FIELDS, ids=dotted)
def test_a_wrong_value_is_refused_by_its_dotted_key(tmp_path: Path, place: Place) -> None:
    for case in CASES:
        if case.place == place:
            with pytest.raises(UsageError) as refused:
                load(with_value(place, case.value), tmp_path)
            message = str(refused.value)
            assert dotted(place) in message, case
            assert "mine.toml" in message
            assert len(message) < 3000


SEARCHED = ("recipe.learning_rate", "recipe.weight_decay", "arms.erm.erm")
ZERO = {  # the numbers that may be 0
    "data.train_images", "data.test_images", "data.validation_images", "data.split_seed", "seeds.4", "ablation.seeds.2",
    "recipe.momentum", "recipe.weight_decay", "recipe.initial", "recipe.peak", "recipe.final", "recipe.padding",
    "recipe.drops.0",
    "data.resize", "evaluation.checks.seeds.0", "arms.erm.seeds.4", "arms.erm.recipe.weight_decay",
    "tuning.seeds.0", "tuning.fresh_seeds.0",
    *(f"tuning.{place}.{edge}" for place in SEARCHED for edge in ("min", "max")),
}  # fmt: skip
BELOW_2 = {"recipe.momentum", "recipe.initial", "recipe.peak", "recipe.final", "recipe.drops.0"}


def test_the_ranges_of_numbers_are_these(tmp_path: Path) -> None:
    """The schema alone would follow a range that is lost."""
    numbers = [
        place for place in FIELDS if isinstance(at_or(place), int | float) and not isinstance(at_or(place), bool)
    ]
    for value, expected in ((0, ZERO), (2, {dotted(place) for place in numbers} - BELOW_2)):
        taken = set()
        for place in numbers:
            try:
                load(with_value(place, value), tmp_path)
                taken.add(dotted(place))
            except UsageError as refused:
                if "not allowed" not in str(refused):  # in range, but at odds with another setting
                    taken.add(dotted(place))
        assert taken == expected


@pytest.mark.parametrize("key", [key for key in SCHEMA["required"] if key != "name"])
def test_a_section_that_is_not_there_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(UsageError, match=f"{key}: is required and not there"):
        load({name: value for name, value in BASE.items() if name != key}, tmp_path)


@pytest.mark.parametrize("value", ["2026-01-01", "2026-01-01T12:00:00Z", "12:00:00"])
@pytest.mark.parametrize("key", ["title", "recipe.epochs", "arms.sba.settings.layers"])
def test_a_date_is_no_setting(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{key} = .*dates and times"):
        load_preset("smoke", (f"{key}={value}",))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ablation.attacks", '[{name = "nope", steps = 1}]'),
        ("ablation.eps", "[2.0, 1.0]"),
        ("ablation.seeds", "[1, 1]"),
        ("ablation.all_layers", '["stem", "stem"]'),
        ("analysis.against", '["erm", "erm"]'),
        ("analysis.endpoints", '["clean", "clean"]'),
        ("seeds", "[1, 1]"),
        ("evaluation.eps", "[16.0, 4.0]"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_by_its_key(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{key}.* = "):
        load_preset("smoke", (f"{key}={value}",))


def test_more_seeds_than_a_study_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"seeds = .*at most {MAX_SEEDS} items"):
        load(BASE | {"seeds": list(range(MAX_SEEDS + 1))}, tmp_path)
