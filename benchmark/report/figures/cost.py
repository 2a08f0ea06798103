"""The figure of accuracy over training cost as SVG text."""

import numpy as np

from benchmark.analysis.study import Study
from benchmark.report.figures.drawing import FAINT, drawing, label_ends, on_top, style, svg
from benchmark.report.tables import flops, reference

_NARROWEST = 0.2, 1.0  # width of the axes: smaller differences must look small


def cost_figure(study: Study) -> str:
    """Draw last-epoch accuracy over training FLOPs relative to the reference arm: every run faint, the means strong.

    The positive control is left out: on its scale the other arms would be one point. Nothing is drawn without a
    finished run of the reference arm.
    """
    base = flops(study, reference(study))
    shown = [arm for arm in study.arms if arm != study.positive_control and study.done(arm) and base]
    spent = study.each(lambda record: record["cost"]["train_flops"]) / (base or np.nan)  # (arm, seed)
    with drawing(shown or study.arms) as (figure, axes):
        means: dict[str, tuple[float, float]] = {}
        for index, arm in on_top(study.arms):
            if arm in shown:
                x, y, look = spent[index], study.clean[index], style(index)
                axes.plot(x, y, linestyle="", marker=look.marker, markersize=4, color=look.color, alpha=FAINT)
                means[arm] = float(np.nanmean(x)), float(np.nanmean(y))
                axes.plot(*means[arm], marker=look.marker, markersize=8, color=look.color)
        axes.margins(0.08)
        axes.set_xlim(_widened(axes.get_xlim(), _NARROWEST[0]))
        axes.set_ylim(_widened(axes.get_ylim(), _NARROWEST[1]))
        axes.set_title(f"accuracy on the {study.split} images, %", loc="left")
        axes.set_xlabel("relative training FLOPs")
        label_ends(axes, study.arms, means)
        return svg(figure)


def _widened(limits: tuple[float, float], width: float) -> tuple[float, float]:
    """Return limits at least `width` apart, around the same centre."""
    missing = max(0.0, width - (limits[1] - limits[0]))
    return limits[0] - missing / 2, limits[1] + missing / 2
