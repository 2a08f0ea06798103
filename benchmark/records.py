"""Records: one JSON file a run, small enough to commit, read by statistics and report without torch."""

import base64
import binascii
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import RunError, UsageError
from benchmark.files import write_whole
from benchmark.schema import SCHEMA, Record


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

    Raises:
        ValueError: a number is not finite.
    """
    lines = ",\n".join(f"{json.dumps(key)}: {_format_value(value)}" for key, value in record.items())
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


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        RunError: the file is damaged or of another schema; the message names it.
    """
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(f"record {path} cannot be read ({error}). Delete it to repeat its run.") from error
    found = record.get("schema") if isinstance(record, dict) else None
    if found == 1:
        record, found = _upgraded(record), SCHEMA
    missing = sorted(Record.__required_keys__ - record.keys()) if found == SCHEMA else []
    if found != SCHEMA or missing:
        detail = (
            f"lacks {', '.join(missing)}" if missing else f"has schema {found!r}, this version reads 1 and {SCHEMA}"
        )
        raise RunError(f"record {path} {detail}. Delete it to repeat its run.")
    return record


def _upgraded(record: Record) -> Record:
    """Return a record of schema 1, which had only Linf attacks and no checks, as one of today's."""
    upgraded: Any = {**record, "schema": SCHEMA, "calibration": None, "checks": []}
    if upgraded.get("robustness"):
        upgraded["robustness"] = {**upgraded["robustness"], "noise": None, "corruptions": []}
    return upgraded  # type: ignore[no-any-return]  # complete but for what `read_record` finds missing


def read_study(results: Path, preset: str) -> list[Record]:
    """Read all records of a preset, sorted by arm and seed.

    Raises:
        RunError: a record is damaged.
    """
    paths = (results / preset).glob("*/seed-*.json")
    return sorted((read_record(path) for path in paths), key=lambda record: (record["arm"], record["seed"]))
