"""RESULTS.md and its figures, generated from records: the same records give the same bytes."""

import difflib
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from benchmark.analysis import claims, published
from benchmark.analysis.study import Study, load_study
from benchmark.analysis.verdicts import count
from benchmark.records.schema import CrosscheckRow
from benchmark.records.store import read_study, studies_in
from benchmark.report import ablation_report, compute_report, prose, robustness_report
from benchmark.report.cost_figure import cost_figure
from benchmark.report.export import exported
from benchmark.report.figures import accuracy_figure, robustness_figure
from benchmark.report.forest import differences_figure
from benchmark.report.html import page
from benchmark.report.study_report import study_section
from benchmark.report.tables import (
    Table,
    code,
    environment_table,
)
from benchmark.runtime.errors import UsageError
from benchmark.runtime.files import write_text

Form = Literal["html", "csv", "latex"]
DIFF_LINES, LINE_LENGTH = 20, 200


def render(results: Path, output: Path, forms: Collection[Form] = ()) -> dict[Path, str]:
    """Return every generated file with its text: `output` and results/<preset>/figures/*.svg.

    Args:
        results: the folder of the records.
        output: RESULTS.md.
        forms: what else to give, beside `output`: "html" is the whole as one page, "csv" and "latex" the tables, in the
            folder tables.

    Raises:
        RunError: a record is damaged.
        UsageError: the records of one preset do not belong together; see `load_study`.
    """
    studies = [load_study(preset, read_study(results, preset)) for preset in studies_in(results)]
    folder = Path(os.path.relpath(results.resolve(), output.resolve().parent)).as_posix()
    compared = robustness_report.crosschecks(results)
    files = {output: "\n\n".join(map(str, document(studies, folder, compared))) + "\n"}
    for study in studies:
        drawn = drawings(study)
        files |= {results / study.preset / "figures" / f"{name}.svg": text for name, text in drawn.items()}
    figures = {
        Path(os.path.relpath(path.resolve(), output.resolve().parent)).as_posix(): text for path, text in files.items()
    }
    for form in forms:
        if form == "html":
            files[output.with_suffix(".html")] = page(files[output], figures)
        else:
            files |= {output.parent / "tables" / name: text for name, text in exported(studies, form).items()}
    return files


def drawings(study: Study) -> dict[str, str]:
    """Return a study's figures, name -> SVG text."""
    if study.exploratory:
        return {"differences": differences_figure(study)}
    return {
        "accuracy": accuracy_figure(study),
        "robustness": robustness_figure(study),
        "differences": differences_figure(study),
        "cost": cost_figure(study),
    }


def write_report(results: Path, output: Path, forms: Collection[Form] = ()) -> list[Path]:
    """Write what `render` returns and return the paths written.

    Raises:
        UsageError: a file cannot be written.
    """
    files = render(results, output, forms)
    for path, text in files.items():
        try:
            write_text(path, text)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}. Choose another --output.") from error
    return list(files)


def check_report(results: Path, output: Path, forms: Collection[Form] = ()) -> list[str]:
    """Return one message for each file that differs from what `render` returns; nothing is changed."""
    problems = []
    for path, text in render(results, output, forms).items():
        try:
            found = path.read_bytes().decode()
        except (OSError, UnicodeDecodeError):
            problems.append(f"{path} is missing or cannot be read")
            continue
        if found != text:
            problems.append(f"{path} differs from its records" + ("" if path.suffix == ".svg" else diff(found, text)))
    return problems


def diff(found: str, expected: str) -> str:
    """Return a short unified diff: - what is there, + what the records give."""
    lines = difflib.unified_diff(
        found.splitlines(), expected.splitlines(), "as found", "from the records", n=0, lineterm=""
    )
    return ":\n" + "\n".join(line[:LINE_LENGTH] for line in list(lines)[:DIFF_LINES])


def document(studies: Sequence[Study], folder: str, compared: Mapping[str, list[CrosscheckRow]]) -> list[str | Table]:
    """Return the paragraphs of RESULTS.md in order; `folder` is the results folder as seen from it.

    `compared` are the rows of each preset's crosscheck, where there was one.
    """
    if not studies:
        return ["# Results", prose.generated(folder), "## What was asked", prose.ASKED, prose.NOTHING_RUN]
    testing = [study for study in studies if not study.exploratory]
    exploring = [study for study in studies if study.exploratory]
    studies = [*testing, *exploring]
    sections = [
        study_section(study, folder, compared.get(study.preset, []), compute_report.twin(study, testing))
        for study in testing
    ]
    return [
        "# Results",
        prose.generated(folder),
        "## What was asked",
        prose.ASKED,
        prose.HOW_TO_READ,
        "## Verdicts",
        *verdicts(testing),
        *[prose.pointer(study) for study in exploring],
        *[part for section in sections for part in section],
        "## Published against measured",
        published.note(),
        published.published_table(testing),
        *[paragraph for study in exploring for paragraph in ablation_report.section(study, folder)],
        "## Sanity flags",
        *[flags(study) for study in studies],
        "## How to reproduce",
        prose.reproduce(studies),
        environment_table(studies),
        "## Limits",
        prose.limits(studies),
    ]


def verdicts(studies: Sequence[Study]) -> list[str | Table]:
    """Return what the studies say of each claim: a table, then a sentence for each claim and study."""
    if not studies:
        return []
    warnings = [part for study in studies for part in prose.synthetic(study)][:1]
    return [*warnings, claims.claims_table(studies), prose.CLAIMS_NOTE, *claims.sentences(studies)]


def flags(study: Study) -> str:
    """Return a study's sanity flags and diverged runs, one a line, or that there are none."""
    lines = []
    for (arm, seed), record in study.records.items():
        run = f"- {code(arm)} seed {seed}"
        if record["status"] == "diverged":
            lines.append(f"{run} diverged after {count(len(record['epochs']), 'epoch')}: {record['reason']}")
        lines += [f"{run}: {flag}" for flag in record["flags"]]
    return f"{prose.heading(study)}: " + ("no run raised a flag." if not lines else "see below.\n\n" + "\n".join(lines))
