"""Preset files: TOML read, extended, overridden and validated, with the file and the key in every message."""

import json
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from benchmark.runtime.errors import UsageError, nearest, shorten, shown
from benchmark.settings.names import MAX_DEPTH, dotted
from benchmark.settings.preset import Preset
from benchmark.settings.values import Settings

PRESETS = Path(__file__).parent / "presets"
# Presets are a few kilobytes; the time to read a dotted key grows with the square of its parts.
MAX_BYTES, MAX_DOTS = 100_000, 200
MAX_INTEGER, MAX_PROBLEMS = 2**63 - 1, 8


def preset_names() -> list[str]:
    """Return the names of the presets in the package."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def family_member(name: str, device: str, quiet: bool = False) -> str:
    """Return the preset for a study's name: "cifar10" is cifar10_gpu where CUDA is used, else cifar10_cpu.

    Unless `quiet`, the choice is printed.

    Raises:
        UsageError: the study has a preset for the other device alone.
    """
    if name in preset_names():
        return name
    members = {kind: f"{name}_{'gpu' if kind == 'cuda' else 'cpu'}" for kind in ("cpu", "cuda")}
    found = {kind: member for kind, member in members.items() if member in preset_names()}
    if found and device not in found:
        ((other, member),) = found.items()
        raise UsageError(
            f"{name} is for a {member[-3:].upper()} alone: use --device {other}, or name its preset {member}."
        )
    if found and not quiet:
        print(f"Preset {found[device]}, because the device is {device}.", flush=True)
    return found.get(device, name)


def load_preset(
    name: str, overrides: Sequence[str] = (), replaced: Mapping[str, object] = MappingProxyType({})
) -> Preset:
    """Load a preset of the package by name, or the user's own TOML file by path.

    Args:
        name: a preset's name, or the path of a file that ends in .toml.
        overrides: the user's "section.key=value" texts (TOML values), which replace single settings.
        replaced: other values by their dotted keys, as of a smoke run; `overrides` take precedence.

    Raises:
        UsageError: unknown preset; a file that cannot be read or parsed; an unknown key, wrong type or value out
            of range, naming file, key, value and what is allowed.
    """
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    if not name.endswith(".toml") and name not in preset_names():
        raise UsageError(f"there is no preset {name!r}; {nearest(name, preset_names())} Or give a path/to/mine.toml.")
    where = " --set ".join([str(path), *map(shorten, overrides)])
    values = {"name": path.stem} | _read(path)
    for key, value in (*replaced.items(), *map(_parse_override, overrides)):
        _put(values, key, value)
    check_plain(values, where)
    try:
        return Preset.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise refusal(f"{where}: settings that are not allowed", list(explain(error))) from error


def refusal(heading: str, lines: Sequence[str]) -> UsageError:
    """Return the error that lists problems, the first `MAX_PROBLEMS` of them, below a heading."""
    more = [f"and {len(lines) - MAX_PROBLEMS} more."] if len(lines) > MAX_PROBLEMS else []
    return UsageError(f"{heading}:" + "".join(f"\n  {line}" for line in [*lines[:MAX_PROBLEMS], *more]))


def _read(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a TOML file; `extends = "other"` starts from another preset and replaces single values of it.

    `without` lists arms of that other preset which are left out; a positive control among them is then no longer named.
    """
    if path in seen:
        raise UsageError(f"{path}: 'extends' goes round in a circle: {' -> '.join(p.stem for p in (*seen, path))}.")
    try:
        with path.open("rb") as file:
            values = _parse(file.read(MAX_BYTES + 1))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else shorten(str(error))
        raise UsageError(f"cannot read the preset {path}: {reason}.") from error
    base, without = values.pop("extends", None), values.pop("without", [])
    if base is None:
        if without:
            raise UsageError(f"{path}: without: it leaves out arms of the preset that `extends` names; there is none.")
        return values
    if base not in preset_names():
        named = shorten(repr(base))
        if isinstance(base, str) and (base.endswith(".toml") or "/" in base):
            raise UsageError(
                f"{path}: extends: {named} is a file; only a preset of `python -m benchmark list presets` can be "
                "extended. Extend the one that the file extends, and copy the rest of the file."
            )
        raise UsageError(f"{path}: extends: there is no preset {named}; {nearest(str(base), preset_names())}")
    inherited = _read(PRESETS / f"{base}.toml", (*seen, path))
    for arm in without if isinstance(without, list) else [without]:
        if not isinstance(arm, str) or arm not in inherited["arms"]:
            named = shorten(repr(arm))
            raise UsageError(f"{path}: without: {base} has no arm {named}; {nearest(str(arm), inherited['arms'])}")
        del inherited["arms"][arm]
        inherited.get("tuning", {}).get("arms", {}).pop(arm, None)
        if arm in inherited.get("compute_arms", ()):
            inherited["compute_arms"].remove(arm)
        if inherited["analysis"].get("positive_control") == arm:
            del inherited["analysis"]["positive_control"]
    return _merge(inherited, values)


