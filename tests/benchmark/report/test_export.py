"""Tables as CSV and LaTeX: the report's cells, readable by other programs."""

import csv
import io
import re
from pathlib import Path

import planted
import pytest

from benchmark.analysis.study import load_study
from benchmark.cli import main
from benchmark.report.export import as_csv, as_latex, exported
from benchmark.report.tables import Table, comparison_table, seeds_table

COUNTS = {"sba": [870, 872, 868, 871, 869], "standard": [858, 861, 857, 862, 857], "mixup": [860] * 5}
STUDY = load_study("planted", planted.study(COUNTS))


def test_csv_has_the_cells_of_the_report_without_markdown() -> None:
    files = exported([STUDY], "csv")
    rows = list(csv.reader(io.StringIO(files["planted-accuracy.csv"])))
    assert rows[0] == list(seeds_table(STUDY).headers)
    assert rows[1][:7] == ["sba", "87.00", "87.20", "86.80", "87.10", "86.90", "87.00"]
    differences = list(csv.reader(io.StringIO(files["planted-clean_differences.csv"])))
    expected = [[cell.replace("`", "") for cell in row] for row in comparison_table(STUDY, "clean").rows]
    assert differences[1:] == expected
    assert all("`" not in text for text in files.values())


def test_every_table_of_a_study_is_there() -> None:
    names = {name.removeprefix("planted-").removesuffix(".csv") for name in exported([STUDY], "csv")}
    assert {"claims", "accuracy", "robustness", "attacks", "convergence", "cost", "corruptions", "calibration"} <= names
    assert {f"{endpoint}_differences" for endpoint in STUDY.endpoints} <= names
    assert "checks" not in names  # none was made


def test_latex_is_booktabs_and_escaped() -> None:
    text = as_latex(Table(["arm", "share, %"], [["`sba_no_augmentation`", "12.5"], ["a & b", "#1"]]))
    assert text.startswith("% needs \\usepackage{booktabs}\n\\begin{tabular}{lr}\n\\toprule\n")
    assert r"sba\_no\_augmentation" in text
    assert r"a \& b" in text
    assert r"share, \%" in text
    assert re.search(r"\\midrule[\s\S]*\\bottomrule\n\\end\{tabular\}\n$", text)


def test_cells_with_commas_and_quotes_survive_csv() -> None:
    table = Table(["a", "b"], [["x, y", 'say "so"']])
    assert list(csv.reader(io.StringIO(as_csv(table))))[1] == ["x, y", 'say "so"']


def test_exploratory_studies_give_their_rows_and_no_verdicts() -> None:
    counts = {row: [860, 862, 858] for row in planted.ROWS}
    study = load_study("planted_ablation", planted.ablation(counts))
    files = exported([study], "csv")
    assert set(files) - {"published.csv"} == {
        f"planted_ablation-{name}.csv"
        for name in ("rows", "clean_differences", "area_differences", "eps_differences", "robustness")
    }
    assert "Holm" not in "".join(files.values())


def test_the_command_writes_them_and_check_sees_an_edit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted.write(tmp_path / "results", planted.study(COUNTS))
    command = ["report", "--results", str(tmp_path / "results"), "--csv", "--latex", "--html"]
    assert main(command) == 0
    written = sorted(path.name for path in (tmp_path / "tables").iterdir())
    assert len(written) == 2 * len(exported([STUDY], "csv"))
    assert f"{len(written)} tables under {tmp_path / 'tables'}." in capsys.readouterr().out
    assert (tmp_path / "RESULTS.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert main([*command, "--check"]) == 0
    (tmp_path / "tables" / "planted-cost.csv").write_text("edited")
    assert main([*command, "--check"]) == 1
    assert "planted-cost.csv differs" in capsys.readouterr().out
