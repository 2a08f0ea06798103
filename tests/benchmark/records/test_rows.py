"""Rows beside records: sorted, a newer one in the place of an older; damaged files are named with their command."""

import json
from pathlib import Path
from typing import Any

import pytest
from pages import planted_site

from benchmark.analysis.trials import FILE, read_trials
from benchmark.records.store import AUTOATTACK, CROSSCHECK, RowsFile, add_rows, read_rows
from benchmark.runtime.errors import RunError, UsageError


def test_rows_are_sorted_and_a_newer_one_takes_the_place_of_an_older(tmp_path: Path) -> None:
    row: Any = planted_site.autoattack_row("b", 1, 120, 100)
    lock = tmp_path / "runs" / "lock"
    for changes in ({}, {"arm": "a"}, {"seed": 0}, {"images": 199, "robust": 0}):
        add_rows(tmp_path / "p", AUTOATTACK, [row | changes], lock, steps=100)
    found = [(r["arm"], r["seed"], r["images"]) for r in read_rows(tmp_path / "p", AUTOATTACK)]
    assert found == [("a", 1, 200), ("b", 0, 200), ("b", 1, 199)]
    text = (tmp_path / "p" / AUTOATTACK.name).read_text()
    assert json.loads(text)["steps"] == 100
    assert sum(line.startswith('  {"arm"') for line in text.splitlines()) == 3
    assert read_rows(tmp_path / "other", AUTOATTACK) == []
    (tmp_path / "p" / AUTOATTACK.name).write_text(text, encoding="utf-8-sig")
    assert len(read_rows(tmp_path / "p", AUTOATTACK)) == 3


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to .*p"):
        add_rows(tmp_path / "p", AUTOATTACK, [planted_site.autoattack_row("b", 1, 120, 100)], tmp_path / "lock")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / AUTOATTACK.name).mkdir()
    with pytest.raises(RunError, match=r"autoattack\.json cannot be read .*Is a directory"):
        read_rows(tmp_path, AUTOATTACK)
    (tmp_path / "lock").mkdir()
    with pytest.raises(UsageError, match=r"cannot write to .*lock: Is a directory"):
        add_rows(tmp_path, CROSSCHECK, [], tmp_path / "lock")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        pytest.param("[" * 100_000, id="deep"),
        '{"row": []}',
        '{"rows": 1}',
        '{"rows": [{"arm": "a"}]}',
    ],
)
@pytest.mark.parametrize("file", [AUTOATTACK, CROSSCHECK, RowsFile(FILE, None, (), "`nox -s tuning`")])
def test_a_damaged_file_is_named_with_the_command_that_writes_it(file: RowsFile, text: str, tmp_path: Path) -> None:
    (tmp_path / file.name).write_text(text)
    with pytest.raises(RunError, match=rf"{file.name} cannot be read .*Delete it and repeat {file.command}"):
        read_rows(tmp_path, file) if file.row else read_trials(tmp_path / file.name)


@pytest.mark.parametrize("wrong", [{"steps": "20"}, {"images": None}, {"new": 1}, {"eps": -1.0}])
def test_a_row_with_a_wrong_value_is_damage(tmp_path: Path, wrong: dict[str, object]) -> None:
    planted_site.write_extras(tmp_path)
    fields = json.loads((tmp_path / CROSSCHECK.name).read_text())
    assert len(read_rows(tmp_path, CROSSCHECK)) == len(fields["rows"]) == 3
    fields["rows"][1] |= wrong
    (tmp_path / CROSSCHECK.name).write_text(json.dumps(fields))
    with pytest.raises(RunError, match=next(iter(wrong))):
        read_rows(tmp_path, CROSSCHECK)
