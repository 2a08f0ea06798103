"""Preset files: TOML read, extended, overridden and checked, with the file and key in every message."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark import registry
from benchmark.errors import UsageError, nearest
from benchmark.settings import (
    Ablation,
    Analysis,
    Arm,
    Attack,
    Checks,
    DataSettings,
    Evaluation,
    ModelSettings,
    Preset,
    Recipe,
    Settings,
)

PRESETS = Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """Return the names of the presets in the package."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def family_member(name: str, device: str) -> str:
    """Return the preset for a study's name: "cifar10" is cifar10_gpu where CUDA is used, else cifar10_cpu."""
    member = f"{name}_{'gpu' if device == 'cuda' else 'cpu'}"
    if name in preset_names() or member not in preset_names():
        return name
    print(f"Preset {member}, because the device is {device}.", flush=True)
    return member


def load_preset(name: str, overrides: tuple[str, ...] = (), shrunk: tuple[str, ...] = ()) -> Preset:
    """Load a preset of the package by name, or the user's own TOML file by path.

    Args:
        name: a preset's name, or the path of a file that ends in .toml.
        overrides: "section.key=value" texts (TOML values) by which the user replaces single settings.
        shrunk: such texts of a smoke run, which the user's override.

    Raises:
        UsageError: unknown preset; a file that cannot be read or parsed; an unknown key, wrong type or value out
            of range, naming file, key, value and what is allowed.
    """
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    if not name.endswith(".toml") and name not in preset_names():
        raise UsageError(f"there is no preset {name!r}; {nearest(name, preset_names())} Or give a path/to/mine.toml.")
    where = " --set ".join([str(path), *overrides])
    values = {"name": path.stem} | _read(path)
    for text in (*shrunk, *overrides):
        _override(values, text)
    try:
        preset = Preset.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        problems = "\n".join(f"  {line}" for line in _explain(error))
        raise UsageError(f"{where}: settings that are not allowed:\n{problems}") from error
    _check_names(preset, where)
    _check_together(preset, where)
    return preset


