"""AutoAttack on trained runs: results/<preset>/autoattack.json, a row for each run and eps."""

import json
from pathlib import Path

from filelock import FileLock

from benchmark.records.schema import AutoAttackRow
from benchmark.runtime.errors import RunError
from benchmark.runtime.files import write_text

FILE = "autoattack.json"
STEPS, QUERIES = 100, 5000  # AutoAttack's standard


def key(row: AutoAttackRow) -> tuple[str, int, float, int, str]:
    """Return the arm, seed, eps, number of images and hash of the weights of a row."""
    return row["arm"], row["seed"], row["eps"], row["images"], row["weights"]


def add_row(path: Path, row: AutoAttackRow, lock: Path) -> None:
    """Add a row to the file, replacing one of the same arm, seed and eps; several processes may do so at once.

    Args:
        path: the file, which is made where it does not exist.
        row: the new row.
        lock: a file outside the results that only one process holds at a time.

    Raises:
        RunError: the existing file is damaged.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        rows = {(old["arm"], old["seed"], old["eps"]): old for old in read_rows(path)}
        rows[row["arm"], row["seed"], row["eps"]] = row
        lines = ",\n  ".join(json.dumps(rows[place]) for place in sorted(rows))
        write_text(path, f'{{\n"steps": {STEPS},\n"queries": {QUERIES},\n"rows": [\n  {lines}]\n}}\n')


def read_rows(path: Path) -> list[AutoAttackRow]:
    """Return the rows of a file, none where there is no file.

    Raises:
        RunError: it is damaged.
    """
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        if any(AutoAttackRow.__required_keys__ != row.keys() for row in rows):
            raise KeyError("a row has other fields")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} cannot be read ({error}). Delete it and repeat the command autoattack.") from error
    return list(rows)
