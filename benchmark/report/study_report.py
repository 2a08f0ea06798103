"""The section of one study in RESULTS.md: what it is, its tables and figures, and the verdict of every comparison."""

from benchmark.analysis import self_comparison as same_arm
from benchmark.analysis.comparisons import comparisons
from benchmark.analysis.endpoints import ENDPOINTS
from benchmark.analysis.paired import Comparison
from benchmark.analysis.study import Study
from benchmark.analysis.verdicts import amount, direction, signed, verdict
from benchmark.records.schema import CrosscheckRow
from benchmark.report import compute_report, convergence_report, prose, robustness_report
from benchmark.report.describe import seed_list, unnamed, what
from benchmark.report.tables import (
    Table,
    code,
    comparison_table,
    cost_table,
    mean_text,
    no_comparison,
    reference,
    seeds_table,
)
from benchmark.settings.preset import Endpoint


def study_section(
    study: Study, folder: str, compared: list[CrosscheckRow], at_equal_compute: Study | None
) -> list[str | Table]:
    """Return everything about one study: what it is, its tables and its figures; beside it, itself in compute mode."""
    treatment = code(study.treatment)
    figures = f"{folder}/{study.preset}/figures"
    return [
        f"## Study: {prose.heading(study)}",
        *prose.synthetic(study),
        *prose.data_note(study),
        what(study),
        "### Accuracy of every seed",
        prose.seeds_note(study) + unnamed(study),
        seeds_table(study),
        f"### {treatment} against each other arm: accuracy",
        f"![{alt_differences(study)}]({figures}/differences.svg)",
        prose.differences_note(study),
        *([comparison_table(study, "clean")] if "clean" in study.endpoints else []),
        *robustness_report.section(study, figures, alt(study, "area"), compared),
        *convergence_report.section(study, figures, alt(study, "clean")),
        "### Cost",
        f"![{alt_cost(study)}]({figures}/cost.svg)",
        prose.cost_note(reference(study)),
        cost_table(study),
        *compute_report.section(study, at_equal_compute),
        *comparison_section(study),
        *same_arm.section(study),
    ]


def comparison_section(study: Study) -> list[str]:
    """Return the verdict of every comparison on every endpoint, the primary one first."""
    paragraphs = ["### Verdict of every comparison"]
    for endpoint in study.endpoints:
        rank = "Primary" if endpoint == study.endpoints[0] else "Secondary"
        pairs = comparisons(study, endpoint)
        sentences = [sentence(study, endpoint, arm, pair) for arm, pair in pairs.items()]
        paragraphs += [f"{rank}: {study.title(endpoint)}.", "\n".join(sentences)]
    return paragraphs


def sentence(study: Study, endpoint: Endpoint, arm: str, pair: Comparison | None) -> str:
    """Return the verdict of one comparison on one endpoint, with the runs that it leaves out."""
    under = ", under these attacks" if ENDPOINTS[endpoint].attacked else ""
    if pair is None:
        why = no_comparison(study, endpoint, arm)
        return f"- {code(study.treatment)} against {code(arm)}: {why}.{left_out(study, arm)}"
    means = f"{code(study.treatment)} ({pair.treatment:.2f}) against {code(arm)} ({pair.control:.2f})"
    said = f"so far {direction(pair)}, mean {amount(pair)}" if study.interim(arm) else verdict(pair)
    return f"- {means}{under}: {said}.{left_out(study, arm)}"


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


def alt(study: Study, endpoint: Endpoint) -> str:
    """Return a figure's text for those who do not see it: what it shows, and every arm's value."""
    shown = "Accuracy over epochs" if endpoint == "clean" else "Accuracy under these attacks over eps"
    values = zip(study.arms, study.values(endpoint), strict=True)
    listed = ", ".join(f"{arm} {mean_text(row)}" for arm, row in values)
    return f"{shown}; {study.title(endpoint)}, mean over seeds: {listed}"


def alt_differences(study: Study) -> str:
    """Return the text of the figure of differences: every mean difference on both of its endpoints."""
    shown: tuple[Endpoint, ...] = ("clean", "area")
    said = []
    for endpoint in (named for named in shown if named in study.endpoints):
        found = [f"{arm} {signed(pair.difference)}" for arm, pair in comparisons(study, endpoint).items() if pair]
        said.append(f"{study.title(endpoint)}: {', '.join(found) or 'no result yet'}")
    return f"{study.treatment} minus each other arm, mean over seeds in points; {'; '.join(said)}"


def alt_cost(study: Study) -> str:
    """Return the text of the figure of cost: every arm's relative FLOPs and accuracy."""
    base = compute_report.flops(study, reference(study))
    values = zip(study.arms, study.clean, strict=True)
    said = [
        f"{arm} {compute_report.flops(study, arm) / base:.2f}x and {mean_text(row)}%"
        for arm, row in values
        if base and study.done(arm) and arm != study.positive_control
    ]
    return f"Training FLOPs relative to {reference(study)} and accuracy, mean over seeds: {', '.join(said)}"
