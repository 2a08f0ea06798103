"""The figure of differences as SVG text: on the first two endpoints, each arm's mean, 95% interval and every seed.

For studies that test: the treatment minus each compared arm, with the margin of equivalence shaded. For an
exploratory study: each row minus the default.
"""

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from benchmark.analysis.comparisons import comparisons, outcome
from benchmark.analysis.endpoints import ENDPOINTS
from benchmark.analysis.exploratory import DECIDE, contrasts
from benchmark.analysis.paired import MIN_PAIRS_TO_TEST, Floats
from benchmark.analysis.study import Study
from benchmark.report.figures.drawing import COLOURS, INK, ROW, canvas, svg, wrap
from benchmark.report.notation import plain, series, signed
from benchmark.report.words import direction, heading, short_title
from benchmark.settings.values import Endpoint

ABOVE, BELOW = COLOURS[0], COLOURS[1]
_LETTERS, _TITLE = 20, 26  # characters on one line of a row's name, of a panel's title
_LEFT, _PANEL = (0.37, 0.70), 0.28  # left edges and width of the panels, as shares of the figure
_ABOVE_ROWS, _BELOW_ROWS = 0.35, 0.75  # inches for the titles, and for ticks and the label
_HEADING = 0.4  # inches for the title of a group
PITCH, _DENSE = 1.5, 1.1  # height of a row, in lines of its name; of an exploratory study's many rows
_FENCE = 3.0  # interquartile ranges; values further out do not widen the frame,
_SQUEEZE = 2.0  # unless the frame is at most this many times as wide with them


class Row(NamedTuple):
    """A difference: mean, interval (None: undefined), the values of the seeds, and whether it is decided."""

    mean: float
    low: float | None
    high: float | None
    each: Floats
    sure: bool


def panels(studies: Sequence[Study]) -> tuple[Endpoint, ...]:
    """Return the endpoints that a figure draws: the first two that its studies name, or those of an ablation's rule."""
    named = [endpoint for study in studies for endpoint in (DECIDE if study.exploratory else study.endpoints)]
    return tuple(dict.fromkeys(named))[: len(_LEFT)]


def rows(study: Study, endpoint: Endpoint) -> dict[str, Row | None]:
    """Return arm -> row, in the order named; None where no seed is finished in both or the endpoint was not named.

    `sure` is a verdict of higher or lower; in an exploratory study p < .05 after Benjamini and Hochberg.
    """
    values = dict(zip(study.arms, study.values(endpoint), strict=True))  # arm -> (seed,)
    found: dict[str, Row | None] = dict.fromkeys(study.against)
    sign = -1 if study.exploratory else 1
    each = {arm: sign * (values[study.treatment] - values[arm]) for arm in study.against}
    seeds = {arm: differences[np.isfinite(differences)] for arm, differences in each.items()}
    if study.exploratory:
        for arm, row in contrasts(study, endpoint).items():
            if row:
                found[arm] = Row(row.t.difference, row.t.low, row.t.high, seeds[arm], row.sure)
    elif endpoint in study.endpoints:
        for arm, pair in comparisons(study, endpoint).items():
            if pair:
                tested = pair.n >= MIN_PAIRS_TO_TEST and not study.interim(arm)
                low, high = (pair.low, pair.high) if tested else (None, None)
                sure = tested and outcome(pair).startswith(("higher", "lower"))
                found[arm] = Row(pair.difference, low, high, seeds[arm], sure)
    return found


def differences_figure(study: Study) -> str:
    """Draw every difference of a study: mean, 95% interval and each seed, on its `panels`."""
    margin = 0.0 if study.exploratory else float(study.analysis["margin"])
    arm = study.treatment
    label = f"row minus {arm}" if study.exploratory else f"{arm} minus row"
    return _figure([("", study, study.against)], margin, label, _DENSE if study.exploratory else PITCH)


def answer_figure(studies: Sequence[Study]) -> str:
    """Draw the differences of several studies from the arms of the claims, each study below its title."""
    margins = {float(study.analysis["margin"]) for study in studies}
    label = f"{_treatment(studies)} minus row"
    groups = [(plain(short_title(study)), study, study.families[0]) for study in studies]
    return _figure(groups, margins.pop() if len(margins) == 1 else 0.0, label, _DENSE)


