"""Records: bits there and back, whole files, readable diffs, damage named."""

import hashlib
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import planted
from records.record_fuzz import whole_record

from benchmark.records.consistency import disagreements, shared
from benchmark.records.outcomes import pack_bits, unpack_bits
from benchmark.records.store import (
    DamagedRecordError,
    format_record,
    read_record,
    read_study,
    record_path,
    write_record,
)
from benchmark.runtime.errors import UsageError


@given(st.lists(st.booleans(), max_size=70))
def test_bits_come_back(values: list[bool]) -> None:
    assert unpack_bits(pack_bits(values), len(values)).tolist() == values


@pytest.mark.parametrize("text", ["AAA", "not base64!", "AAAA"])
def test_bits_of_another_length_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="outcome bits"):
        unpack_bits(text, 8)


def test_a_record_comes_back(tmp_path: Path) -> None:
    record = planted.record("sba", 3, 900)
    path = record_path(tmp_path, "planted", "sba", 3)
    write_record(path, record)
    assert path == tmp_path / "planted" / "sba" / "seed-3.json"
    assert read_record(path) == record
    assert [r["seed"] for r in read_study(tmp_path, "planted")] == [3]


def test_a_record_is_json_with_a_line_for_each_field_epoch_and_attack() -> None:
    record = planted.record("sba", 0, 900)
    text = format_record(record)
    written = json.loads(text)
    assert written.pop("sha256") == hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    assert written == record
    lines = text.splitlines()
    assert sum('"train_loss"' in line for line in lines) == len(record["epochs"])
    assert sum('"attack"' in line for line in lines) == len(
        record["robustness"]["attacks"] if record["robustness"] else []
    )


def test_a_number_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    record = planted.record("sba", 0, 900)
    record["cost"]["train_seconds"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(tmp_path / "r.json", record)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"schema": 1, "preset"', "cannot be read"),
        ("[]", "it is no record"),
        ("[" * 100_000, "cannot be read"),
        ('{"schema": 1, "preset": "p"}', "arm = .*Field required"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_damaged_record_is_named_with_the_way_out(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "seed-0.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DamagedRecordError, match=rf"seed-0\.json is damaged .*{said}.*Start its study again"):
        read_record(path)


@pytest.mark.parametrize(
    ("pattern", "replacement", "said"),
    [
        (r',\n"sha256": "\w+"', "", "its checksum is missing"),
        ('"seed": 1,', '"seed": 0,\n"seed": 1,', "a key occurs twice"),
    ],
)
def test_a_record_without_its_seal_or_with_a_key_twice_is_damaged(
    pattern: str, replacement: str, said: str, tmp_path: Path
) -> None:
    path = record_path(tmp_path, "planted", "sba", 1)
    planted.write(tmp_path, [whole_record()])
    text, changes = re.subn(pattern, replacement, path.read_text(encoding="utf-8"))
    assert changes == 1
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DamagedRecordError, match=said):
        read_record(path)


@pytest.mark.parametrize(("arm", "seed"), [("sba", 1), ("mixup", 0)])
def test_a_record_that_lies_at_another_runs_place_is_damaged(arm: str, seed: int, tmp_path: Path) -> None:
    planted.write(tmp_path, [planted.record("sba", 0, 934), planted.record(arm, seed, 890)])
    there = record_path(tmp_path, "planted", arm, seed)
    there.write_bytes(record_path(tmp_path, "planted", "sba", 0).read_bytes())
    with pytest.raises(DamagedRecordError, match=r"it is the record of planted/sba/seed-0\.json"):
        read_record(there)


def test_any_bit_that_turned_in_a_record_is_found(tmp_path: Path) -> None:
    path, bits = record_path(tmp_path, "planted", "sba", 0), random.Random(0)
    planted.write(tmp_path, [planted.record("sba", 0, 900)])
    whole, untouched = path.read_bytes(), read_record(path)
    for _ in range(500):
        turned = bytearray(whole)
        turned[bits.randrange(len(whole))] ^= 1 << bits.randrange(8)
        path.write_bytes(turned)
        try:
            assert read_record(path) == untouched  # white space, or 1.0 for 1e0
        except DamagedRecordError:
            continue


def test_a_byte_order_mark_and_line_ends_of_windows_are_no_damage(tmp_path: Path) -> None:
    path = record_path(tmp_path, "planted", "sba", 0)
    planted.write(tmp_path, [planted.record("sba", 0, 900)])
    whole = read_record(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_record(path) == whole


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to .*file.*--results DIR"):
        write_record(tmp_path / "file" / "seed-0.json", planted.record("sba", 0, 900))


def test_packing_is_numpys_big_endian_order() -> None:
    assert pack_bits(np.array([True] + [False] * 7)) == "gA=="


def test_records_of_compiled_and_other_trainings_do_not_stand_side_by_side() -> None:
    first, compiled = planted.record("erm", 0, 900), planted.record("erm", 1, 900)
    assert not list(disagreements([("a", shared(compiled)), ("b", shared(first))]))
    compiled["environment"]["compiled"] = "on"
    assert list(disagreements([("a", shared(compiled)), ("b", shared(first))])) == ["compiled: on in a; off in b"]
