"""The report's tables as files for a paper or a spreadsheet: CSV, and LaTeX with booktabs."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Literal

from benchmark.analysis.study import Study
from benchmark.report import attack_tables, tables
from benchmark.report.answer import answer
from benchmark.report.description import arms_table, rows_table
from benchmark.report.pages import CONTRASTED
from benchmark.report.published_table import published_table
from benchmark.report.tables import Table

Format = Literal["csv", "latex"]
SUFFIXES: dict[Format, str] = {"csv": ".csv", "latex": ".tex"}
# What a spreadsheet reads as a formula: cells that begin with one of these and are no number or interval of ours.
FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d.]|$)")


def exported(studies: Sequence[Study], form: Format) -> dict[str, str]:
    """Return every table as file name -> text: claims, published, and <preset>-<table> for each study."""
    write = as_csv if form == "csv" else as_latex
    claims = answer(studies, lambda preset: preset).table
    named = {"published": published_table(studies)} | ({"claims": claims} if claims else {})
    for study in studies:
        named |= {f"{study.preset}-{name}": table for name, table in study_tables(study, studies).items()}
    return {name + SUFFIXES[form]: write(table) for name, table in named.items()}


def study_tables(study: Study, studies: Sequence[Study]) -> dict[str, Table]:
    """Return a study's tables by name."""
    robustness = {"robustness": attack_tables.robustness_table(study)}
    if study.exploratory:
        contrasts = {f"{endpoint}_differences": tables.contrast_table(study, endpoint) for endpoint in CONTRASTED}
        return {"rows": rows_table(study), **contrasts} | robustness
    twin = tables.twin(study, studies)
    found: dict[str, Table | None] = {
        "arms": arms_table(study),
        "accuracy": tables.seeds_table(study),
        **{f"{endpoint}_differences": tables.comparison_table(study, endpoint) for endpoint in study.endpoints},
        **robustness,
        "attacks": attack_tables.attack_table(study),
        "undisturbed": attack_tables.undisturbed_table(study),
        "cost": tables.cost_table(study),
        "equal_compute": tables.compute_table(study, twin) if twin else None,
        "self": tables.self_table(study),
        "checks": attack_tables.checks_table(study),
    }
    return {name: table for name, table in found.items() if table}


def as_csv(table: Table) -> str:
    """Return a table as CSV with a line of headers; cells are the report's texts without their Markdown.

    A cell that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    bare = table.plain()
    file = io.StringIO()
    rows = [[f"'{cell}" if FORMULA.match(cell) else cell for cell in row] for row in (bare.headers, *bare.rows)]
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def as_latex(table: Table) -> str:
    """Return a table as a LaTeX tabular that needs the package booktabs."""
    return f"% needs \\usepackage{{booktabs}}\n{table.latex()}\n"
