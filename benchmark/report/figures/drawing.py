"""The style of all figures; their SVG text is a deterministic function of the records.

Ids are salted with a constant, no date and no version is written, and the user's matplotlibrc is not read. Text is
drawn as paths, because labels are placed by their size, which depends on the font; alternative texts are for screen
readers.

The background is transparent. Every colour has a contrast of at least 4:1 on white and on GitHub's dark #0d1117
(4.35:1 is the maximum on both); line styles, markers and labels make arms distinguishable without colour.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy.optimize import isotonic_regression

from benchmark.analysis.paired import Floats

INK = "#77808b"  # text, axes and grid
COLOURS = ("#1f7ae0", "#c2570c", "#1a8a4a", "#cf3f96", "#8957e5", "#0e8a94", "#8a7f00", "#77808b")
_DASHES = ("-", (0, (6, 2)), (0, (1.2, 1.2)), (0, (7, 2, 1.5, 2)), (0, (5, 1.5, 1.2, 1.5, 1.2, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<")
WIDTH, _HEIGHT = 6.0, 4.2  # inches
_TEXT = 13.0  # points: 11 pixels where the figure is shown 360 pixels wide
FAINT = 0.35  # opacity of a single run
ROW = _TEXT * 1.25 / 72  # height of a line of text, in inches
_BOX = (0.11, 0.15, 0.55, 0.73)  # left, bottom, width and height of the axes, as shares of the figure
_COLUMNS, _LEFT, _GAP, _HIGHEST = 3, 0.52, 0.22, 2.4  # of small multiples: panels in a row; inches
_RIM = 0.07  # inches
_BAND = 0.25  # opacity of a range
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "sba-benchmark",
    "svg.fonttype": "path",
    "font.size": _TEXT,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
}


Curves = tuple[Floats, Floats]  # x, (point,), and y of every run, (run, point)


class Style(NamedTuple):
    """The line of an arm."""

    color: str
    linestyle: str | tuple[int, tuple[float, ...]]
    marker: str
    linewidth: float

    @property
    def line(self) -> dict[str, Any]:
        """The properties of the line without its markers."""
        return {"color": self.color, "linestyle": self.linestyle, "linewidth": self.linewidth}


def style(index: int) -> Style:
    """Return the style of arm number `index`, 0 being the treatment; repeats after 360."""
    dashes, marker = _DASHES[index % len(_DASHES)], _MARKERS[index % len(_MARKERS)]
    return Style(COLOURS[index % len(COLOURS)], dashes, marker, 3.0 if index == 0 else 1.8)


@contextmanager
def drawing(arms: Sequence[str], title: str, below: str) -> Iterator[tuple[Figure, Axes]]:
    """Give an empty figure, high enough for the arms' labels, and its axes, titled and with a label below."""
    rows = sum(1 + wrap(arm).count("\n") for arm in arms)
    with canvas(max(_HEIGHT, rows * ROW / _BOX[3])) as figure:
        axes = figure.add_axes(_BOX)
        axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        axes.grid(axis="y")
        axes.set_title(title, loc="left")
        axes.set_xlabel(below)
        yield figure, axes


@contextmanager
def canvas(height: float) -> Iterator[Figure]:
    """Give an empty figure, `height` inches high, with matplotlib's defaults and `_SETTINGS` alone."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        figure = Figure(figsize=(WIDTH, height))
        FigureCanvasSVG(figure)
        yield figure


@contextmanager
def multiples(treatment: str, arms: Sequence[str], title: str, below: str) -> Iterator[tuple[Figure, dict[str, Axes]]]:
    """Give a figure with a panel for each arm but the treatment, arm -> axes, and a legend of `looks`.

    Panels have the same ticks and must be given the same limits. Without another arm the treatment has the panel.
    """
    named = [arm for arm in arms if arm != treatment] or [treatment]
    columns = min(len(named), _COLUMNS)
    width = (WIDTH - _LEFT - columns * _GAP) / columns
    height = min(0.75 * width, _HIGHEST)
    rows = [named[start : start + columns] for start in range(0, len(named), columns)]
    above = [ROW * (1 + max(wrap(arm).count("\n") for arm in row)) + _RIM for row in rows]  # the names of a row
    head, foot = 2 * ROW + _RIM, 2 * ROW + 2 * _RIM
    whole = head + sum(above) + len(rows) * height + foot
    with canvas(whole) as figure:
        panels: dict[str, Axes] = {}
        bottom = whole - head
        for row, names in zip(rows, above, strict=True):
            bottom -= names + height
            for column, arm in enumerate(row):
                left = _LEFT + column * (width + _GAP)
                axes = figure.add_axes((left / WIDTH, bottom / whole, width / WIDTH, height / whole))
                axes.set_title(wrap(arm), loc="left", pad=4, linespacing=1.0)
                axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
                axes.grid(axis="y")
                lowest = len(panels) + columns >= len(named)  # of its column
                axes.tick_params(labelleft=column == 0, labelbottom=lowest)
                panels[arm] = axes
        figure.text(_RIM / WIDTH, 1 - 0.05 / whole, title, va="top")
        figure.text(1 - _RIM / WIDTH, _RIM / whole, below, ha="right", va="bottom")
        other = "the arm named above" if named != [treatment] else treatment
        _legend(figure, looks(treatment, other), 1 - (0.05 + 1.5 * ROW) / whole)
        yield figure, panels


def looks(treatment: str, arm: str) -> dict[str, dict[str, Any]]:
    """Return the lines of a panel, arm -> properties: the treatment wide, the panel's arm thin and on top of it."""
    wide, thin = {"color": COLOURS[0], "linewidth": 3.0}, {"color": COLOURS[1], "linewidth": 1.5}
    return {treatment: wide} if arm == treatment else {treatment: wide, arm: thin}


