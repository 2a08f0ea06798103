"""Tables beside a study's records, results/<preset>/<file>: other packages' attacks, AutoAttack, a search's trials."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from benchmark.records.schema import AutoAttackRow, CrosscheckRow
from benchmark.runtime.errors import RunError, shorten
from benchmark.runtime.files import write_text, writing_to


class RowsFile(NamedTuple):
    """A file of rows: its name, the type of a row, the fields that distinguish rows, and the command that writes it."""

    name: str
    row: Any
    key: tuple[str, ...]
    command: str


AUTOATTACK = RowsFile("autoattack.json", AutoAttackRow, ("arm", "seed", "eps"), "the command autoattack")
CROSSCHECK = RowsFile(
    "crosscheck.json",
    CrosscheckRow,
    ("arm", "seed", "norm", "eps", "attack", "steps", "package"),
    "`nox -s crosscheck`",
)


def read_rows(folder: Path, file: RowsFile) -> list[Any]:
    """Return the rows beside a study's records, none where there is no file.

    Raises:
        RunError: it is damaged.
    """
    path = folder / file.name
    return list(read_table(path, file.row, file.command)["rows"]) if path.exists() else []


def read_table(path: Path, row: Any, command: str) -> dict[str, Any]:
    """Return the fields of a file; its `rows` have the type `row`.

    Raises:
        RunError: it is damaged.
    """
    try:
        fields = dict(json.loads(path.read_text(encoding="utf-8-sig")))
        return fields | {"rows": TypeAdapter(list[row]).validate_python(fields["rows"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else shorten(str(error))
        raise RunError(f"{path} cannot be read ({reason}). Delete it and repeat {command}.") from error


def first_problem(error: ValidationError) -> str:
    """Return the first value that a type refused, in one line."""
    problem = error.errors(include_url=False)[0]
    where = shorten(".".join(map(str, problem["loc"])))
    return f"{where} = {shorten(repr(problem['input']))}: {problem['msg']}"


def add_rows(folder: Path, file: RowsFile, rows: Sequence[Mapping[str, Any]], lock: Path, **fields: object) -> None:
    """Add rows beside a study's records, each in the place of an older one of the same key.

    Several processes may do so at once.

    Args:
        folder: of the study's records, made where it does not exist.
        file: the file.
        rows: the new rows.
        lock: a file outside the results that only one process holds at a time.
        fields: of the file, beside its rows.

    Raises:
        RunError: the existing file is damaged.
        UsageError: it cannot be written.
    """
    with writing_to(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
    with writing_to(lock), FileLock(lock), writing_to(folder):
        found = {tuple(row[key] for key in file.key): row for row in (*read_rows(folder, file), *rows)}
        write_text(folder / file.name, format_fields(fields | {"rows": [found[key] for key in sorted(found)]}))


def format_fields(fields: Mapping[str, object]) -> str:
    """Return fields as JSON, a line for each field and for each entry of a list of tables: small, and good in diffs.

    Raises:
        ValueError: a number is not finite.
    """
    lines = ",\n".join(f"{json.dumps(key)}: {_format_value(value)}" for key, value in fields.items())
    return f"{{\n{lines}\n}}\n"


def _format_value(value: object) -> str:
    if isinstance(value, dict) and any(
        isinstance(item, list) and item and isinstance(item[0], dict) for item in value.values()
    ):
        fields = ",\n ".join(f"{json.dumps(key)}: {_format_value(item)}" for key, item in value.items())
        return f"{{\n {fields}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n  " + ",\n  ".join(json.dumps(item, allow_nan=False) for item in value) + "]"
    return json.dumps(value, allow_nan=False)
