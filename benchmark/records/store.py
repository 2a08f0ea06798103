"""The files of a study, small enough to commit, read by statistics and report without torch.

A record is one JSON file a run. Tables lie beside them, results/<preset>/<file>: other packages' attacks, AutoAttack, a
search's trials.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from benchmark.records.consistency import contradictions
from benchmark.records.schema import SCHEMA, AutoAttackRow, CrosscheckRow, Record
from benchmark.runtime.errors import RunError, UsageError, shorten
from benchmark.runtime.files import checksum, write_text, write_whole, writing_to

RECORD = TypeAdapter(Record)
RECORD_NAME = re.compile(r"seed-(0|[1-9][0-9]*)\.json")


class DamagedRecordError(RunError):
    """A record that cannot be read, or was changed after it was written; `reason` is one line."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"record {path} is damaged ({reason}). Start its study again: the file is moved aside and its run repeated."
            " If the study has no such run, delete the file."
        )
        self.reason = reason


def record_path(results: Path, preset: str, arm: str, seed: int) -> Path:
    """Return the path of a run's record: results/<preset>/<arm>/seed-<n>.json."""
    return results / preset / arm / f"seed-{seed}.json"


def write_record(path: Path, record: Record, check: Callable[[], object] = lambda: None) -> None:
    """Write a record whole or not at all; `check` is that of `benchmark.runtime.files.write_whole`.

    Raises:
        UsageError: it cannot be written.
    """
    with writing_to(path.parent):
        write_whole(path, lambda file: file.write(format_record(record).encode()), check=check)


def format_record(record: Record) -> str:
    """Return a record as JSON (`format_fields`); the last field, sha256, is the checksum of the others.

    Raises:
        ValueError: a number is not finite.
    """
    return format_fields({**record, "sha256": checksum(record)})


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


def read_record(path: Path) -> Record:
    """Read results/<preset>/<arm>/seed-<n>.json: a whole record, which agrees with itself and is of this run.

    Raises:
        DamagedRecordError: it is no record, not the one that was written, or one of another run; the message names it.
        RunError: it is of another schema, or the system does not let it be read.
    """
    try:
        record = _parsed(path)
        seal, found = record.pop("sha256", None), checksum(record)
        if seal is not None and seal != found:
            raise ValueError("its checksum differs")
        schema = record.get("schema")
        if type(schema) is not int:
            raise ValueError("it is no record")
        if schema not in (1, SCHEMA):
            raise RunError(f"record {path} has schema {schema}; this version reads 1 and {SCHEMA}.")
        if seal is None and _is_sealed(record):
            raise ValueError("its checksum is missing")
        whole = RECORD.validate_python(_upgraded(record) if schema == 1 else record)
        if schema == SCHEMA and whole["status"] == "done" and whole["calibration"] is None:
            raise ValueError("it has no calibration")
        if wrong := next(contradictions(whole), None):
            raise ValueError(wrong)
        there = record_path(path.parents[2], whole["preset"], whole["arm"], whole["seed"])
        if there != path:
            raise ValueError(f"it is the record of {there.relative_to(path.parents[2])}")
    except ValidationError as error:
        raise DamagedRecordError(path, first_problem(error)) from error
    except FileNotFoundError as error:  # another worker has moved it aside
        raise DamagedRecordError(path, "it is not there") from error
    except OSError as error:  # of the disk, the network or the process, which may pass: the record may be whole
        raise RunError(f"record {path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise DamagedRecordError(path, shorten(str(error))) from error
    return whole


def _parsed(path: Path) -> dict[str, Any]:
    """Read a JSON object, also behind a byte order mark.

    Raises:
        ValueError: it is none; or a key occurs twice, or a number is none of JSON.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key occurs twice")
        return dict(pairs)

    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ValueError("it is no record")
    return values


def first_problem(error: ValidationError) -> str:
    """Return the first value that a type refused, in one line."""
    problem = error.errors(include_url=False)[0]
    where = shorten(".".join(map(str, problem["loc"])))
    return f"{where} = {shorten(repr(problem['input']))}: {problem['msg']}"


def _is_sealed(record: dict[str, Any]) -> bool:
    """Return whether the code that wrote a record seals them; older code does not record `deterministic`."""
    environment = record.get("environment")
    return "final_weights_hash" in record or (isinstance(environment, dict) and "deterministic" in environment)


def _upgraded(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of schema 1, which had only Linf attacks and no checks, as one of today's.

    Raises:
        ValueError: it has what schema 1 did not have.
    """
    upgraded = record | {"schema": SCHEMA, "calibration": None, "checks": []}
    robustness = record.get("robustness")
    newer = [key for key in record if key in ("calibration", "checks")]
    if isinstance(robustness, dict):
        newer += [key for key in robustness if key in ("noise", "corruptions")]
        upgraded["robustness"] = robustness | {"noise": None, "corruptions": []}
    if newer:
        raise ValueError(f"schema 1 has no {', '.join(newer)}")
    return upgraded


def read_study(results: Path, preset: str) -> list[Record]:
    """Read all records of a preset, sorted by arm and seed.

    Raises:
        RunError: a record is damaged, or a file has the name of none.
    """
    records = [read_record(path) for path in record_files(results, preset)]
    return sorted(records, key=lambda record: (record["arm"], record["seed"]))


def record_files(results: Path, preset: str) -> list[Path]:
    """Return the files of a preset's records, in no order; those in hidden folders, such as a trash, are none.

    Raises:
        RunError: a JSON file beside them has the name of no record, as a copy that some other program made.
    """
    files = [path for path in (results / preset).glob("[!.]*/[!.]*") if path.suffix.lower() == ".json"]
    strays = sorted(path for path in files if not RECORD_NAME.fullmatch(path.name))
    if strays:
        more = f" and {len(strays) - 1} more" if strays[1:] else ""
        raise RunError(
            f"{strays[0]}{more}: a record is named seed-<n>.json, so it is unclear which run this is of. It may be a "
            "copy that a backup or a sync program made: move or delete it."
        )
    return files


def studies_in(results: Path) -> list[str]:
    """Return the presets that have records, or files that may be meant as such."""
    return sorted(
        {path.parents[1].name for path in results.glob("[!.]*/[!.]*/seed-*") if path.suffix.lower() == ".json"}
    )


def refuse_other_depth(results: Path, depths: Iterable[int] = (0, 1)) -> None:
    """Refuse a folder without studies, but with records at other depths than 2, that of results/<preset>/<arm>/.

    Raises:
        UsageError: at depth 1, for example, it is the folder of a preset; the message has the right folder.
    """
    files = (path for depth in depths for path in results.glob(f"{'[!.]*/' * depth}seed-*.json"))
    record = next((path for path in files if RECORD_NAME.fullmatch(path.name)), None)  # no journal of an evaluation
    if record and not studies_in(results):
        above = record.resolve().parents
        raise UsageError(
            f"{results} holds records of the preset {above[1].name}, but not in <preset>/<arm>/; give the folder that "
            f"holds those of all presets: --results {above[2]}"
        )


# Tables beside the records.


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
