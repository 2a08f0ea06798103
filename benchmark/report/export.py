"""The report's tables as files for a paper or a spreadsheet: CSV, and LaTeX with booktabs."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Literal

from benchmark.analysis.study import Study
from benchmark.report import attack_tables, cost_tables, tables
from benchmark.report.answer import answer
from benchmark.report.description import arms_table, rows_table
from benchmark.report.pages import CONTRASTED
from benchmark.report.published_table import published_table
from benchmark.report.tables import Table

_Format = Literal["csv", "latex"]
_SUFFIXES: dict[_Format, str] = {"csv": ".csv", "latex": ".tex"}
# Spreadsheets evaluate cells that begin with one of these characters; our signed numbers and intervals are safe.
_FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d.]|$)")


def exported(studies: Sequence[Study], form: _Format) -> dict[str, str]:
    """Return file name -> text of every table: claims, published, and <preset>-<table> for each study."""
    write = as_csv if form == "csv" else as_latex
    claims = answer(studies, lambda preset: preset).table
    named = {"published": published_table(studies)} | ({"claims": claims} if claims else {})
    for study in studies:
        named |= {f"{study.preset}-{name}": table for name, table in _study_tables(study, studies).items()}
    return {name + _SUFFIXES[form]: write(table) for name, table in named.items()}


def _study_tables(study: Study, studies: Sequence[Study]) -> dict[str, Table]:
    robustness = {"robustness": attack_tables.robustness_table(study)}
    if study.exploratory:
        contrasts = {f"{endpoint}_differences": tables.contrast_table(study, endpoint) for endpoint in CONTRASTED}
        return {"rows": rows_table(study), **contrasts} | robustness
    twin = cost_tables.twin(study, studies)
    found: dict[str, Table | None] = {
        "arms": arms_table(study),
        "accuracy": tables.seeds_table(study),
        **{f"{endpoint}_differences": tables.comparison_table(study, endpoint) for endpoint in study.endpoints},
        **robustness,
        "attacks": attack_tables.attack_table(study),
        "undisturbed": attack_tables.undisturbed_table(study),
        "cost": cost_tables.cost_table(study),
        "equal_compute": cost_tables.compute_table(study, twin) if twin else None,
        "self": tables.self_table(study),
        "checks": attack_tables.checks_table(study),
    }
    return {name: table for name, table in found.items() if table}


def as_csv(table: Table) -> str:
    """Return a table as CSV with a header line and without Markdown.

    A cell that a spreadsheet would evaluate as a formula is prefixed with an apostrophe.
    """
    bare = table.plain()
    file = io.StringIO()
    rows = [[f"'{cell}" if _FORMULA.match(cell) else cell for cell in row] for row in (bare.headers, *bare.rows)]
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def as_latex(table: Table) -> str:
    """Return a table as a LaTeX tabular that needs the package booktabs."""
    return f"% needs \\usepackage{{booktabs}}\n{table.latex()}\n"
