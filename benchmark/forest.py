"""The figure of an exploratory study as SVG text: every row's difference from the default, on two endpoints.

Drawn like the other figures (see `figures`): the same bytes for the same records, no background, colours that
can be told on white and on dark, and never colour alone.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from benchmark.figures import COLOURS, INK, ROW, canvas, svg, wrap
from benchmark.settings import Endpoint
from benchmark.stats import ALPHA, Floats
from benchmark.study import Contrast, Study, contrasts

ABOVE, BELOW = COLOURS[0], COLOURS[1]
LETTERS = 20  # of a row's name in one line
PANELS: tuple[tuple[Endpoint, str, float], ...] = (("clean", "accuracy", 0.37), ("area", "robust area", 0.70))
PANEL = 0.28  # width of a panel, as a share of the figure
ABOVE_ROWS, BELOW_ROWS = 0.35, 0.75  # inches for the titles, and for ticks and the label
PITCH = 1.1  # height of a row, in lines of its name
FENCE = 3.0  # values further out than so many interquartile ranges do not widen the frame


def differences_figure(study: Study) -> str:
    """Draw every row minus the default: mean, 95% interval and each seed, in accuracy and in robust area."""
    names = [wrap(arm, LETTERS) for arm in study.against]
    heights = PITCH * ROW * np.array([1.0 + name.count("\n") for name in names])
    places = -(np.cumsum(heights) - heights / 2)  # (row,), in inches from the top, downwards
    total = float(heights.sum())
    whole = ABOVE_ROWS + total + BELOW_ROWS
    with canvas(whole) as figure:
        for endpoint, title, left in PANELS:
            axes = figure.add_axes((left, BELOW_ROWS / whole, PANEL, total / whole))
            draw_panel(axes, study, endpoint, places)
            axes.set_ylim(-total, 0)
            axes.set_title(title, loc="left")
            axes.set_yticks(places, names if endpoint == "clean" else [""] * len(names), linespacing=1.0)
            axes.tick_params(axis="y", length=0)
        figure.text(0.98, 0.1 / whole, f"row minus {study.treatment}, points", ha="right", va="bottom")
        return svg(figure)


def draw_panel(axes: Axes, study: Study, endpoint: Endpoint, places: Floats) -> None:
    """Draw all rows on one endpoint at heights `places`, (row,)."""
    found = contrasts(study, endpoint)
    values = study.values(endpoint)
    default = values[study.arms.index(study.treatment)]
    low, high = frame([pair for pair in found.values() if pair is not None])
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.grid(axis="x")
    axes.axvline(0, color=INK, linewidth=1.2)
    for place, (arm, pair) in zip(places, found.items(), strict=True):
        if pair is None:
            note(axes, float(place), low, "no result", color=INK)
            continue
        each = values[study.arms.index(arm)] - default
        draw_contrast(axes, pair, each[np.isfinite(each)], float(place))


def note(axes: Axes, place: float, edge: float, text: str, color: str, side: str = "left") -> None:
    """Write into a row at the left or right edge of the frame."""
    offset = (4 if side == "left" else -4, 0)
    axes.annotate(text, (edge, place), offset, textcoords="offset points", ha=side, va="center", color=color)


def draw_contrast(axes: Axes, pair: Contrast, each: Floats, place: float) -> None:
    """Draw a row's mean, interval and seeds, (seed,); of a mean beyond the frame an arrow and the number."""
    low, high = axes.get_xlim()
    look: dict[str, Any] = {"color": colour(pair)}
    mean = pair.t.difference
    if mean < low:
        note(axes, place, low, f"\N{LEFTWARDS ARROW} {mean:.1f}", **look)
        return
    if mean > high:
        note(axes, place, high, f"+{mean:.1f} \N{RIGHTWARDS ARROW}", side="right", **look)
        return
    each = each[(each >= low) & (each <= high)]
    axes.plot(each, np.full(len(each), place), linestyle="", marker="|", markersize=7, **look)
    if pair.t.low is not None and pair.t.high is not None:
        axes.plot([max(pair.t.low, low), min(pair.t.high, high)], [place, place], linewidth=1.5, **look)
    filled = pair.bh is not None and pair.bh < ALPHA
    face = look["color"] if filled else "none"
    axes.plot(mean, place, marker="o", markersize=6.5, markeredgewidth=1.6, markerfacecolor=face, **look)


def colour(pair: Contrast) -> str:
    """Return grey where the interval includes 0 or does not exist, else the colour of its side."""
    if pair.t.low is None or pair.t.high is None or pair.t.low <= 0 <= pair.t.high:
        return INK
    return ABOVE if pair.t.difference > 0 else BELOW


def frame(found: list[Contrast]) -> tuple[float, float]:
    """Return the ends of the axis: all of 0, means and intervals but those far out, with a margin."""
    ends = np.array([end for pair in found for end in (pair.t.low, pair.t.difference, pair.t.high) if end is not None])
    if not len(ends):
        return -1.0, 1.0
    first, third = np.quantile(ends, [0.25, 0.75])
    fence = FENCE * (third - first) or np.inf
    inside = ends[(ends >= first - fence) & (ends <= third + fence)]
    low, high = min(0.0, float(inside.min())), max(0.0, float(inside.max()))
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin
