"""Tables as CSV and LaTeX: the report's cells, readable by other programs."""

import csv
import io
import re
from pathlib import Path

import pytest
from records import planted
from records.attacked_records import rows

from benchmark.analysis.study import load_study
from benchmark.cli import main
from benchmark.report.export import as_csv, as_latex, exported
from benchmark.report.tables import Table, comparison_table, seeds_table

COUNTS = {"sba": [870, 872, 868, 871, 869], "standard": [858, 861, 857, 862, 857], "mixup": [860] * 5}
STUDY = load_study("planted", planted.study(COUNTS))


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_csv_has_the_cells_of_the_report_without_markdown() -> None:
    files = exported([STUDY], "csv")
    accuracy = read(files["planted-accuracy.csv"])
    assert accuracy[0] == list(seeds_table(STUDY).headers)
    assert accuracy[1][:7] == ["sba", "87.00", "87.20", "86.80", "87.10", "86.90", "87.00"]
    differences = read(files["planted-clean_differences.csv"])
    assert {row[0]: row[1:] for row in differences[1:]} == {
        arm: list(cells.values()) for arm, cells in rows(comparison_table(STUDY, "clean")).items()
    }
    assert all("`" not in text and "<br>" not in text and "**" not in text for text in files.values())


def test_every_table_of_a_study_is_there() -> None:
    names = {name.removeprefix("planted-").removesuffix(".csv") for name in exported([STUDY], "csv")}
    assert {"published", "arms", "accuracy", "robustness", "attacks", "undisturbed", "cost", "checks"} <= names
    assert {f"{endpoint}_differences" for endpoint in STUDY.endpoints} <= names
    assert not {"equal_compute", "self", "claims"} & names  # there is nothing to show in them


def test_exploratory_studies_give_their_rows_and_no_verdicts() -> None:
    study = load_study("planted_ablation", planted.ablation({row: [860, 862, 858] for row in planted.ROWS}))
    files = exported([study], "csv")
    assert set(files) - {"published.csv"} == {
        f"planted_ablation-{name}.csv"
        for name in ("rows", "clean_differences", "area_differences", "eps_differences", "robustness")
    }
    assert "Holm" not in "".join(files.values())


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-x", "\t=1"])
def test_what_a_spreadsheet_would_compute_is_quoted(cell: str) -> None:
    assert read(as_csv(Table([cell, "b"], [["a", cell]]))) == [[f"'{cell}", "b"], ["a", f"'{cell}"]]


@pytest.mark.parametrize("cell", ["+0.48", "-0.13 to +0.28", "-", "< .0001", "-32.70 k [-38.81, -26.59]", "a=b", ".5"])
def test_numbers_and_dashes_stay_as_they_are(cell: str) -> None:
    assert read(as_csv(Table(["a"], [[cell]])))[1] == [cell]


def test_latex_is_booktabs_and_escaped() -> None:
    text = as_latex(Table(["arm", "share, %"], [["`sba_no_augmentation`", "12.5"], ["a & b", "#1"]]))
    assert text.startswith("% needs \\usepackage{booktabs}\n\\begin{tabular}{lr}\n\\toprule\n")
    assert r"sba\_no\_augmentation" in text
    assert r"share, \%" in text
    assert re.search(r"\\midrule[\s\S]*\\bottomrule\n\\end\{tabular\}\n$", text)


@pytest.mark.usefixtures("no_figures")
def test_the_command_writes_them_and_check_sees_an_edit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted.write(tmp_path / "results", planted.study(COUNTS))
    command = ["report", "--results", str(tmp_path / "results"), "--csv", "--latex"]
    assert main(command) == 0
    written = sorted(path.name for path in (tmp_path / "tables").iterdir())
    assert len(written) == 2 * len(exported([STUDY], "csv"))
    assert f"{len(written)} tables under {tmp_path / 'tables'}." in capsys.readouterr().out
    assert main([*command, "--check"]) == 0
    (tmp_path / "tables" / "planted-cost.csv").write_text("edited")
    assert main([*command, "--check"]) == 1
    assert "planted-cost.csv differs" in capsys.readouterr().out
