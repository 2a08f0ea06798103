"""Figures as matplotlib's artists, before they become SVG text; and planted studies to draw."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from records import planted

from benchmark.analysis.study import Study, load_study
from benchmark.records.schema import Record
from benchmark.report.figures import curves, differences, drawing


def study_of(records: Sequence[Record], **analysis: Any) -> Study:
    """The study of records, with changes in what was named beforehand."""
    for record in records:
        record["analysis"] |= analysis
    return load_study("planted", list(records))


def planted_study(
    counts: Mapping[str, Sequence[int]], curves: Mapping[str, Sequence[Sequence[int]]] | None = None, **analysis: Any
) -> Study:
    """A study as `planted.study`, whose treatment "sba" is compared with all others."""
    against = [arm for arm in counts if arm != "sba"]
    seeds = list(range(max(len(row) for row in counts.values())))
    return study_of(planted.study(counts, curves), **{"against": against, "seeds": seeds, **analysis})


def drawn(draw: Callable[[Study], str], study: Study, look: Callable[[Figure], None] = lambda _figure: None) -> Figure:
    """The figure that `draw` would write; `look` sees it under the settings that it is written with."""
    kept: list[Figure] = []

    def keep(figure: Figure) -> str:
        kept.append(figure)
        look(figure)
        return ""

    with pytest.MonkeyPatch.context() as patch:
        for module in (curves, differences):
            patch.setattr(module, "svg", keep)
        draw(study)
    return kept[0]


def lines(axes: Axes, index: int | None = None) -> list[Line2D]:
    """The lines and marks in data units; those in the colour of one arm alone where its number is given."""
    data = [line for line in axes.lines if line.get_transform() == axes.transData]
    return [line for line in data if index is None or to_hex(line.get_color()) == drawing.style(index).color]


def faint(axes: Axes, index: int) -> list[Line2D]:
    """The single runs of an arm."""
    return [line for line in lines(axes, index) if line.get_alpha() == drawing.FAINT]


def strong(axes: Axes, index: int) -> Line2D:
    """The mean of an arm."""
    (mean,) = (line for line in lines(axes, index) if line.get_alpha() is None)
    return mean


def points(line: Line2D) -> list[tuple[float, float]]:
    """What a line goes through, in data units."""
    x, y = line.get_data()
    return [(float(a), float(b)) for a, b in zip(np.asarray(x), np.asarray(y), strict=True)]


def texts(figure: Figure) -> Iterator[Text]:
    """Every text that is drawn; ticks beyond the ends of an axis are not."""
    yield from figure.texts
    for axes in figure.axes:
        labels = [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        labels += [child for child in axes.get_children() if isinstance(child, Text) and child not in labels]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            if ticks := axis.get_majorticklabels():  # none where a panel below or beside has them
                places = zip(axis.get_majorticklocs(), ticks, strict=True)
                labels += [label for place, label in places if low <= place <= high]
        yield from (label for label in labels if label.get_text() and label.get_visible())


def boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is drawn, with where it stands in points."""
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    return [(text.get_text(), Bbox(text.get_window_extent().get_points() * scale)) for text in texts(figure)]
