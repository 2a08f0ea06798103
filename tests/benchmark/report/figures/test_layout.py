"""Every text of every figure can be read: large enough, inside the figure, and over no other text."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from pages.drawn import boxes, drawn, planted_study, study_of, texts
from records import planted

from benchmark.analysis.study import Study
from benchmark.report.figures.curves import accuracy_figure, cost_figure, robustness_figure
from benchmark.report.figures.differences import differences_figure
from benchmark.report.figures.drawing import WIDTH

SHOWN, SMALLEST = 360, 10.8  # pixels: width of a figure on a small screen, and height of its text there
ARMS = (
    *("sba", "standard", "erm", "mixup", "sba_no_augmentation", "hard_labels", "manifold_mixup", "cutmix"),
    *("label_smoothing", "batch_augmentation", "stability", "adversarial"),
)


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


@pytest.mark.parametrize("draw", [accuracy_figure, robustness_figure, differences_figure, cost_figure])
@pytest.mark.parametrize("study", [large, narrow, wide, far, one])
def test_texts_are_large_enough_inside_and_apart(study: Callable[[], Study], draw: Callable[[Study], str]) -> None:
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
