"""The forms of a table: Markdown, text, CSV and LaTeX."""

import csv
import io
import re

import pytest

from benchmark.report.notation import plain
from benchmark.report.table import Table

TABLE = Table(["arm", "share, %"], [["`sba_x`", "12.5<br>a"], [r"a \| b & c", "**#1** \\* &lt;"]])


def test_a_bar_stays_in_its_cell() -> None:
    lines = str(Table(["a", "b"], [["`x|y`", r"u \| v"]])).splitlines()
    assert lines[2] == "| `x\\|y` | u \\| v |"


def test_other_forms_have_no_markdown() -> None:
    assert plain("[CIFAR\\_10<br>`fast`](a.md) **x** &lt;&amp; \\*") == "CIFAR_10, fast x <& *"
    assert [line.split("  ")[0] for line in TABLE.text().splitlines()[2:]] == ["sba_x", "a | b & c"]


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-x", "\t=1"])
def test_what_a_spreadsheet_would_compute_is_quoted(cell: str) -> None:
    assert read(Table([cell, "b"], [["a", cell]]).csv()) == [[f"'{cell}", "b"], ["a", f"'{cell}"]]


@pytest.mark.parametrize("cell", ["+0.48", "-0.13 to +0.28", "-", "< .0001", "-32.70 k [-38.81, -26.59]", "a=b", ".5"])
def test_numbers_and_dashes_stay_as_they_are(cell: str) -> None:
    assert read(Table(["a"], [[cell]]).csv())[1] == [cell]


def test_latex_is_booktabs_and_escaped() -> None:
    text = Table(["arm", "share, %"], [["`sba_no_augmentation`", "12.5"], ["a & b", "#1"]]).latex()
    assert text.startswith("% needs \\usepackage{booktabs}\n\\begin{tabular}{lr}\n\\toprule\n")
    assert r"sba\_no\_augmentation" in text
    assert r"share, \%" in text
    assert re.search(r"\\midrule[\s\S]*\\bottomrule\n\\end\{tabular\}\n$", text)