def alt(studies: Sequence[Study], claims_alone: bool) -> str:
    """Return the alternative text of a figure of differences: every mean difference that it draws.

    The figure of the answer draws the arms of the claims alone, that of a study's page its relatives too.
    """
    said = []
    for study in studies:
        arms = study.families[0] if claims_alone else study.against
        for endpoint in (drawn for drawn in panels(studies) if drawn in study.endpoints):
            pairs = comparisons(study, endpoint)
            found = [f"{arm} {signed(pair.difference)}" for arm in arms if (pair := pairs[arm])]
            where = f"{study.preset}, " if len(studies) > 1 else ""
            said.append(f"{where}{heading(study, endpoint)}: {', '.join(found) or 'no result yet'}")
    units = series(dict.fromkeys(ENDPOINTS[endpoint].unit for endpoint in panels(studies)))
    return f"{_treatment(studies)} minus each other arm, mean over seeds in {units}; {'; '.join(said)}"


def _treatment(studies: Sequence[Study]) -> str:
    treatments = {study.treatment for study in studies}
    return treatments.pop() if len(treatments) == 1 else "treatment"


def _figure(groups: Sequence[tuple[str, Study, Sequence[str]]], margin: float, label: str, pitch: float) -> str:
    """Draw groups (title, study, arms) below one another on one scale; `pitch` is a row's height in lines of text."""
    names = [[wrap(arm, _LETTERS) for arm in arms] for _, _, arms in groups]
    heights = [pitch * ROW * np.array([1.0 + name.count("\n") for name in group]) for group in names]
    gap = _HEADING if len(groups) > 1 else 0.0
    shown = panels([study for _, study, _ in groups])
    units = {ENDPOINTS[endpoint].unit for endpoint in shown}
    titles = [_title(groups[0][1], endpoint, with_unit=len(units) > 1) for endpoint in shown]
    above = _ABOVE_ROWS + ROW * max(title.count("\n") for title in titles)
    whole = above + sum(float(h.sum()) + gap for h in heights) + _BELOW_ROWS
    with canvas(whole) as figure:
        for endpoint, title, left in zip(shown, titles, _LEFT, strict=False):  # there may be one
            band = margin if ENDPOINTS[endpoint].margin else 0.0
            found = [[*map(rows(study, endpoint).get, arms)] for _, study, arms in groups]  # (group, arm)
            limits = frame([row for of in found for row in of if row], band)
            top = whole - above
            for index, (of, lines, h) in enumerate(zip(found, names, heights, strict=True)):
                total = float(h.sum())
                top -= gap
                axes = figure.add_axes((left, (top - total) / whole, _PANEL, total / whole))
                places = -(np.cumsum(h) - h / 2)  # (row,), in inches from the top, downwards
                axes.set_xlim(*limits)
                _draw_panel(axes, list(zip(places.tolist(), of, strict=True)), band)
                axes.set_ylim(-total, 0)
                axes.set_yticks(places, lines if left == _LEFT[0] else [""] * len(lines), linespacing=1.0)
                axes.tick_params(axis="y", length=0)
                if index < len(groups) - 1:
                    axes.tick_params(axis="x", labelbottom=False)
                if gap and left == _LEFT[0]:
                    figure.text(0.01, (top + 0.06) / whole, groups[index][0], va="bottom", weight="bold")
                top -= total
            figure.text(left, (whole - above + 0.06) / whole, title, va="bottom")
        label = f"{label}, {units.pop()}" if len(units) == 1 else label
        figure.text(0.98, 0.1 / whole, label, ha="right", va="bottom")
        return svg(figure)


def _title(study: Study, endpoint: Endpoint, with_unit: bool) -> str:
    """Return the title of a panel, in lines that are as wide as the panel."""
    unit = f", {ENDPOINTS[endpoint].unit}" if with_unit else ""
    return textwrap.fill(study.short(endpoint) + unit, _TITLE) + direction(endpoint).replace(" ", "\n", 1)


