"""The plan: which runs a preset asks for, each with its identity."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter, getitem
from pathlib import Path
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from benchmark.runtime.errors import UsageError, nearest, shorten, shown
from benchmark.settings.methods import METHODS, methods
from benchmark.settings.names import dotted, look_up
from benchmark.settings.preset import Arm, Preset, Recipe

# Incremented when the same settings give other results, so that old records do not count as done.
NUMERICS = 3
# Settings that came later: left out where they have their default, so that older runs keep their identity.
LATER = {
    "data": ("streamed", "resize", "synthetic"),
    "recipe": ("drops", "accumulate", "compile"),
    "evaluation.checks": ("seeds",),
}
LATER_OF_METHODS = {"sba": ("hard_labels",)}  # the same for the settings of methods


@dataclass(frozen=True)
class Run:
    """One run: an arm of a preset at one seed.

    `settings` is everything that decides the outcome, defaults filled in. `identity` is its hash, so a changed default
    makes another run.
    """

    preset: Preset
    arm: str
    seed: int
    method: Any
    settings: dict[str, Any]

    @property
    def identity(self) -> str:
        """Hash of settings and seed."""
        return identity(self.settings, self.seed)

    @property
    def epochs(self) -> int:
        """Epochs of training: the arm's own, else the recipe's."""
        return self.preset.arms[self.arm].epochs or self.preset.recipe.epochs

    @property
    def recipe(self) -> Recipe:
        """The preset's recipe with the arm's own learning rate and weight decay, where it has them."""
        return self.preset.recipe.model_copy(update=_own_recipe(self.preset.arms[self.arm]))

    def path(self, folder: Path, suffix: str) -> Path:
        """Return folder/<preset>/<arm>/seed-<n><suffix>."""
        return folder / self.preset.name / self.arm / f"seed-{self.seed}{suffix}"


def identity(settings: dict[str, Any], seed: int) -> str:
    """Return the SHA-256 (16 hex digits) of a run's sorted settings and its seed."""
    text = json.dumps({"settings": settings, "seed": seed}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_plan(preset: Preset, arms: Sequence[str] | None, seeds: Sequence[int] | None) -> list[Run]:
    """Return the runs, seed by seed, so that an interrupted study has complete pairs.

    Args:
        preset: the study.
        arms: names of the arms to run, None for all.
        seeds: seeds to run, None for the preset's.

    Raises:
        UsageError: an arm or seed that the preset does not have, arms that run at none of the seeds, or a setting that
            an arm's method does not allow.
    """
    for name in arms or ():
        if name not in preset.arms:
            raise UsageError(f"preset {preset.name} has no arm {name!r}; {nearest(name, preset.arms)}")
    unnamed = [seed for seed in seeds or () if seed not in preset.seeds]
    if unnamed:
        named = shorten(", ".join(map(str, preset.seeds)))
        raise UsageError(
            f"preset {preset.name} names the seeds {named}; not {unnamed[0]}. Seeds are "
            "named before a study: change them in a preset of your own, or by --set seeds=[...] with another --results."
        )
    chosen = {name: arm for name, arm in preset.arms.items() if arms is None or name in arms}
    methods = {name: make_method(preset.name, name, arm) for name, arm in chosen.items()}
    plan = [
        Run(preset, name, seed, methods[name], _settings(preset, arm, methods[name]))
        for seed in (preset.seeds if seeds is None else seeds)
        for name, arm in chosen.items()
        if arm.seeds is None or seed in arm.seeds
    ]
    if not plan:
        own = "; ".join(f"{name} at {shorten(', '.join(map(str, arm.seeds or ())))}" for name, arm in chosen.items())
        raise UsageError(f"preset {preset.name}: these arms run at seeds of their own, none of which is named: {own}.")
    return plan


def part(plan: Sequence[Run], shard: tuple[int, int] | None) -> list[Run]:
    """Return the i-th of n parts of a plan, every n-th run, for (i, n) with i from 1 to n; the whole for None."""
    first, step = (1, 1) if shard is None else shard
    return list(plan[first - 1 :: step])


def make_method(preset_name: str, arm_name: str, arm: Arm) -> Any:
    """Build an arm's method from its settings.

    Raises:
        UsageError: the method cannot be imported or is no dataclass, or a setting is unknown, missing, of a wrong type,
            out of range or no JSON value, so that no record could hold it.
    """
    # Reading the entry points of all packages is slow, and this is called for each arm.
    kind = look_up(arm.method, METHODS if arm.method in METHODS else methods())
    method = f"{preset_name}: arms.{arm_name}.method = {arm.method!r}"
    where = f"{preset_name}: arms.{arm_name}.settings"
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise UsageError(f"{method}: it is no dataclass of settings.")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in arm.settings:
        if key not in fields:
            unknown = f"method {arm.method!r} has no such setting; {nearest(key, fields)}"
            raise UsageError(f"{where}.{dotted([key])}: {unknown}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in arm.settings:
            raise UsageError(f"{where}.{name}: method {arm.method!r} needs this setting.")
    try:
        made = _adapter(kind).validate_json(json.dumps(arm.settings), strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join((where, *([dotted(problem["loc"])] if problem["loc"] else [])))
        own = problem["type"] == "value_error"  # the method's own sentence, which names the setting and its value
        text = shorten(problem["msg"].removeprefix("Value error, "), 1000)
        raise UsageError(f"{key}: {text}" if own else f"{key} = {shown(problem['input'])}: {text}.") from error
    except PydanticUserError as error:
        raise UsageError(f"{method}: the types of its settings cannot be read: {shorten(error.message)}.") from error
    try:
        json.dumps(dataclasses.asdict(made), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{method}: its settings must be finite numbers, texts, lists or tables: {error}.") from error
    return made


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the validator of a method's settings, built once: that takes longer than a hundred validations."""
    return TypeAdapter(kind)


def _settings(preset: Preset, arm: Arm, method: Any) -> dict[str, Any]:
    """Return all that decides a run's outcome except its seed, as JSON values."""
    settings = json.loads(json.dumps(dataclasses.asdict(method)))
    for name in LATER_OF_METHODS.get(arm.method, ()):
        if getattr(method, name) == getattr(type(method), name):
            del settings[name]
    chosen = {"method": arm.method, "augmentation": arm.augmentation, "settings": settings, "epochs": arm.epochs}
    if own := _own_recipe(arm):  # absent elsewhere, as below
        chosen["recipe"] = own
    mode = {"compute": True} if preset.compute else {}  # absent elsewhere: older runs keep their identity
    return shared_settings(preset) | mode | {"arm": chosen, "numerics": NUMERICS}


def _own_recipe(arm: Arm) -> dict[str, float]:
    return arm.recipe.model_dump(exclude_none=True) if arm.recipe else {}


def shared_settings(preset: Preset) -> dict[str, Any]:
    """Return what decides the outcome of every arm of a preset, as plain JSON values."""
    shared = preset.model_dump(mode="json", include={"data", "model", "recipe", "evaluation"})
    shared["data"]["dataset"] = preset.data.name
    for table, names in LATER.items():
        settings, dumped = attrgetter(table)(preset), functools.reduce(getitem, table.split("."), shared)
        for name in names if settings is not None else ():
            if getattr(settings, name) == type(settings).model_fields[name].default:
                del dumped[name]
    return shared
