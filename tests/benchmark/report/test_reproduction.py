"""What it takes to repeat a study: every command beside its records, and the commit of every run."""

import json
from pathlib import Path

from pages import planted_site
from records import planted
from records.attacked_records import COUNTS

from benchmark.analysis.study import load_study
from benchmark.records.rows import CROSSCHECK, read_rows
from benchmark.report.reproduction import commands, commits, environment_alike, environment_table


def test_trials_come_before_the_study_and_attacks_after_it(tmp_path: Path) -> None:
    planted_site.write_extras(tmp_path)
    rows = json.loads((tmp_path / "autoattack.json").read_text())["rows"]
    study = load_study("planted", planted.study(COUNTS), rows)
    assert commands(study, tmp_path, {"planted": read_rows(tmp_path, CROSSCHECK)}) == [
        "benchmark run p --tuning",
        "benchmark tune p",
        "benchmark run planted",
        "benchmark crosscheck planted --arms sba,erm --seeds 0",
        "benchmark autoattack planted --arms sba,standard,mixup --seeds 0,1,2 --eps 0.5,1 --images 200",
    ]
    assert commands(load_study("planted", planted.study(COUNTS)), tmp_path / "other", {}) == ["benchmark run planted"]


def test_every_run_is_listed_at_its_commit() -> None:
    records = planted.study(COUNTS)
    for record in records:
        record["environment"]["commit"] = "old" if record["seed"] < 2 and record["arm"] != "mixup" else "new"
    assert commits(load_study("planted", records)) == {
        "new": {"mixup": [0, 1, 2, 3, 4], "sba": [2, 3, 4], "standard": [2, 3, 4]},
        "old": {"sba": [0, 1], "standard": [0, 1]},
    }


def test_what_all_runs_share_is_named_once_and_the_table_has_the_rest() -> None:
    records = planted.study(COUNTS)
    for record in records:
        record["environment"] = {"date": f"2026-01-0{record['seed'] + 1}", "torch": "2.0", "threads": "1"}
    records[0]["environment"]["threads"] = "2"
    records[0]["environment"]["processes"] = "4"
    study = load_study("planted", records)
    assert environment_alike([study]) == {"torch": "2.0"}
    assert environment_table([study]).rows[1:] == [["threads", "1, 2"], ["processes", "-, 4"]]
