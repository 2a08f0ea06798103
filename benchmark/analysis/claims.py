"""The claims of the paper, and our own questions: read from claims.toml, which states them and their rules."""

import json
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ValidationError

from benchmark.runtime.errors import UsageError, nearest
from benchmark.settings.load import check_plain, explain, preset_names, refusal
from benchmark.settings.values import Contradiction, Distinct, Endpoint, NotEmpty, Settings, Text, Title
from benchmark.settings.variants import study_of

FILE = Path(__file__).with_name("claims.toml")
OURS = "ours"  # the source of a claim that the paper does not make

Count = Literal["train_flops", "train_gradients"]


class Claim(Settings):
    """One claim: the endpoints (or counts) that decide it, the arms that it is about, and where it is made.

    `also`: arms that decide as well where a study named them. `studies`: the two that decide it together, for a claim
    that no study decides by itself.
    """

    name: Title
    says: Text
    source: Text
    against: Annotated[tuple[Text, ...], NotEmpty, Distinct]
    also: Annotated[tuple[Text, ...], Distinct] = ()
    studies: Annotated[tuple[Text, ...], Distinct] = ()
    decides: Annotated[tuple[Endpoint, ...], Distinct] = ()
    counts: Annotated[tuple[Count, ...], Distinct] = ()

    def _contradictions(self) -> Iterator[Contradiction]:
        known = _file().arms
        for key, arms in (("against", self.against), ("also", self.also)):
            for arm in (arm for arm in arms if arm not in known):
                yield key, arm, f"no such arm in the table [arms]; {nearest(arm, known)}"
        for preset in (preset for preset in self.studies if study_of(preset) not in preset_names()):
            yield "studies", preset, f"there is no preset of this name; {nearest(preset, preset_names())}"
        if bool(self.decides) == bool(self.counts):
            yield "decides", list(self.decides), "name either endpoints here or counts in `counts`"
        if self.studies and (len(self.studies), len(self.decides), len(self.against)) != (2, 1, 1):
            yield "studies", list(self.studies), "name two, which compare one arm on one endpoint, or none"


class _Expected(Settings):
    """The settings that an arm of a claim must have; others may differ."""

    method: Text
    augmentation: Literal["none", "standard"] | None = None
    settings: dict[str, Any] = {}  # noqa: RUF012  # pydantic copies it


class _File(Settings):
    """claims.toml: the arms of the claims, values that older records leave out, and the tables of the claims."""

    arms: dict[str, _Expected]
    before: dict[str, Any]
    claim: tuple[dict[str, Any], ...]


@cache
def _file() -> _File:
    try:
        tables = tomllib.loads(FILE.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"cannot read the claims {FILE}: {error}.") from error
    check_plain(tables, str(FILE))
    try:
        return _File.model_validate_json(json.dumps(tables))
    except ValidationError as error:
        raise refusal(f"{FILE}: tables that are not allowed", list(explain(error, _File))) from error


@cache
def load_claims() -> tuple[Claim, ...]:
    """Return the claims in the order of the file.

    Raises:
        UsageError: the file is no TOML, or a claim in it is not allowed; with the claim's name and the key.
    """
    claims, problems, tables = dict[str, Claim](), list[str](), _file().claim
    for number, table in enumerate(tables, start=1):
        name = table.get("name", f"number {number}")
        try:
            claims[name] = Claim.model_validate_json(json.dumps(table))
        except ValidationError as error:
            problems += [f"claim {name!r}: {line}" for line in explain(error, Claim)]
    names = [table.get("name") for table in tables]
    problems += [f"claim {name!r}: two claims have this name." for name in claims if names.count(name) > 1]
    if problems:
        raise refusal(f"{FILE}: claims that are not allowed", problems)
    return tuple(claims.values())


def is_claimed(arm: str, settings: dict[str, Any]) -> bool:
    """Return whether a record's arm has the method, augmentation and settings that the claims expect of its name."""
    return _matches(settings, _file().arms[arm].model_dump(exclude_unset=True))


def _matches(settings: dict[str, Any], expected: dict[str, Any]) -> bool:
    before = _file().before
    return all(
        _matches(settings.get(key, {}), value)
        if isinstance(value, dict)
        else settings.get(key, before.get(key)) == value
        for key, value in expected.items()
    )
