"""RESULTS.md and its figures, generated from records: the same records give the same bytes."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark import ablation_report, claims, compute_report, convergence_report, prose, robustness_report, same_arm
from benchmark.describe import seed_list, unnamed, what
from benchmark.endpoints import ENDPOINTS
from benchmark.errors import UsageError
from benchmark.figures import accuracy_figure, robustness_figure
from benchmark.forest import differences_figure
from benchmark.records import read_study
from benchmark.schema import CrosscheckRow
from benchmark.settings import Endpoint
from benchmark.stats import Comparison
from benchmark.study import Study, comparisons, load_study
from benchmark.tables import (
    Table,
    code,
    comparison_table,
    cost_table,
    environment_table,
    mean_text,
    reference,
    seeds_table,
)
from benchmark.verdicts import count, verdict

DIFF_LINES, LINE_LENGTH = 20, 200


def render(results: Path, output: Path) -> dict[Path, str]:
    """Return every generated file with its text: `output` and results/<preset>/figures/*.svg.

    Raises:
        RunError: a record is damaged.
        UsageError: the records of one preset do not belong together; see `load_study`.
    """
    presets = sorted({path.parents[1].name for path in results.glob("*/*/seed-*.json")})
    studies = [load_study(preset, read_study(results, preset)) for preset in presets]
    folder = Path(os.path.relpath(results.resolve(), output.resolve().parent)).as_posix()
    compared = robustness_report.crosschecks(results)
    files = {output: "\n\n".join(map(str, document(studies, folder, compared))) + "\n"}
    for study in studies:
        drawn = drawings(study)
        files |= {results / study.preset / "figures" / f"{name}.svg": text for name, text in drawn.items()}
    return files


def drawings(study: Study) -> dict[str, str]:
    """Return a study's figures, name -> SVG text."""
    if study.exploratory:
        return {"differences": differences_figure(study)}
    return {"accuracy": accuracy_figure(study), "robustness": robustness_figure(study)}


def write_report(results: Path, output: Path) -> list[Path]:
    """Write what `render` returns and return the paths written.

    Raises:
        UsageError: a file cannot be written.
    """
    files = render(results, output)
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}. Choose another --output.") from error
    return list(files)


def check_report(results: Path, output: Path) -> list[str]:
    """Return one message for each file that differs from what `render` returns; nothing is changed."""
    problems = []
    for path, text in render(results, output).items():
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


def comparison_section(study: Study) -> list[str]:
    """Return the verdict of every comparison on every endpoint, the primary one first."""
    paragraphs = ["### Verdict of every comparison"]
    for endpoint in study.endpoints:
        rank = "Primary" if endpoint == study.endpoints[0] else "Secondary"
        pairs = comparisons(study, endpoint)
        sentences = [sentence(study, endpoint, arm, pair) for arm, pair in pairs.items()]
        paragraphs += [f"{rank}: {prose.endpoint(study, endpoint)}.", "\n".join(sentences)]
    return paragraphs


def sentence(study: Study, endpoint: Endpoint, arm: str, pair: Comparison | None) -> str:
    """Return the verdict of one comparison on one endpoint, with the runs that it leaves out."""
    under = ", under these attacks" if ENDPOINTS[endpoint].attacked else ""
    if pair is None:
        return f"- {code(study.treatment)} against {code(arm)}: no seed is finished in both arms yet."
    means = f"{code(study.treatment)} ({pair.treatment:.2f}) against {code(arm)} ({pair.control:.2f})"
    return f"- {means}{under}: {verdict(pair)}.{left_out(study, arm)}"


def left_out(study: Study, arm: str) -> str:
    """Say which named runs of a comparison diverged or are missing, or nothing."""
    text = ""
    for name in (study.treatment, arm):
        if seeds := study.seeds_with(name, "diverged"):
            text += (
                f" But {seed_list(seeds)} of {code(name)} diverged: a failure of that arm, which the test "
                "leaves out, so the arm's mean is flattered."
            )
        if seeds := study.seeds_with(name, "missing"):
            text += f" Interim: {seed_list(seeds)} of {code(name)} not run yet."
    return text


def study_section(
    study: Study, folder: str, compared: list[CrosscheckRow], at_equal_compute: Study | None
) -> list[str | Table]:
    """Return everything about one study: what it is, its tables and its figures; beside it, itself in compute mode."""
    treatment = code(study.treatment)
    figures = f"{folder}/{study.preset}/figures"
    return [
        f"## Study: {prose.heading(study)}",
        *prose.synthetic(study),
        what(study),
        "### Accuracy of every seed",
        prose.SEEDS_NOTE + unnamed(study),
        seeds_table(study),
        f"### {treatment} against each other arm: accuracy",
        comparison_table(study, "clean"),
        *robustness_report.section(study, figures, alt(study, "area"), compared),
        *convergence_report.section(study, figures, alt(study, "clean")),
        "### Cost",
        prose.cost_note(reference(study)),
        cost_table(study),
        *compute_report.section(study, at_equal_compute),
        *comparison_section(study),
        *same_arm.section(study),
    ]


def alt(study: Study, endpoint: Endpoint) -> str:
    """Return a figure's text for those who do not see it: what it shows, and every arm's value."""
    shown = "Accuracy over epochs" if endpoint == "clean" else "Accuracy under these attacks over eps"
    values = zip(study.arms, study.values(endpoint), strict=True)
    listed = ", ".join(f"{arm} {mean_text(row)}" for arm, row in values)
    return f"{shown}; {prose.endpoint(study, endpoint)}, mean over seeds: {listed}"


def flags(study: Study) -> str:
    """Return a study's sanity flags and diverged runs, one a line, or that there are none."""
    lines = []
    for (arm, seed), record in study.records.items():
        run = f"- {code(arm)} seed {seed}"
        if record["status"] == "diverged":
            lines.append(f"{run} diverged after {count(len(record['epochs']), 'epoch')}: {record['reason']}")
        lines += [f"{run}: {flag}" for flag in record["flags"]]
    return f"{prose.heading(study)}: " + ("no run raised a flag." if not lines else "see below.\n\n" + "\n".join(lines))