def _legend(figure: Figure, lines: dict[str, dict[str, Any]], height: float) -> None:
    """Write names with samples of their lines in one row, at `height` as a share of the figure."""
    x = _RIM
    for name, look in lines.items():
        figure.add_artist(Line2D([x / WIDTH, (x + 0.3) / WIDTH], [height, height], **look))
        text = figure.text((x + 0.38) / WIDTH, height, name, va="center_baseline", color=look["color"])
        x += 0.38 + text.get_window_extent().width / figure.dpi + 0.25


def draw_range(axes: Axes, x: Floats, y: Floats, look: dict[str, Any]) -> None:
    """Draw the mean over runs as a line and their range as a band; x is (point,), y is (run, point)."""
    if len(y) > 1:
        axes.fill_between(x, y.min(axis=0), y.max(axis=0), color=look["color"], alpha=_BAND, linewidth=0)
    axes.plot(x, y.mean(axis=0), **look)


def label_ends(axes: Axes, arms: Sequence[str], ends: dict[str, tuple[float, float]]) -> None:
    """Label each arm to the right of the axes, with a leader from its point in `ends`, in data units."""
    ordered = sorted(ends, key=lambda arm: (ends[arm][1], -arms.index(arm)))
    low, high = axes.get_ylim()
    inches = axes.bbox.height / axes.figure.dpi
    heights = [ROW * (1 + wrap(arm).count("\n")) / inches for arm in ordered]
    rows = spread([(ends[arm][1] - low) / (high - low) for arm in ordered], heights)
    for arm, row in zip(ordered, rows, strict=True):
        look = style(arms.index(arm))
        lead = {"arrowstyle": "-", "linewidth": 0.8, "alpha": 0.5, "color": look.color}
        axes.annotate("", ends[arm], (1.06, row), "data", "axes fraction", lead, annotation_clip=False)
        place: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
        axes.plot([1.06, 1.18], [row, row], **look.line, **place)
        axes.plot([1.12], [row], marker=look.marker, markersize=6, color=look.color, **place)
        axes.text(1.2, row, wrap(arm), color=look.color, va="center", linespacing=1.1, transform=axes.transAxes)


def wrap(arm: str, letters: int = 13) -> str:
    """Break an arm's name after underscores into lines of at most `letters` letters, if possible."""
    lines = [""]
    for part in re.findall(r"[^_]*_|[^_]+", arm):
        if lines[-1] and len(lines[-1] + part) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def spread(wanted: Sequence[float], heights: Sequence[float]) -> Floats:
    """Move increasing positions of labels as little as possible (least squares) so that none overlaps the next.

    Both are (label,), in shares of the axes' height; the labels stay within [0, 1] if they fit.
    """
    if not wanted:
        return np.empty(0)
    h = np.asarray(heights)
    offsets = np.concatenate([[0.0], np.cumsum((h[1:] + h[:-1]) / 2)])
    free = np.asarray(isotonic_regression(np.asarray(wanted) - offsets).x)
    top = 1 - h[-1] / 2 - offsets[-1]
    return np.asarray(np.clip(free, h[0] / 2, max(top, h[0] / 2)) + offsets, dtype=np.float64)


def svg(figure: Figure) -> str:
    """Return the figure as SVG text with a transparent background, its curves rounded to hundredths of a point."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), file.getvalue())
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
