"""The figures of a study's curves: accuracy over epochs, and accuracy under attack over eps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from benchmark.analysis.endpoints import area_under_curve
from benchmark.analysis.paired import Floats
from benchmark.analysis.study import Study
from benchmark.records.outcomes import learning_curve
from benchmark.records.schema import Record
from benchmark.report.figures.drawing import (
    draw,
    drawing,
    heights,
    label,
    label_ends,
    on_top,
    spread,
    style,
    svg,
)


def accuracy_figure(study: Study) -> str:
    """Draw accuracy over epochs: every seed faint and the mean strong, for each arm.

    In compute mode runs end after different epochs: the mean is over the epochs that all runs of an arm have, then over
    their ends. A diverged run is a cross on the axis, at its last finished epoch.
    """
    with drawing(study.arms) as (figure, axes):
        ends: dict[str, tuple[float, float]] = {}
        for index, arm in on_top(study.arms):
            runs = [_epochs_of(record) for record in study.done(arm)]
            if runs:
                epochs, accuracy = mean_curve(runs)
                draw(axes, runs, (epochs, accuracy), style(index))
                ends[arm] = float(epochs[-1]), float(accuracy[-1])
            for seed in study.seeds_with(arm, "diverged"):
                last = len(study.records[arm, seed]["epochs"])
                cross: dict[str, Any] = {"marker": "x", "markersize": 9, "markeredgewidth": 2}
                cross |= {"color": style(index).color, "transform": axes.get_xaxis_transform()}
                axes.plot(last, 0, clip_on=False, **cross)
        axes.margins(x=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_title(f"accuracy on the {study.split} images, %", loc="left")
        axes.set_xlabel("epoch")
        label_ends(axes, study.arms, ends)
        return svg(figure)


def _epochs_of(record: Record) -> tuple[Floats, Floats]:
    """Return the epochs trained (the last may be a fraction) and the accuracy after each in points, both (epoch,)."""
    images, _, accuracy = learning_curve(record)
    return images[1:] / images[1], accuracy[1:]


def mean_curve(runs: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Return the mean over runs after every common epoch, and of their ends; x and y as in a run."""
    whole = min(len(accuracy) for _, accuracy in runs) - 1
    x = [*runs[0][0][:whole], np.mean([epochs[-1] for epochs, _ in runs])]
    y = [*np.mean([accuracy[:whole] for _, accuracy in runs], axis=0), np.mean([accuracy[-1] for _, accuracy in runs])]
    return np.array(x), np.array(y)


def robustness_figure(study: Study) -> str:
    """Draw joint robust accuracy over eps: every seed faint and the mean strong, for each arm.

    At the largest eps all lines meet near 0, so the labels are at the top, in the order of the areas.
    """
    with drawing(study.arms) as (figure, axes):
        areas: dict[str, float] = {}
        for index, arm in on_top(study.arms):
            curves = study.robust[index]  # (seed, eps)
            curves = curves[np.isfinite(curves).all(axis=1)]
            if len(curves):
                mean = curves.mean(axis=0)
                draw(axes, [(study.eps, curve) for curve in curves], (study.eps, mean), style(index))
                areas[arm] = float(area_under_curve(study.eps, mean))
        # Doubling eps is one step to the right, and so is the first step from 0.
        axes.set_xscale("symlog", linthresh=study.eps[1], linscale=np.log10(2), base=10)
        axes.set_xticks(study.eps, [f"{value:g}" for value in study.eps])
        axes.set_xticks([], minor=True)
        axes.margins(x=0)
        axes.set_title("accuracy under these attacks, %", loc="left")
        axes.set_xlabel("largest change of a pixel, in 1/255")
        ordered = sorted(areas, key=lambda arm: areas[arm])
        label(axes, study.arms, ordered, spread([1.0] * len(ordered), heights(axes, ordered)))
        return svg(figure)
