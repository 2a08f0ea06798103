"""One wrong value in a record, whatever it is: the record is refused by name, by every command that reads it."""

import json
from pathlib import Path
from typing import Any

import pytest
from records import planted, record_fuzz
from records.record_fuzz import Case, fuzz
from studies.saying import Say

from benchmark.records.store import read_study, record_path, studies_in

pytestmark = pytest.mark.usefixtures("elsewhere")
EVERY = 5


def test_wrong_values_are_refused_by_name(tmp_path: Path) -> None:
    counts, bad = fuzz(tmp_path, EVERY)
    assert not bad, "\n".join(bad)
    assert counts["refused"] > 200


def test_the_search_finds_what_it_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_fuzz.whole_record()
    planted.write(tmp_path, [record])
    assert record_fuzz.outcome(tmp_path, Case(("cost", "train_seconds"), 31.0), record) == "accepted"
    assert record_fuzz.outcome(tmp_path, Case(("cost", "train_seconds"), -1.0), record) == "refused"

    def break_down(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("benchmark.report.build.render", break_down)
    assert record_fuzz.outcome(tmp_path, Case(("cost", "train_seconds"), 31.0), record).startswith("KeyError")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1e999"])
def test_a_number_that_is_none_in_a_sealed_record_is_one_message_of_every_command(value: object, say: Say) -> None:
    record = record_fuzz.whole_record() | {"preset": "smoke", "arm": "sba"}
    path = record_path(Path("results"), "smoke", "sba", 1)
    path.parent.mkdir(parents=True)
    text = json.dumps(record_fuzz.changed(record, Case(("cost", "train_seconds"), value)))
    path.write_text(text.replace('"1e999"', "1e999"), encoding="utf-8")
    for command in (["report"], ["report", "--check"]):
        said = say(*command)
        assert said.code == 1
        assert said.has(str(path), "damaged", "Start its study again")
    assert "1 damaged" in say("status", "smoke", "--arms", "sba", "--seeds", "1").out


@pytest.mark.parametrize("name", ["seed-0 (1).json", "seed-00.json", "Seed-0.json", "a.JSON"])
def test_a_copy_beside_a_record_is_refused_by_name(name: str, say: Say) -> None:
    """A sync tool's copy: whichever the folder lists last would decide."""
    planted.write(Path("results"), planted.study({"sba": [934], "standard": [900], "mixup": [890]}))
    copied: Any = planted.record("sba", 0, 250)
    planted.write(Path("copied"), [copied])
    stray = Path("results/planted/sba") / name
    stray.write_bytes(record_path(Path("copied"), "planted", "sba", 0).read_bytes())
    said = say("report")
    assert said.code == 1
    assert said.has(str(stray), "seed-<n>.json", "move or delete it")
    assert not Path("RESULTS.md").exists()


@pytest.mark.parametrize("hidden", [".Trash-0/files", "planted/.sba", ".planted/sba"])
def test_records_in_hidden_folders_are_none(hidden: str) -> None:
    planted.write(Path("results"), planted.study({"sba": [934], "standard": [900], "mixup": [890]}))
    (Path("results") / hidden).mkdir(parents=True)
    (Path("results") / hidden / "seed-0.json").write_bytes(Path("results/planted/sba/seed-0.json").read_bytes())
    assert studies_in(Path("results")) == ["planted"]
    assert len(read_study(Path("results"), "planted")) == 3
