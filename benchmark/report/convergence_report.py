"""The convergence section of a study: the learning curves, what fixed accuracies took, and the tests on them."""

from collections.abc import Callable

import numpy as np

from benchmark.analysis.endpoints import images_to, reached, seconds_to
from benchmark.analysis.study import Study
from benchmark.records.schema import Record
from benchmark.report import prose
from benchmark.report.tables import Table, code, mean_text, sd_text, tested


def section(study: Study, figures: str, alt: str) -> list[str | Table]:
    """Return the paragraphs between the headings Convergence and Cost."""
    return [
        "### Convergence",
        f"![{alt}]({figures}/accuracy.svg)",
        prose.CONVERGENCE_NOTE,
        levels_table(study),
        *tested(study, ("learning", "images", "seconds")),
    ]


def levels_table(study: Study) -> Table:
    """Area under the learning curve, and images and seconds until the accuracies named beforehand, means over seeds."""
    levels = [float(level) for level in study.analysis["levels"]]
    areas = study.values("learning")
    rows = []
    for arm, area in zip(study.arms, areas, strict=True):
        runs = study.done(arm)
        images = [level_text(runs, level, images_to, 1) for level in levels]
        seconds = [level_text(runs, level, seconds_to, 0) for level in levels]
        rows.append([code(arm), mean_text(area), sd_text(area), *images, *seconds])
    headers = ["arm", "area", "sd of area", *(f"k images to {level:g}%" for level in levels)]
    return Table([*headers, *(f"seconds to {level:g}%" for level in levels)], rows)


def level_text(runs: list[Record], level: float, measure: Callable[[Record, float], float], digits: int) -> str:
    """Write the mean over all runs or, where some never reached the accuracy, how many did."""
    there = sum(reached(run, level) for run in runs)
    if there < len(runs):
        return f"({there}/{len(runs)})"
    return mean_text(np.array([measure(run, level) for run in runs]), digits)
