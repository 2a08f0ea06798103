"""Records: one JSON file a run, small enough to commit, read by statistics and report without torch."""

import base64
import binascii
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.records.schema import SCHEMA, Record
from benchmark.runtime.errors import RunError, UsageError
from benchmark.runtime.files import checksum, write_whole


class DamagedRecordError(RunError):
    """A record that cannot be read, or is not what was written; `reason` says why, in one line."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"record {path} is damaged ({reason}). Start its study again: the file is moved aside and its run repeated."
        )
        self.reason = reason


def pack_bits(correct: Sequence[bool] | NDArray[np.bool_]) -> str:
    """Pack n booleans into base64 text, eight a byte, first boolean in the highest bit."""
    return base64.b64encode(np.packbits(np.asarray(correct, dtype=bool)).tobytes()).decode("ascii")


def unpack_bits(text: str, n: int) -> NDArray[np.bool_]:
    """Return the (n,) booleans that `pack_bits` packed.

    Raises:
        ValueError: the text is no base64 of exactly n bits.
    """
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except binascii.Error as error:
        raise ValueError(f"outcome bits are not base64: {error}") from error
    if len(packed) != (n + 7) // 8:
        raise ValueError(f"outcome bits hold {len(packed)} bytes, {n} images need {(n + 7) // 8}")
    return np.unpackbits(packed, count=n).astype(bool)


def record_path(results: Path, preset: str, arm: str, seed: int) -> Path:
    """Return where the record of a run lives: results/<preset>/<arm>/seed-<n>.json."""
    return results / preset / arm / f"seed-{seed}.json"


def write_record(path: Path, record: Record) -> None:
    """Write a record whole or not at all.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        write_whole(path, lambda file: file.write(format_record(record).encode()))
    except OSError as error:
        raise unwritable(path.parent, error) from error


def format_record(record: Record) -> str:
    """Return a record as JSON, a line for each field and for each entry of a list of tables: small, and good in diffs.

    The last field, sha256, is the checksum of the others.

    Raises:
        ValueError: a number is not finite.
    """
    lines = ",\n".join(
        f"{json.dumps(key)}: {_format_value(value)}" for key, value in (*record.items(), ("sha256", checksum(record)))
    )
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


def unwritable(folder: Path, error: OSError | RuntimeError) -> UsageError:
    """Return the error for a folder that cannot be written, with the way out."""
    reason = error.strerror if isinstance(error, OSError) else None
    return UsageError(
        f"cannot write to {folder}: {reason or error}. "
        "Free space or fix its permissions, or choose another folder with --results DIR (records) "
        "or --runs DIR (checkpoints)."
    )


def check_writable(*folders: Path) -> None:
    """Refuse folders that cannot be written before hours are spent.

    Raises:
        UsageError: names the folder.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise unwritable(folder, error) from error


def read_record(path: Path) -> Record:
    """Read one record; those of older code have no checksum.

    Raises:
        DamagedRecordError: it is no record, or not the one that was written; the message names it.
        RunError: it is of another schema.
    """
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedRecordError(path, f"it cannot be read: {error}") from error
    if not isinstance(record, dict) or "schema" not in record:
        raise DamagedRecordError(path, "it is no record")
    seal = record.pop("sha256", None)
    if seal is not None and seal != checksum(record):
        raise DamagedRecordError(path, "its checksum differs")
    if record["schema"] not in (1, SCHEMA):
        raise RunError(f"record {path} has schema {record['schema']!r}; this version reads 1 and {SCHEMA}.")
    whole: Any = _upgraded(record) if record["schema"] == 1 else record
    if wrong := sorted((Record.__required_keys__ ^ whole.keys()) - Record.__optional_keys__):
        raise DamagedRecordError(path, f"fields missing or unknown: {', '.join(wrong)}")
    return whole  # type: ignore[no-any-return]  # with the keys of a record


def _upgraded(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of schema 1, which had only Linf attacks and no checks, as one of today's."""
    upgraded = {**record, "schema": SCHEMA, "calibration": None, "checks": []}
    if upgraded.get("robustness"):
        upgraded["robustness"] = {**upgraded["robustness"], "noise": None, "corruptions": []}
    return upgraded


def read_study(results: Path, preset: str) -> list[Record]:
    """Read all records of a preset, sorted by arm and seed.

    Raises:
        RunError: a record is damaged.
    """
    paths = (results / preset).glob("*/seed-*.json")
    return sorted((read_record(path) for path in paths), key=lambda record: (record["arm"], record["seed"]))
