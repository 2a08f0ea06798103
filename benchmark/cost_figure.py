"""The figure of cost against accuracy as SVG text: what every run spent in training, and what it reached."""

import numpy as np

from benchmark.compute_report import flops
from benchmark.figures import drawing, heights, label, spread, style, svg
from benchmark.study import Study
from benchmark.tables import reference


def cost_figure(study: Study) -> str:
    """Draw last-epoch accuracy over training FLOPs relative to the reference arm: every run faint, the means strong.

    The positive control is left out: it spends and reaches so much else that the other arms would be one point.
    """
    base = flops(study, reference(study))
    shown = [arm for arm in study.arms if arm != study.positive_control and study.done(arm) and base]
    with drawing(shown or study.arms) as (figure, axes):
        means: dict[str, tuple[float, float]] = {}
        for arm in shown:
            index = study.arms.index(arm)
            x = np.array([record["cost"]["train_flops"] / base for record in study.done(arm)])
            y = study.clean[index, [study.seeds.index(record["seed"]) for record in study.done(arm)]]
            look = style(index)
            axes.plot(x, y, linestyle="", marker=look.marker, markersize=4, color=look.color, alpha=0.35)
            axes.plot(x.mean(), y.mean(), marker=look.marker, markersize=9, color=look.color)
            means[arm] = float(x.mean()), float(y.mean())
        axes.margins(0.08)
        axes.set_title(f"accuracy on the {study.split} images, %", loc="left")
        axes.set_xlabel(f"training FLOPs, {reference(study)} = 1")
        low, high = axes.get_ylim()
        ordered = sorted(means, key=lambda arm: (means[arm][1], -study.arms.index(arm)))
        wanted = [(means[arm][1] - low) / (high - low) for arm in ordered]
        rows = spread(wanted, heights(axes, ordered))
        for arm, row in zip(ordered, rows, strict=True):
            look = style(study.arms.index(arm))
            lead = {"arrowstyle": "-", "linewidth": 0.8, "linestyle": ":", "alpha": 0.6, "color": look.color}
            axes.annotate("", means[arm], (1.06, row), "data", "axes fraction", arrowprops=lead)
        label(axes, study.arms, ordered, rows)
        return svg(figure)
