"""What a preset must be beyond TOML: plain values, the settings' own rules, names that exist, a whole that fits."""

import re
import unicodedata
from collections.abc import Sequence

from pydantic import ValidationError

from benchmark.runtime.errors import UsageError, nearest, shorten
from benchmark.settings.names import check
from benchmark.settings.preset import (
    Ablation,
    Analysis,
    Arm,
    Attack,
    Checks,
    DataSettings,
    Dimension,
    Evaluation,
    ModelSettings,
    OwnRecipe,
    Preset,
    Recipe,
    Settings,
    SharedSpace,
    Tuning,
)

MAX_DEPTH, MAX_INTEGER, MAX_PROBLEMS = 20, 2**63 - 1, 8


def check_plain(value: object, where: str, place: tuple[int | str, ...] = ()) -> None:
    """Refuse what TOML can say and no setting can be: dates, integers beyond 64 bits, lines in a text, deep nesting.

    Raises:
        UsageError: with `where` and the dotted key.
    """
    problem = ""
    if len(place) > MAX_DEPTH:
        problem = f"is nested more than {MAX_DEPTH} deep"
    elif isinstance(value, dict):
        for key, item in value.items():
            check_plain(item, where, (*place, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            check_plain(item, where, (*place, number))
    elif isinstance(value, str):
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value):
            problem = f"= {shown(value)}: a text must be one line without control characters"
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            problem = f"= {shown(value)}: a whole number must fit into 64 bits"
    elif not isinstance(value, float):
        problem = f"= {shown(str(value))}: dates and times are not allowed; no setting takes one"
    if problem:
        raise UsageError(f"{where}: {dotted(place)} {problem}.")


def dotted(place: Sequence[int | str]) -> str:
    """Return the dotted key of a place, as TOML writes it: parts that are no bare keys are quoted, long ones cut.

    Example:
        >>> dotted(("arms", "../x", "method"))
        "arms.'../x'.method"
    """
    parts = [str(part) if re.fullmatch(r"[\w-]+", str(part), re.ASCII) else repr(part) for part in place]
    return ".".join(shorten(part, 80) for part in parts[:MAX_DEPTH])


def shown(value: object) -> str:
    """Return a value for a message."""
    return shorten(repr(value))


def explain(error: ValidationError) -> list[str]:
    """Turn what pydantic found into lines, "key = value: what is wrong; nearest names"; of many the first few."""
    problems = error.errors(include_url=False, include_context=False)
    lines = []
    for problem in problems:
        place, kind = problem["loc"], problem["type"]
        if kind == "too_short" and any(p["loc"][: len(place)] == place != p["loc"] for p in problems):
            continue  # only too short because of the entry that is refused anyway
        key = dotted(place[:-1] if place[-1:] == ("[key]",) else place)  # pydantic's mark where a key itself is wrong
        if kind == "extra_forbidden":
            lines.append(f"{key}: unknown key; {nearest(str(place[-1]), _fields(place[:-1]))}")
        elif kind == "missing":
            lines.append(f"{key}: is required and not there.")
        elif kind == "string_pattern_mismatch":
            allowed = "allowed are lower-case letters, digits, - and _ (it names a folder)"
            lines.append(f"{key} = {shown(problem['input'])}: {allowed}.")
        else:
            lines.append(f"{key} = {shown(problem['input'])}: {problem['msg'].removeprefix('Value error, ')}.")
    more = [f"and {len(lines) - MAX_PROBLEMS} more."] if len(lines) > MAX_PROBLEMS else []
    return lines[:MAX_PROBLEMS] + more


def _fields(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are allowed in the table at `location` of a preset."""
    tables: dict[str, type[Settings]] = {
        "data": DataSettings,
        "model": ModelSettings,
        "recipe": Recipe,
        "evaluation": Evaluation,
        "analysis": Analysis,
        "ablation": Ablation,
        "tuning": Tuning,
    }
    if not location:
        return [*Preset.model_fields, "extends", "without"]
    if location[0] == "arms":
        return list((OwnRecipe if location[2:] == ("recipe",) else Arm).model_fields)
    if location[0] == "tuning" and len(location) > 1:
        return list((SharedSpace if location[1:] == ("recipe",) else Dimension).model_fields)
    if location[-1] == "checks":
        return list(Checks.model_fields)
    return list((tables[str(location[0])] if len(location) == 1 else Attack).model_fields)


def check_names(preset: Preset, where: str) -> None:
    """Refuse names that the tables do not have, before anything is loaded."""
    if "/" not in preset.data.dataset:  # else it is the path of an image folder
        check("data set", preset.data.dataset, f"{where}: data.dataset")
    check("network", preset.model.name, f"{where}: model.name")
    for key in ("attacks", "l2_attacks"):
        for i, attack in enumerate(getattr(preset.evaluation, key)):
            check("attack", attack.name, f"{where}: evaluation.{key}.{i}.name")
    for i, attack in enumerate(preset.ablation.attacks if preset.ablation else ()):
        check("attack", attack.name, f"{where}: ablation.attacks.{i}.name")
    for name, arm in preset.arms.items():
        check("method", arm.method, f"{where}: arms.{name}.method")


def check_together(preset: Preset, where: str) -> None:
    """Refuse settings that are each allowed but not together."""
    analysis, evaluation = preset.analysis, preset.evaluation
    _check_arms(preset, where)
    _check_lists(preset, where)
    _check_tuning(preset, where)
    if bool(evaluation.l2_eps) != bool(evaluation.l2_attacks):
        raise UsageError(f"{where}: evaluation.l2_eps and evaluation.l2_attacks go together: name both or none.")
    if analysis.eps not in evaluation.eps:
        raise UsageError(
            f"{where}: analysis.eps = {analysis.eps} is not in evaluation.eps = {shown(list(evaluation.eps))}."
        )
    levels = list(analysis.levels)
    if levels != sorted(set(levels)) or analysis.level not in levels:
        rule = f"must rise, each once, and hold analysis.level = {analysis.level}"
        raise UsageError(f"{where}: analysis.levels = {shown(levels)} {rule}.")
    checked = evaluation.checks.seeds if evaluation.checks else None
    if unnamed := [seed for seed in checked or () if seed not in preset.seeds]:
        raise UsageError(
            f"{where}: evaluation.checks.seeds = {shown(list(checked or ()))}: seed {unnamed[0]} is not in seeds = "
            f"{shown(list(preset.seeds))}."
        )
    if evaluation.split == "validation" and not preset.data.validation_images:
        raise UsageError(f"{where}: evaluation.split = 'validation' needs data.validation_images above 0.")
    if preset.data.resize and not preset.data.streamed:
        raise UsageError(f"{where}: data.resize = {preset.data.resize} needs data.streamed = true.")
    if 0 < preset.data.resize < preset.data.pixels:
        raise UsageError(
            f"{where}: data.resize = {preset.data.resize} must be 0 or at least data.pixels = {preset.data.pixels}."
        )
    if preset.recipe.padding >= preset.data.pixels:
        raise UsageError(
            f"{where}: recipe.padding = {preset.recipe.padding} must be below data.pixels = {preset.data.pixels}."
        )


def _check_arms(preset: Preset, where: str) -> None:
    """Refuse arms that do not exist, play two parts, or lack seeds at which they are tested."""
    analysis = preset.analysis
    families = {"against": analysis.against, "relatives": analysis.relatives}
    roles = [("treatment", analysis.treatment), *((key, arm) for key, arms in families.items() for arm in arms)]
    control = [("positive_control", analysis.positive_control)] if analysis.positive_control else []
    for key, arm in (*roles, *control):
        if arm not in preset.arms:
            raise UsageError(f"{where}: analysis.{key} = {arm!r}: no such arm; {nearest(arm, preset.arms)}")
    for key, arms in families.items():
        if analysis.treatment in arms:
            raise UsageError(f"{where}: analysis.{key} names the treatment {analysis.treatment!r} itself.")
    if both := [arm for arm in analysis.relatives if arm in analysis.against]:
        raise UsageError(f"{where}: analysis.relatives names {both[0]!r}, which analysis.against names too.")
    _check_compute_arms(preset, where)
    tested = {role for _, role in roles}
    for name, settings in preset.arms.items():
        own = settings.seeds
        seeds = f"{where}: arms.{name}.seeds = {shown(list(own or ()))}"
        if unnamed := [seed for seed in own or () if seed not in preset.seeds]:
            raise UsageError(f"{seeds}: {unnamed[0]} is not among the study's seeds = {shown(list(preset.seeds))}.")
        if own is not None and name in tested and len(own) < len(preset.seeds):
            raise UsageError(f"{seeds}: the arm is tested, so it runs at all seeds of the study.")


def _check_compute_arms(preset: Preset, where: str) -> None:
    """Refuse arms of compute mode that do not exist, or leave nothing to compare."""
    chosen, analysis = preset.compute_arms, preset.analysis
    for arm in chosen:
        if arm not in preset.arms:
            raise UsageError(f"{where}: compute_arms: there is no arm {arm!r}; {nearest(arm, preset.arms)}")
    if chosen and (analysis.treatment not in chosen or not {*chosen} & {*analysis.against}):
        raise UsageError(
            f"{where}: compute_arms = {shown(list(chosen))}: must name analysis.treatment = {analysis.treatment!r} and "
            "an arm of analysis.against."
        )


def _check_lists(preset: Preset, where: str) -> None:
    """Refuse lists that name something twice, and eps that do not rise."""
    evaluation, analysis, small = preset.evaluation, preset.analysis, preset.ablation
    rising = {
        "evaluation.eps": evaluation.eps,
        "evaluation.l2_eps": evaluation.l2_eps,
        "recipe.drops": preset.recipe.drops,
    }
    single: dict[str, Sequence[object]] = {
        "seeds": preset.seeds,
        "analysis.against": analysis.against,
        "analysis.relatives": analysis.relatives,
        "analysis.endpoints": analysis.endpoints,
        "compute_arms": preset.compute_arms,
    }
    if evaluation.checks and evaluation.checks.seeds:
        single |= {"evaluation.checks.seeds": evaluation.checks.seeds}
    single |= {f"arms.{name}.seeds": arm.seeds for name, arm in preset.arms.items() if arm.seeds}
    if small:
        rising |= {"ablation.eps": small.eps}
        single |= {"ablation.seeds": small.seeds, "ablation.all_layers": small.all_layers}
    if tuning := preset.tuning:
        single |= {"tuning.seeds": tuning.seeds, "tuning.fresh_seeds": tuning.fresh_seeds}
    for key, values in rising.items():
        if list(values) != sorted(set(values)):
            raise UsageError(f"{where}: {key} = {shown(list(values))}: must rise, each value once.")
    for key, names in single.items():
        if len(set(names)) != len(names):
            raise UsageError(f"{where}: {key} = {shown(list(names))}: each one once.")


def _check_tuning(preset: Preset, where: str) -> None:
    """Refuse a search of arms that do not exist, and seeds that are used elsewhere."""
    tuning = preset.tuning
    if tuning is None:
        return
    for arm in tuning.arms:
        if arm not in preset.arms:
            raise UsageError(f"{where}: tuning.arms.{dotted([arm])}: no such arm; {nearest(arm, preset.arms)}")
    spaces = {"recipe": {name: getattr(tuning.recipe, name) for name in SharedSpace.model_fields}}
    spaces |= {f"arms.{arm}": dimensions for arm, dimensions in tuning.arms.items()}
    for space, dimensions in spaces.items():
        for name, dimension in dimensions.items():
            _check_dimension(dimension, where, f"tuning.{space}.{dotted([name])}")
    used = dict.fromkeys(preset.seeds, "seeds")
    for key, seeds in (("tuning.seeds", tuning.seeds), ("tuning.fresh_seeds", tuning.fresh_seeds)):
        if both := [seed for seed in seeds if seed in used]:
            raise UsageError(
                f"{where}: {key} = {shown(list(seeds))}: {used[both[0]]} has {both[0]} too; each seed has one use."
            )
        used |= dict.fromkeys(seeds, key)


def _check_dimension(dimension: Dimension, where: str, key: str) -> None:
    """Refuse a dimension of a search that is neither an interval nor a list of points."""
    low, high, points = dimension.min, dimension.max, dimension.feasible_points
    if points and (low is not None or high is not None):
        raise UsageError(f"{where}: {key}.feasible_points = {shown(list(points))}: leave it out, or min and max.")
    if points:
        return
    if low is None or high is None:
        missing = "min" if low is None else "max"
        raise UsageError(f"{where}: {key}.{missing}: is not there; write min and max, or feasible_points.")
    if low >= high:
        raise UsageError(f"{where}: {key}.min = {low:g} must be below {key}.max = {high:g}.")
    if dimension.scaling == "log" and low <= 0:
        raise UsageError(f"{where}: {key}.min = {low:g} must be above 0 where scaling is log.")
