"""Epochs mode beside compute mode: the same arms after the same epochs, and after the same FLOPs."""

from collections.abc import Sequence
from statistics import fmean

from benchmark.analysis.study import Study
from benchmark.report import prose
from benchmark.report.tables import Table, code, mean_text, reference, sd_text

SUFFIX = "_compute"


def twin(study: Study, studies: Sequence[Study]) -> Study | None:
    """Return the study that is this one in compute mode, where it was run."""
    return next((other for other in studies if other.preset == study.preset + SUFFIX), None)


def section(study: Study, other: Study | None) -> list[str | Table]:
    """Return the two modes side by side, or nothing where compute mode was not run."""
    if other is None:
        return []
    return ["### Equal epochs beside equal compute", prose.COMPUTE_NOTE, side_by_side(study, other)]


def side_by_side(study: Study, other: Study) -> Table:
    """FLOPs (relative to the reference arm of equal epochs), accuracy and robust area of every arm in both modes."""
    base = flops(study, reference(study))
    rows = []
    for arm in study.arms:
        cells = [code(arm)]
        for mode in (study, other):
            if arm not in mode.arms or not mode.done(arm):
                cells += ["-"] * 5
                continue
            at = mode.arms.index(arm)
            clean, area = mode.clean[at], mode.values("area")[at]
            spent = f"{flops(mode, arm) / base:.2f}x" if base else "-"
            cells += [str(len(mode.done(arm))), spent, mean_text(clean), sd_text(clean), mean_text(area)]
        rows.append(cells)
    each = ("seeds", "FLOPs", "accuracy", "sd", "robust area")
    headers = [f"{name}, {mode}" for mode in ("equal epochs", "equal compute") for name in each]
    return Table(["arm", *headers], rows)


def flops(study: Study, arm: str) -> float:
    """Return the training FLOPs of an arm, mean over its finished runs; 0 where there is none."""
    spent = [record["cost"]["train_flops"] for record in study.done(arm)]
    return fmean(spent) if spent else 0.0
