"""Both modes side by side: the values of both studies, and nothing where one of them was not run."""

from pathlib import Path

import planted

from benchmark.analysis.study import load_study
from benchmark.records.schema import Record
from benchmark.report.build import render
from benchmark.report.compute_report import section, twin
from benchmark.report.tables import Table

COUNTS = {"sba": [870, 872, 868, 871, 869], "standard": [858, 861, 857, 862, 857], "mixup": [860] * 5}


def in_compute_mode(counts: dict[str, list[int]]) -> list[Record]:
    records = planted.study(counts)
    for record in records:
        record["preset"], record["settings"]["compute"] = "planted_compute", True
        record["cost"]["train_flops"] = 2 * 10**12
    return records


def test_every_arm_stands_with_its_values_of_both_modes() -> None:
    epochs = load_study("planted", planted.study(COUNTS))
    compute = load_study("planted_compute", in_compute_mode({"sba": [851, 853, 849, 852, 850], "standard": [860] * 5}))
    assert twin(epochs, [epochs, compute]) is compute
    assert twin(compute, [epochs, compute]) is None
    table = section(epochs, compute)[-1]
    assert isinstance(table, Table)
    rows = {row[0]: list(row[1:]) for row in table.rows}
    assert rows["`sba`"] == ["5", "1.50x", "87.00", "0.16", "20.00", "5", "1.00x", "85.10", "0.16", "20.00"]
    assert rows["`standard`"][5:8] == ["5", "1.00x", "86.00"]
    assert rows["`mixup`"][5:] == ["-"] * 5
    assert len(table.headers) == 11


def test_without_compute_mode_there_is_no_table() -> None:
    epochs = load_study("planted", planted.study(COUNTS))
    assert section(epochs, twin(epochs, [epochs])) == []


def test_the_report_says_how_to_repeat_compute_mode(tmp_path: Path) -> None:
    planted.write(tmp_path / "results", [*planted.study(COUNTS), *in_compute_mode(COUNTS)])
    text = render(tmp_path / "results", tmp_path / "RESULTS.md")[tmp_path / "RESULTS.md"]
    assert text.count("### Equal epochs beside equal compute") == 1
    assert "    python -m benchmark run planted --compute\n" in text
