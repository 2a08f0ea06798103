"""Figures: well-formed, the same bytes every time, with contrast on both of GitHub's backgrounds."""

import functools
import re
import subprocess
import sys
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib
import numpy as np
import planted
import pytest
from contrast import contrast

from benchmark.analysis.paired import paired_t
from benchmark.analysis.study import Study, load_study
from benchmark.report.figures.cost import cost_figure
from benchmark.report.figures.curves import accuracy_figure, mean_curve, robustness_figure
from benchmark.report.figures.differences import differences_figure, rows
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

    def test_has_contrast_on_both_backgrounds(self, draw: Draw) -> None:
        text = written(draw)
        colours = set(re.findall(r"#[0-9a-f]{6}\b", text))
        assert colours <= {INK, *COLOURS}
        assert min(contrast(colour, back) for colour in colours for back in (LIGHT, DARK)) >= 4

    def test_has_no_background(self, draw: Draw) -> None:
        assert LIGHT not in written(draw)

    def test_without_a_finished_run(self, draw: Draw) -> None:
        root = ElementTree.fromstring(draw(load_study("planted", [planted.diverged("sba", 0)])))
        assert root.tag.endswith("svg")
        assert len(list(root.iter())) > 20  # axes and labels are there, though there is no curve


FAINT = re.compile(r"(?:stroke-)?opacity: 0\.35")


@pytest.mark.parametrize("draw", [accuracy_figure, robustness_figure])
def test_every_finished_run_is_a_faint_line(draw: Draw) -> None:
    assert len(FAINT.findall(written(draw))) == len([r for r in study().records.values() if r["status"] == "done"])


def test_runs_that_end_apart_have_a_mean_of_shared_epochs_and_of_ends() -> None:
    first = (np.array([1.0, 2.0, 2.5]), np.array([50.0, 60.0, 70.0]))
    second = (np.array([1.0, 2.0, 3.0, 3.1]), np.array([40.0, 50.0, 60.0, 90.0]))
    x, y = mean_curve([first, second])
    assert x.tolist() == [1.0, 2.0, 2.8]
    assert y.tolist() == [45.0, 55.0, 80.0]


COUNTS = {"sba": [870, 872, 868, 871, 869], "standard": [858, 861, 857, 862, 857], "mixup": [871, 868, 872, 866, 871]}


def test_differences_are_those_of_the_paired_test_and_sure_where_the_verdict_is() -> None:
    found = rows(load_study("planted", planted.study(COUNTS)), "clean")
    points = {arm: np.array(row) / 10 for arm, row in COUNTS.items()}
    for arm in ("standard", "mixup"):
        t, row = paired_t(points["sba"], points[arm]), found[arm]
        assert row is not None
        assert (row.mean, row.low, row.high) == (t.difference, t.low, t.high)
        assert row.each == pytest.approx(points["sba"] - points[arm])
        assert row.sure == (arm == "standard")


def test_few_seeds_are_never_sure() -> None:
    few = rows(load_study("planted", planted.study({arm: row[:3] for arm, row in COUNTS.items()})), "clean")
    assert not any(row.sure for row in few.values() if row)
    assert rows(load_study("planted", [planted.record("sba", 0, 870)]), "area") == {"standard": None, "mixup": None}


def test_the_positive_control_is_left_out_of_the_cost() -> None:
    records = planted.study({**COUNTS, "adversarial": [500] * 5})
    for record in records:
        record["analysis"]["positive_control"] = "adversarial"
    assert "adversarial" not in cost_figure(load_study("planted", records))
    assert "adversarial" in accuracy_figure(load_study("planted", records))


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


def test_neither_torch_nor_pyplot_is_imported() -> None:
    code = "import sys, benchmark.report.build; print(sorted({'torch', 'matplotlib.pyplot'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
