"""Whole valid presets, drawn by hypothesis from the schema of their settings, so that a new field is drawn as well."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from networks.method_cases import SETTINGS

from benchmark.settings.load import load_preset
from benchmark.settings.names import table
from benchmark.settings.preset import Preset
from benchmark.settings.values import DEVICES, MARKUP, MAX_NUMBER

Values = dict[str, Any]
Draw = Callable[[SearchStrategy[Any]], Any]

SCHEMA = Preset.model_json_schema()
METHODS = ("cutmix", "erm", "manifold_mixup", "mixup", "sba")

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,59}", fullmatch=True).filter(lambda name: name not in DEVICES)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=30)
titles = texts.map(lambda text: "".join(character for character in text if character not in MARKUP) or "a")
# Of texts that are more than their type.
KINDS: dict[str, SearchStrategy[Any]] = {
    "title": titles,
    "dataset": st.sampled_from([*table("data set"), "my/photos", "/data/éx"]),
    "model": st.sampled_from(sorted(table("network"))).map(lambda name: {"name": name}),
    "endpoints": st.lists(st.sampled_from(sorted(table("endpoint"))), min_size=1, unique=True),
    "Attack.name": st.sampled_from(sorted(table("attack"))),
    "method": st.sampled_from(METHODS),
    "settings": st.just({}),
    "feasible_points": st.just([]),
    "scaling": st.just("log"),
    "trials": st.sampled_from([1, 2, 16]),
}
RISING = ("eps", "l2_eps", "levels", "drops")


def resolved(schema: Values) -> Values:
    """Return a schema without references and without the null that TOML cannot write."""
    (schema,) = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def number(schema: Values) -> SearchStrategy[Any]:
    low: Any = schema.get("minimum", schema.get("exclusiveMinimum"))
    high: Any = schema.get("maximum", schema.get("exclusiveMaximum"))
    if schema["type"] == "integer":
        return st.integers(low, min(high, low + 40)) | st.integers(low, high)
    above, below = "exclusiveMinimum" in schema, "exclusiveMaximum" in schema
    return st.floats(low, high, exclude_min=above, exclude_max=below, allow_subnormal=False)


def of(schema: Values, key: str) -> SearchStrategy[Any]:
    """Return a strategy of the values that a field may have by itself."""
    schema, name = resolved(schema), key.rpartition(".")[2]
    if (kind := key if key in KINDS else name) in KINDS:
        return KINDS[kind]
    match schema["type"]:
        case "integer" | "number":
            return number(schema)
        case "boolean":
            return st.booleans()
        case "array":
            unique = {"unique_by": str} if not name.endswith("attacks") else {}
            found = st.lists(of(schema["items"], key), min_size=1, max_size=5, **unique)  # type: ignore[arg-type]
            return found.map(lambda values: sorted(set(values))) if name in RISING else found
        case "object" if "properties" in schema:
            fields = {name: of(field, f"{schema['title']}.{name}") for name, field in schema["properties"].items()}
            needed = {*schema.get("required", []), *({"min", "max", "scaling"} & fields.keys())}
            optional = {name: field for name, field in fields.items() if name not in needed}
            return st.fixed_dictionaries({name: fields[name] for name in fields if name in needed}, optional=optional)
        case "object":
            (below,) = [*schema.get("patternProperties", {}).values()] or [schema["additionalProperties"]]
            return st.dictionaries(names, of(below, "below"), min_size=2, max_size=4)
    return st.sampled_from(schema["enum"]) if "enum" in schema else names


@st.composite
def presets(draw: Draw) -> Values:
    """Draw the values of a whole valid preset, as its file has them."""
    values: Values = draw(of(SCHEMA, ""))
    data, evaluation, analysis, arms = (values[key] for key in ("data", "evaluation", "analysis", "arms"))
    pixels = data.setdefault("pixels", 32)
    data.pop("resize", None)
    values["recipe"]["padding"] = min(values["recipe"].get("padding", 4), pixels - 1)
    if evaluation.get("split") == "validation":
        data["validation_images"] = max(1, data.get("validation_images", 0))
    if ("l2_eps" in evaluation) != ("l2_attacks" in evaluation):
        evaluation.pop("l2_eps", evaluation.pop("l2_attacks", None))
    evaluation.get("checks", {}).pop("seeds", None)
    for arm in arms.values():
        arm.pop("seeds", None)
        arm["settings"] = {"layers": ["stem"]} if "layers" in SETTINGS.get(arm["method"], {}) else {}
    treatment, *others = draw(st.permutations(sorted(arms)))
    analysis |= {"treatment": treatment, "against": others[:1], "relatives": others[1:]}
    analysis |= {"eps": draw(st.sampled_from(evaluation["eps"]))}
    analysis.setdefault("levels", [60.0, 70.0, 80.0])
    analysis["level"] = draw(st.sampled_from(analysis["levels"]))
    if "positive_control" in analysis:
        analysis["positive_control"] = draw(st.sampled_from(sorted(arms)))
    values["compute_arms"] = [treatment, others[0]]
    if tuning := values.get("tuning"):
        mend_search(tuning, draw, sorted(arms), values["seeds"])
    return values


def mend_search(tuning: Values, draw: Draw, arms: Sequence[str], used: Sequence[int]) -> None:
    free = [seed for seed in range(60) if seed not in used]
    chosen = draw(st.lists(st.sampled_from(free), min_size=2, max_size=6, unique=True))
    low, high = sorted(draw(st.lists(st.floats(1e-30, MAX_NUMBER), min_size=2, max_size=2, unique=True)))
    dimension = {"min": low, "max": high, "scaling": "log"}
    tuning |= {"seeds": chosen[:1], "fresh_seeds": chosen[1:]}
    tuning["recipe"] = {"learning_rate": dimension, "weight_decay": {"feasible_points": [0, low]}}
    tuning["arms"] = {arm: {"p": dimension, "layers": {"feasible_points": [["stem"], True]}} for arm in arms}


def load(values: Values, folder: Path, file: str = "mine.toml") -> Preset:
    path = folder / file
    path.write_bytes(tomli_w.dumps(values).encode())
    return load_preset(str(path))


def as_values(preset: Preset) -> Values:
    """Return the preset as its file would have it; TOML has no null."""
    return preset.model_dump(mode="json", exclude_none=True)
