"""Figures: well-formed, the same bytes every time, with contrast on both of GitHub's backgrounds."""

import functools
import re
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from pages.contrast import contrast
from records import planted

from benchmark.analysis.study import Study, load_study
from benchmark.report.figures.curves import accuracy_figure, cost_figure, robustness_figure
from benchmark.report.figures.differences import differences_figure
from benchmark.report.figures.drawing import COLOURS, INK, spread, style, wrap

Draw = Callable[[Study], str]
LIGHT, DARK = "#ffffff", "#0d1117"


def study() -> Study:
    counts = {"sba": [870, 872, 868], "standard": [858, 861, 857], "sba_no_augmentation": [840, 841, 842]}
    records = [*planted.study(counts), planted.diverged("mixup", 1)]
    return load_study("planted", records)


@functools.cache
def written(draw: Draw) -> str:
    """The text of a figure of that study, for tests that only read it."""
    return draw(study())


@pytest.mark.parametrize("draw", [accuracy_figure, robustness_figure, differences_figure, cost_figure])
class TestFigure:
    def test_is_well_formed_and_names_every_arm(self, draw: Draw) -> None:
        text = written(draw)
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        texts = re.findall(r"<!-- (.*?) -->", text)  # a label's text stands in front of its paths
        for label in ("sba", "standard", "mixup" if draw is differences_figure else "augmentation"):
            assert any(label in shown for shown in texts)

    def test_is_the_same_twice_and_undated(self, draw: Draw) -> None:
        text = written(draw)
        assert text == draw(study())
        assert "date" not in text.lower()
        assert matplotlib.__version__ not in text

    def test_ignores_the_users_settings_and_leaves_them(self, draw: Draw) -> None:
        plain = written(draw)
        with matplotlib.rc_context({"font.size": 40.0, "lines.linewidth": 9.0}):
            assert draw(study()) == plain
            assert matplotlib.rcParams["font.size"] == 40.0

    def test_has_only_colours_with_contrast(self, draw: Draw) -> None:
        text = written(draw)
        colours = set(re.findall(r"#[0-9a-f]{6}\b", text))
        assert colours <= {INK, *COLOURS}

    def test_has_no_background(self, draw: Draw) -> None:
        assert LIGHT not in written(draw)

    def test_without_a_finished_run(self, draw: Draw) -> None:
        root = ElementTree.fromstring(draw(load_study("planted", [planted.diverged("sba", 0)])))
        assert root.tag.endswith("svg")
        assert len(list(root.iter())) > 20  # axes and labels are there, though there is no curve


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_every_colour_has_contrast() -> None:
    assert min(contrast(colour, back) for colour in (INK, *COLOURS) for back in (LIGHT, DARK)) >= 4


def test_arms_differ_in_more_than_colour() -> None:
    assert len({(str(style(i).linestyle), style(i).marker) for i in range(45)}) == 45
    assert len({(style(i).color, style(i).marker) for i in range(72)}) == 72


def test_labels_never_overlap_and_stay_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        heights = rng.choice([0.05, 0.1], 6)
        rows = spread(sorted(rng.uniform(0, 1, 6)), heights.tolist())
        low, high = rows - heights / 2, rows + heights / 2
        assert (low[1:] >= high[:-1] - 1e-12).all()
        assert low[0] >= -1e-12
        assert high[-1] <= 1 + 1e-12


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([0.2, 0.5, 0.8], [0.1, 0.1, 0.1]) == pytest.approx([0.2, 0.5, 0.8])
    assert spread([0.5, 0.5], [0.1, 0.1]) == pytest.approx([0.45, 0.55])


@pytest.mark.parametrize(
    ("arm", "lines"),
    [
        ("sba", "sba"),
        ("sba_no_augmentation", "sba_no_\naugmentation"),
        ("label_smoothing", "label_\nsmoothing"),
        ("verylongwithoutanybreak", "verylongwithoutanybreak"),
    ],
)
def test_wrap(arm: str, lines: str) -> None:
    assert wrap(arm) == lines