def _draw_panel(axes: Axes, drawn: Sequence[tuple[float, Row | None]], margin: float) -> None:
    """Draw rows, each at its height, with the margin of equivalence around 0."""
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.grid(axis="x")
    if margin:
        axes.axvspan(-margin, margin, color=INK, alpha=0.2, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1.2)
    for place, row in drawn:
        if row is None:
            _note(axes, place, axes.get_xlim()[0], "no result", color=INK)
        else:
            _draw_row(axes, row, place)


def _note(axes: Axes, place: float, edge: float, text: str, color: str, side: str = "left", points: float = 4) -> None:
    """Write into a row, `points` from the left or right edge of the frame."""
    offset = (points if side == "left" else -points, 0)
    axes.annotate(text, (edge, place), offset, textcoords="offset points", ha=side, va="center", color=color)


def _draw_row(axes: Axes, row: Row, place: float) -> None:
    """Draw a row's mean, interval and seeds; a triangle at the edge if some of them are beyond the frame."""
    low, high = axes.get_xlim()
    if not low <= row.mean <= high:
        _draw_far(axes, row, place)
        return
    ends = [] if row.low is None or row.high is None else [row.low, row.high]
    axes.plot(ends, [place] * len(ends), color=_colour(row), linewidth=1.5)
    axes.plot(row.each, [place] * len(row.each), linestyle="", marker="|", markersize=9, color=_colour(row))
    for edge, marker, beyond in (
        (low, CARETLEFT, min([*row.each, *ends]) < low),
        (high, CARETRIGHT, max([*row.each, *ends]) > high),
    ):
        if beyond:
            axes.plot(edge, place, marker=marker, color=_colour(row), clip_on=False)
    axes.plot(row.mean, place, **_dot(row))


def _draw_far(axes: Axes, row: Row, place: float) -> None:
    """Draw a mean beyond the frame: its dot just inside the edge, an arrow and the number."""
    low, high = axes.get_xlim()
    below = row.mean < low
    edge, inwards, side = (low, 1, "left") if below else (high, -1, "right")
    moved = ScaledTranslation(7 * inwards / 72, 0, axes.figure.dpi_scale_trans)  # 7 points
    axes.plot(edge, place, transform=axes.transData + moved, **_dot(row))
    mean = signed(row.mean, 1) if abs(row.mean) >= 1 else f"{row.mean:+.2g}"
    text = f"\N{LEFTWARDS ARROW} {mean}" if below else f"{mean} \N{RIGHTWARDS ARROW}"
    _note(axes, place, edge, text, _colour(row), side, 14)


def _dot(row: Row) -> dict[str, Any]:
    """Return the properties of the mean's marker: filled if it is decided."""
    face = _colour(row) if row.sure else "none"
    return {"marker": "o", "markersize": 6.5, "markeredgewidth": 1.6, "color": _colour(row), "markerfacecolor": face}


def _colour(row: Row) -> str:
    """Return grey if the interval includes 0 or does not exist, else the colour of its side."""
    if row.low is None or row.high is None or row.low <= 0 <= row.high:
        return INK
    return ABOVE if row.mean > 0 else BELOW


def frame(found: list[Row], margin: float = 0.0) -> tuple[float, float]:
    """Return the limits of the axis: around 0, the margin, means, intervals and seeds without outliers."""
    drawn = np.array([end for row in found for end in (row.low, row.mean, row.high, *row.each) if end is not None])
    low, high = -margin, margin
    if len(drawn):
        first, third = np.quantile(drawn, [0.25, 0.75])
        fence = _FENCE * (third - first) or np.inf
        inside = drawn[(drawn >= first - fence) & (drawn <= third + fence)]
        near, whole = (np.array([low, high, *ends]) for ends in (inside, drawn))
        kept = whole if np.ptp(whole) <= _SQUEEZE * np.ptp(near) else near
        low, high = float(kept.min()), float(kept.max())
    rim = 0.06 * (high - low) or 1.0
    return low - rim, high + rim
