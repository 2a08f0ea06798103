"""The report's tables as files for a paper or a spreadsheet: CSV, and LaTeX with booktabs."""

import csv
import io
from collections.abc import Sequence
from typing import Literal

from benchmark.analysis import claims
from benchmark.analysis import self_comparison as same_arm
from benchmark.analysis.published import published_table
from benchmark.analysis.study import Study
from benchmark.report import compute_report, convergence_report, robustness_report, robustness_tables, tables
from benchmark.report.ablation_report import SHOWN, rows_table
from benchmark.report.tables import Table

Format = Literal["csv", "latex"]
SUFFIXES: dict[Format, str] = {"csv": ".csv", "latex": ".tex"}


def exported(studies: Sequence[Study], form: Format) -> dict[str, str]:
    """Return every table as file name -> text: claims, published, and <preset>-<table> for each study."""
    write = as_csv if form == "csv" else as_latex
    testing = [study for study in studies if not study.exploratory]
    named = {"published": published_table(testing)} | ({"claims": claims.claims_table(testing)} if testing else {})
    for study in studies:
        twin = compute_report.twin(study, testing)
        named |= {f"{study.preset}-{name}": table for name, table in study_tables(study, twin).items()}
    return {name + SUFFIXES[form]: write(table) for name, table in named.items()}


def study_tables(study: Study, twin: Study | None) -> dict[str, Table]:
    """Return a study's tables by name; `twin` is itself in compute mode, where that was run."""
    if study.exploratory:
        contrasts = {f"{endpoint}_differences": tables.contrast_table(study, endpoint) for endpoint in SHOWN}
        return {"rows": rows_table(study), **contrasts, "robustness": robustness_tables.robustness_table(study)}
    found = {
        "accuracy": tables.seeds_table(study),
        **{f"{endpoint}_differences": tables.comparison_table(study, endpoint) for endpoint in study.endpoints},
        "robustness": robustness_tables.robustness_table(study),
        "attacks": robustness_tables.attack_table(study),
        "convergence": convergence_report.levels_table(study),
        "cost": tables.cost_table(study),
    }
    sections = {
        "robustness_l2": robustness_report.under_l2(study),
        "checks": robustness_report.checks(study),
        "corruptions": robustness_report.corruptions(study),
        "calibration": robustness_report.calibration(study),
        "same_arm": same_arm.section(study),
        "equal_compute": compute_report.section(study, twin),
    }
    return found | {name: part for name, parts in sections.items() for part in parts if isinstance(part, Table)}


def as_csv(table: Table) -> str:
    """Return a table as CSV with a line of headers; cells are the report's texts without their Markdown."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([plain(table.headers), *map(plain, table.rows)])
    return file.getvalue()


def as_latex(table: Table) -> str:
    """Return a table as a LaTeX tabular that needs the package booktabs; tabulate escapes what LaTeX would read."""
    bare = Table(plain(table.headers), [plain(row) for row in table.rows], plain(table.words))
    return f"% needs \\usepackage{{booktabs}}\n{bare.write('latex_booktabs')}\n"


def plain(cells: Sequence[str]) -> list[str]:
    """Return cells without the backticks of Markdown code."""
    return [cell.replace("`", "") for cell in cells]
