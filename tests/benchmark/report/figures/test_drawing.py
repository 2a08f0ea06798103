"""All figures: well-formed, the same bytes every time, contrast on GitHub's backgrounds, texts that can be read."""

import functools
import re
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from pages.contrast import contrast
from pages.drawn import boxes, drawn, planted_study, study_of, texts
from records import planted

from benchmark.analysis.study import Study, load_study
from benchmark.report.figures.curves import accuracy_figure, cost_figure, robustness_figure
from benchmark.report.figures.differences import differences_figure
from benchmark.report.figures.drawing import COLOURS, INK, WIDTH, spread, style, wrap

Draw = Callable[[Study], str]
LIGHT, DARK = "#ffffff", "#0d1117"
SHOWN, SMALLEST = 360, 10.8  # pixels: width of a figure on a small screen, and height of its text there
EVERY_FIGURE = pytest.mark.parametrize("draw", [accuracy_figure, robustness_figure, differences_figure, cost_figure])
ARMS = (
    *("sba", "standard", "erm", "mixup", "sba_no_augmentation", "hard_labels", "manifold_mixup", "cutmix"),
    *("label_smoothing", "batch_augmentation", "stability", "adversarial"),
)


def study() -> Study:
    counts = {"sba": [870, 872, 868], "standard": [858, 861, 857], "sba_no_augmentation": [840, 841, 842]}
    records = [*planted.study(counts), planted.diverged("mixup", 1)]
    return load_study("planted", records)


@functools.cache
def written(draw: Draw) -> str:
    """The text of a figure of that study, for tests that only read it."""
    return draw(study())


@EVERY_FIGURE
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


# Every text is large enough, inside the figure, and over no other text.


def large() -> Study:
    """Twelve arms of 200 epochs, most of which end within two points of each other."""
    records = planted.study({arm: [770 - 2 * i, 771 - 3 * i] for i, arm in enumerate(ARMS)})
    for record in records:
        last = record["epochs"][-1]["accuracy"]
        shares = 1 - 0.6 * np.exp(-np.arange(200) / 40)
        record["epochs"] = [{**record["epochs"][0], "epoch": i + 1, "accuracy": last * s} for i, s in enumerate(shares)]
        record["cost"]["train_flops"] *= 1 + ARMS.index(record["arm"]) % 3
    return study_of(records, against=list(ARMS[1:-1]), seeds=[0, 1], positive_control="adversarial")


def narrow() -> Study:
    """Two arms that end within a tenth of a point of all images."""
    return planted_study({"sba": [999, 1000, 999, 1000], "standard": [999, 999, 999, 1000]})


def wide() -> Study:
    """Two arms that end two points apart, the upper one at 100%."""
    return planted_study({"sba": [999, 1000, 1000, 1000], "standard": [984, 985, 984, 985]})


def far() -> Study:
    """Arms far out on either side, one without a result, and a diverged run."""
    near = {f"near_{i}_with_a_rather_long_name": [858 + i, 861, 857, 862 - i] for i in range(9)}
    counts = {"sba": [870, 874, 868, 871], **near, "far_below": [300, 310, 305, 320]}
    records = [*planted.study(counts), planted.diverged("gone", 1)]
    return study_of(records, against=[*near, "far_below", "gone"], seeds=[0, 1, 2, 3])


def one() -> Study:
    """One run of the treatment alone."""
    return planted_study({"sba": [870]}, against=["standard"])


@EVERY_FIGURE
@pytest.mark.parametrize("study", [large, narrow, wide, far, one])
def test_texts_are_large_enough_inside_and_apart(study: Callable[[], Study], draw: Draw) -> None:
    found: list[tuple[str, tuple[float, float, float, float]]] = []

    def look(figure: Figure) -> None:
        found.extend((text, box.extents) for text, box in boxes(figure))
        sizes = [float(text.get_fontsize()) for text in texts(figure)]
        assert min(sizes) * SHOWN / (72 * WIDTH) >= SMALLEST

    figure = drawn(draw, study(), look)
    assert len(found) > 5
    for i, (text, (left, bottom, right, top)) in enumerate(found):
        assert left >= 0, text
        assert bottom >= 0, text
        assert right <= 72 * figure.get_figwidth(), text
        assert top <= 72 * figure.get_figheight(), text
        for other, (west, south, east, north) in found[:i]:
            apart = max(west - right, left - east, south - top, bottom - north)
            assert apart > -0.5, f"{text!r} lies over {other!r}"
