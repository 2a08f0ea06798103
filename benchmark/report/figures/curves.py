"""The figures of a study's curves, and of accuracy over training cost and over the number of training images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from benchmark.analysis.paired import Floats
from benchmark.analysis.study import Study
from benchmark.analysis.trend import Trend
from benchmark.records.outcomes import learning_curve
from benchmark.records.schema import Record
from benchmark.report.cost_tables import flops, reference
from benchmark.report.figures.drawing import (
    FAINT,
    INK,
    Curves,
    draw_range,
    drawing,
    label_ends,
    looks,
    multiples,
    style,
    svg,
)

Ends = dict[str, tuple[float, float]]  # arm -> the point that its label leads to
_NARROWEST = 0.2, 1.0  # width of the axes of the cost: smaller differences must look small


def accuracy_figure(study: Study) -> str:
    """Draw accuracy over epochs: a panel for each arm, beside the treatment; mean and range of the seeds.

    The frame begins at the lowest mean after a fifth of the training: the first epochs would press the end together. In
    compute mode runs end after different epochs: the mean is over the epochs that all runs of an arm have, then over
    their ends. A diverged run is a cross on the axis, at its last finished epoch. The positive control is left out: the
    frame that holds it shows no difference between the others.
    """
    runs = {arm: [_epochs_of(run) for run in study.done(arm)] for arm in study.arms if arm != study.positive_control}
    curves = {arm: _common(of) for arm, of in runs.items() if of}
    crosses = {
        arm: [len(study.records[arm, seed]["epochs"]) for seed in study.seeds_with(arm, "diverged")] for arm in runs
    }
    shown = [arm for arm in runs if arm in curves or crosses[arm]]
    with multiples(study.treatment, shown, f"accuracy on the {study.split} images, %", "epoch") as (figure, panels):
        late = [y.mean(axis=0)[len(x) // 5 :] for x, y in curves.values()]
        limits = _widened((min(map(np.min, late)), max(map(np.max, late))), _NARROWEST[1]) if late else (0.0, 100.0)
        for panel, axes in panels.items():
            for arm, look in looks(study.treatment, panel).items():
                if arm in curves:
                    draw_range(axes, *curves[arm], look)
                cross: dict[str, Any] = {"marker": "x", "markersize": 7, "markeredgewidth": 2, "clip_on": False}
                cross |= {"color": look["color"], "transform": axes.get_xaxis_transform()}
                for epoch in crosses[arm]:
                    axes.plot(epoch, 0, **cross)
            axes.set_ylim(*limits)
            axes.margins(x=0)
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        return svg(figure)


def _epochs_of(record: Record) -> tuple[Floats, Floats]:
    """Return the epochs trained (the last may be a fraction) and the accuracy after each in points, both (epoch,)."""
    images, _, accuracy = learning_curve(record)
    return images[1:] / images[1], accuracy[1:]


def _common(runs: Sequence[tuple[Floats, Floats]]) -> Curves:
    """Return the curves of some runs after their common epochs, and at their ends, whose x is the mean."""
    whole = min(len(accuracy) for _, accuracy in runs) - 1
    x = [*runs[0][0][:whole], np.mean([epochs[-1] for epochs, _ in runs])]
    return np.array(x), np.array([[*accuracy[:whole], accuracy[-1]] for _, accuracy in runs])


def robustness_figure(study: Study) -> str:
    """Draw joint robust accuracy over eps: a panel for each arm, beside the treatment; mean and range of the seeds."""
    curves: dict[str, Curves] = {}
    for arm, of in zip(study.arms, study.robust, strict=True):  # (seed, eps)
        if len(attacked := of[np.isfinite(of).all(axis=1)]):
            curves[arm] = study.eps, attacked
    top = max((float(of.max()) for _, of in curves.values()), default=100.0)
    title, below = "accuracy under these attacks, %", "largest change of a pixel, in 1/255"
    with multiples(study.treatment, list(curves), title, below) as (figure, panels):
        for panel, axes in panels.items():
            for arm, look in looks(study.treatment, panel).items():
                if arm in curves:
                    draw_range(axes, *curves[arm], look)
            # Doubling eps is one step to the right, and so is the first step from 0.
            axes.set_xscale("symlog", linthresh=study.eps[1], linscale=np.log10(2), base=10)
            named = {0, len(study.eps) // 2, len(study.eps) - 1}
            axes.set_xticks(study.eps, [f"{eps:g}" if i in named else "" for i, eps in enumerate(study.eps)])
            axes.set_xticks([], minor=True)
            axes.set_xlim(0, study.eps[-1])
            axes.set_ylim(0, top)
        return svg(figure)


def cost_figure(study: Study) -> str:
    """Draw last-epoch accuracy over training FLOPs relative to the reference arm: every run faint, the means strong.

    The positive control is left out: on its scale the other arms would be one point. Nothing is drawn without a
    finished run of the reference arm.
    """
    base = flops(study, reference(study))
    shown = [arm for arm in study.arms if arm != study.positive_control and study.done(arm) and base]
    spent = study.each(lambda record: record["cost"]["train_flops"]) / (base or np.nan)  # (arm, seed)
    title = f"accuracy on the {study.split} images, %"
    with drawing(shown or study.arms, title, "relative training FLOPs") as (figure, axes):
        means: Ends = {}
        for index, arm in reversed(list(enumerate(study.arms))):  # the treatment is drawn last, on top
            if arm in shown:
                x, y, look = spent[index], study.clean[index], style(index)
                axes.plot(x, y, linestyle="", marker=look.marker, markersize=4, color=look.color, alpha=FAINT)
                means[arm] = float(np.nanmean(x)), float(np.nanmean(y))
                axes.plot(*means[arm], marker=look.marker, markersize=8, color=look.color)
        axes.margins(0.08)
        axes.set_xlim(_widened(axes.get_xlim(), _NARROWEST[0]))
        axes.set_ylim(_widened(axes.get_ylim(), _NARROWEST[1]))
        label_ends(axes, study.arms, means)
        return svg(figure)


def _widened(limits: tuple[float, float], width: float) -> tuple[float, float]:
    """Return limits at least `width` apart, around the same centre."""
    missing = max(0.0, width - (limits[1] - limits[0]))
    return limits[0] - missing / 2, limits[1] + missing / 2


def trend_figure(trends: Sequence[Trend], title: str) -> str:
    """Draw trends of one endpoint, each against another arm: means, 95% intervals, single seeds and fitted lines.

    Sizes are spread by their logarithm.
    """
    arms = [trend.arm for trend in trends]
    sizes = sorted({gain.images for trend in trends for gain in trend.gains})
    with drawing(arms, title, "training images") as (figure, axes):
        ends: Ends = {}
        for index, trend in enumerate(trends):
            look = style(index)
            shift = 1 + 0.04 * (index - (len(trends) - 1) / 2)  # beside one another, where sizes are the same
            x = np.array([gain.images * shift for gain in trend.gains])
            means = np.array([gain.test.difference for gain in trend.gains])
            for place, gain in zip(x, trend.gains, strict=True):
                if gain.test.low is not None and gain.test.high is not None:
                    axes.plot([place, place], [gain.test.low, gain.test.high], color=look.color, linewidth=1.5)
                axes.plot([place] * len(gain.each), gain.each, "_", color=look.color, alpha=FAINT, markersize=8)
            axes.plot(x, means, linestyle="", marker=look.marker, markersize=7, color=look.color)
            line = np.polyval(np.polyfit(np.log2(x), means, 1), np.log2(x))
            axes.plot(x, line, **look.line)
            ends[trend.arm] = float(x[-1]), float(line[-1])
        axes.axhline(0, color=INK, linewidth=1.2)
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size / 1000:g}k" for size in sizes])
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        label_ends(axes, arms, ends)
        return svg(figure)