def _parse(content: bytes) -> dict[str, Any]:
    """Parse TOML of a size that takes no time.

    Raises:
        ValueError, RecursionError: it is not UTF-8, no TOML, too large or too deep.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    text = content.decode("utf-8-sig")  # some editors on Windows begin with a byte order mark
    for number, line in enumerate(text.splitlines(), start=1):
        if line.count(".") > MAX_DOTS:
            raise ValueError(f"line {number} has more than {MAX_DOTS} dots")
    return tomllib.loads(text)


def _merge(base: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Replace single values of nested tables; anything that is not a table is replaced whole."""
    both = {
        key: _merge(base[key], new[key])
        for key in base.keys() & new.keys()
        if isinstance(base[key], dict) and isinstance(new[key], dict)
    }
    return base | new | both


def _parse_override(text: str) -> tuple[str, object]:
    """Return the dotted key and the value of "section.key=value"; a bare word is taken as a string."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        example = "write it as --set section.key=value, for example --set recipe.epochs=5."
        raise UsageError(f"--set {shorten(repr(text))}: {example}")
    try:
        (parsed,) = _parse(f"value = {value}".encode(errors="surrogatepass")).values()
    except (ValueError, RecursionError) as error:
        if value.lstrip().startswith(("[", "{", '"', "'")):
            hint = 'quote texts inside lists and the whole from the shell: --set \'section.key=["a", "b"]\''
            named = shorten(repr(value))
            raise UsageError(f"--set {shorten(repr(text))}: {named} is no TOML value; {hint}") from error
        parsed = value
    return key.strip(), parsed


def _put(values: dict[str, Any], key: str, value: object) -> None:
    """Set the value at a dotted key in place."""
    *tables, last = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise UsageError(f"--set {shorten(repr(key))}: {shorten(repr(table))} is not a section.")
    values[last] = value


def check_plain(value: object, where: str, place: tuple[int | str, ...] = ()) -> None:
    """Refuse TOML values that no setting takes: dates, integers beyond 64 bits, texts of several lines, deep nesting.

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


def explain(error: ValidationError, of: type[Settings] = Preset) -> Iterator[str]:
    """Yield a line for each problem in a table: "key = value: problem.", with the nearest of unknown keys."""
    problems = error.errors(include_url=False)
    for problem in problems:
        place, kind = problem["loc"], problem["type"]
        if kind == "contradictions":
            for key, value, reason in problem["ctx"]["found"]:
                yield _line(f"{dotted(place)}.{key}".lstrip("."), value, reason)
            continue
        if kind == "too_short" and any(p["loc"][: len(place)] == place != p["loc"] for p in problems):
            continue  # only too short because of the entry that is refused anyway
        key = dotted(place[:-1] if place[-1:] == ("[key]",) else place)  # pydantic's mark where a key itself is wrong
        if kind == "extra_forbidden":
            yield f"{key}: unknown key; {nearest(str(place[-1]), _keys(of, place[:-1]))}"
        elif kind == "missing":
            yield f"{key}: is required and not there."
        elif kind == "string_pattern_mismatch":
            yield _line(key, problem["input"], "allowed are lower-case letters, digits, - and _ (it names a folder)")
        else:
            yield _line(key, problem["input"], problem["msg"].removeprefix("Value error, "))


def _line(key: str, value: object, reason: str) -> str:
    found = f"{key}: is not there; " if value is None else f"{key} = {shown(value)}: "
    return f"{found}{reason}" if reason.endswith(".") else f"{found}{reason}."


def _keys(kind: Any, place: Sequence[int | str]) -> list[str]:
    """Return the keys that the table at a place below the type `kind` may have."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Annotated, Union, UnionType):  # of a union with None
        return _keys(inner[0], place)
    if origin in (dict, tuple):
        return _keys(inner[1 if origin is dict else 0], place[1:])
    if place:
        return _keys(kind.model_fields[place[0]].annotation, place[1:])
    return [*kind.model_fields, *(["extends", "without"] if kind is Preset else [])]
