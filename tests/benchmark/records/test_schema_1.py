"""Records of schema 1 are read and reported beside newer ones."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from records import planted
from records.attacked_records import COUNTS, rows

from benchmark.analysis.study import Study, load_study
from benchmark.records.schema import Record
from benchmark.records.store import DamagedRecordError, read_record, read_study, record_path
from benchmark.report.attack_tables import robustness_table, undisturbed_table
from benchmark.runtime.errors import RunError

# Records of schema 1.


def of_schema_1(record: Record) -> dict[str, Any]:
    """A record as it was written before calibration, checks, noise and corruptions were."""
    old: dict[str, Any] = {key: value for key, value in record.items() if key not in ("calibration", "checks")}
    old["schema"] = 1
    if old["robustness"] is not None:
        newer = ("noise", "corruptions")
        old["robustness"] = {key: value for key, value in old["robustness"].items() if key not in newer}
    return old


def write_raw(folder: Path, record: dict[str, Any]) -> Path:
    """Write a record of any schema where a study keeps it."""
    path = record_path(folder / "results", record["preset"], record["arm"], record["seed"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def test_a_record_of_schema_1_is_read_as_one_without_what_it_lacks(tmp_path: Path) -> None:
    new = planted.record("sba", 0, 870)
    found = read_record(write_raw(tmp_path, of_schema_1(new)))
    assert new["robustness"] is not None
    without = {**new["robustness"], "noise": None, "corruptions": []}
    assert found == {**new, "calibration": None, "checks": [], "robustness": without}
    broken = planted.diverged("sba", 1)
    found = read_record(write_raw(tmp_path, of_schema_1(broken)))
    assert found == {**broken, "calibration": None, "checks": []}
    assert [record["seed"] for record in read_study(tmp_path / "results", "planted")] == [0, 1]


def study(folder: Path) -> Study:
    return load_study("planted", read_study(folder / "results", "planted"))


def test_a_study_of_schema_1_has_its_tables_without_the_newer_ones(tmp_path: Path) -> None:
    for record in planted.study(COUNTS):
        write_raw(tmp_path / "old", of_schema_1(record))
    planted.write(tmp_path / "new" / "results", planted.study(COUNTS))
    old, new = study(tmp_path / "old"), study(tmp_path / "new")
    assert undisturbed_table(old) is None
    assert undisturbed_table(new) is not None
    assert robustness_table(old) == robustness_table(new)
    assert rows(robustness_table(old))["sba"]["1"] == "5.0"


def test_runs_of_both_schemas_make_one_study(tmp_path: Path) -> None:
    for record in planted.study(COUNTS):
        if record["arm"] == "mixup":
            write_raw(tmp_path, of_schema_1(record))
        else:
            planted.write(tmp_path / "results", [record])
    found = rows(undisturbed_table(study(tmp_path)))
    assert set(found["mixup"].values()) == {"-"}
    assert "-" not in found["standard"].values()


def test_an_unknown_schema_is_refused_by_the_files_name(tmp_path: Path) -> None:
    planted.write(tmp_path / "results", planted.study(COUNTS))
    later: dict[str, Any] = {**planted.record("sba", 3, 870), "schema": 3}
    path = write_raw(tmp_path, later)
    message = f"record {re.escape(str(path))} has schema 3; this version reads 1 and 2"
    with pytest.raises(RunError, match=message) as raised:
        read_record(path)
    assert not isinstance(raised.value, DamagedRecordError)  # whose run would be repeated
    with pytest.raises(RunError, match=message):
        study(tmp_path)