def _read(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a TOML file; `extends = "other"` starts from another preset and replaces single values of it."""
    if path in seen:
        raise UsageError(f"{path}: 'extends' goes round in a circle: {' -> '.join(p.stem for p in (*seen, path))}.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read the preset {path}: {reason}.") from error
    base = values.pop("extends", None)
    if base is None:
        return values
    if base not in preset_names():
        raise UsageError(f"{path}: extends: there is no preset {base!r}; {nearest(str(base), preset_names())}")
    return _merge(_read(PRESETS / f"{base}.toml", (*seen, path)), values)


def _merge(base: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Replace single values of nested tables; anything that is not a table is replaced whole."""
    both = {
        key: _merge(base[key], new[key])
        for key in base.keys() & new.keys()
        if isinstance(base[key], dict) and isinstance(new[key], dict)
    }
    return base | new | both


def _override(values: dict[str, Any], text: str) -> None:
    """Set one value in place from "section.key=value"; a bare word is taken as a string."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {text!r}: write it as --set section.key=value, for example --set recipe.epochs=5.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        if value.lstrip().startswith(("[", "{", '"', "'")):
            hint = 'quote texts inside lists and the whole from the shell: --set \'section.key=["a", "b"]\''
            raise UsageError(f"--set {text!r}: {value!r} is no TOML value; {hint}") from error
        parsed = value
    *tables, last = key.strip().split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise UsageError(f"--set {text!r}: {table!r} is not a section.")
    values[last] = parsed


def _explain(error: ValidationError) -> Iterator[str]:
    """Turn every problem that pydantic found into "key = value: what is wrong; nearest names"."""
    problems = error.errors(include_url=False, include_context=False)
    for problem in problems:
        place = problem["loc"]
        if problem["type"] == "too_short" and any(p["loc"][: len(place)] == place != p["loc"] for p in problems):
            continue  # only too short because of the entry that is refused anyway
        key = ".".join(str(part) for part in place if part != "[key]")
        if problem["type"] == "extra_forbidden":
            yield f"{key}: unknown key; {nearest(str(place[-1]), _fields(place[:-1]))}"
        elif problem["type"] == "missing":
            yield f"{key}: is required and not there."
        elif problem["type"] == "string_pattern_mismatch":
            yield f"{key} = {problem['input']!r}: allowed are lower-case letters, digits, - and _ (it names a folder)."
        else:
            yield f"{key} = {problem['input']!r}: {problem['msg']}."


def _fields(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are allowed in the table at `location` of a preset."""
    tables: dict[str, type[Settings]] = {
        "data": DataSettings,
        "model": ModelSettings,
        "recipe": Recipe,
        "evaluation": Evaluation,
        "analysis": Analysis,
        "ablation": Ablation,
    }
    if not location:
        return [*Preset.model_fields, "extends"]
    if location[0] == "arms":
        return list(Arm.model_fields)
    if location[-1] == "checks":
        return list(Checks.model_fields)
    return list((tables[str(location[0])] if len(location) == 1 else Attack).model_fields)


def _check_names(preset: Preset, where: str) -> None:
    """Refuse names that the registry does not have, before anything is loaded."""
    if "/" not in preset.data.dataset:  # else it is the path of an image folder
        registry.check("data set", preset.data.dataset, registry.DATASETS, f"{where}: data.dataset")
    registry.check("network", preset.model.name, registry.MODELS, f"{where}: model.name")
    for key in ("attacks", "l2_attacks"):
        for i, attack in enumerate(getattr(preset.evaluation, key)):
            registry.check("attack", attack.name, registry.ATTACKS, f"{where}: evaluation.{key}.{i}.name")
    methods = registry.methods()
    for name, arm in preset.arms.items():
        registry.check("method", arm.method, methods, f"{where}: arms.{name}.method")


def _check_together(preset: Preset, where: str) -> None:
    """Refuse settings that are each allowed but not together."""
    analysis, evaluation = preset.analysis, preset.evaluation
    for key, arm in [("treatment", analysis.treatment), *(("against", arm) for arm in analysis.against)]:
        if arm not in preset.arms:
            raise UsageError(f"{where}: analysis.{key} = {arm!r}: no such arm; {nearest(arm, preset.arms)}")
    if analysis.treatment in analysis.against:
        raise UsageError(f"{where}: analysis.against names the treatment {analysis.treatment!r} itself.")
    if analysis.positive_control and analysis.positive_control not in preset.arms:
        raise UsageError(
            f"{where}: analysis.positive_control = {analysis.positive_control!r}: no such arm; "
            f"{nearest(analysis.positive_control, preset.arms)}"
        )
    for key in ("eps", "l2_eps"):
        listed = list(getattr(evaluation, key))
        if listed != sorted(set(listed)):
            raise UsageError(f"{where}: evaluation.{key} = {listed}: must rise, each value once.")
    if bool(evaluation.l2_eps) != bool(evaluation.l2_attacks):
        raise UsageError(f"{where}: evaluation.l2_eps and evaluation.l2_attacks go together: name both or none.")
    if analysis.eps not in evaluation.eps:
        raise UsageError(f"{where}: analysis.eps = {analysis.eps} is not in evaluation.eps = {list(evaluation.eps)}.")
    levels = list(analysis.levels)
    if levels != sorted(set(levels)) or analysis.level not in levels:
        raise UsageError(
            f"{where}: analysis.levels = {levels} must rise, each once, and hold analysis.level = {analysis.level}."
        )
    if len(set(preset.seeds)) != len(preset.seeds):
        raise UsageError(f"{where}: seeds = {list(preset.seeds)}: each seed once.")
    if evaluation.split == "validation" and not preset.data.validation_images:
        raise UsageError(f"{where}: evaluation.split = 'validation' needs data.validation_images above 0.")
    if preset.recipe.padding >= preset.data.pixels:
        raise UsageError(
            f"{where}: recipe.padding = {preset.recipe.padding} must be below data.pixels = {preset.data.pixels}."
        )
