"""Endpoints: curves of accuracy over eps and over training, against outcomes of single images and by hand."""

import re

import numpy as np
import pytest
from records import planted
from studies.saying import PROJECT

from benchmark.analysis.endpoints import (
    ENDPOINTS,
    POINTS,
    Measure,
    area_under_curve,
    first_crossing,
    images_to,
    learning_area,
    median_minimal_eps,
    reached,
    seconds_to,
)
from benchmark.analysis.paired import Floats
from benchmark.analysis.study import load_study
from benchmark.records.outcomes import learning_curve
from benchmark.records.schema import Record
from benchmark.report.words import heading

# Over eps.

EPS = np.array([0.0, 0.25, 0.5, 1.0, 2.0])


def thresholds(images: int, right: int, spread: float, seed: int) -> Floats:
    """The smallest eps that fools each image, (images,); 0 where it is wrong without attack."""
    found = np.zeros(images)
    found[:right] = np.random.default_rng(seed).gamma(2.0, spread, right)
    return found


def curve_of(falls_at: Floats, eps: Floats) -> Floats:
    """Accuracy in points at every eps, counted image by image."""
    counts = [sum(fall > value for fall in falls_at.tolist()) for value in eps.tolist()]
    return 100 * np.array(counts) / len(falls_at)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("images", "right"), [(200, 200), (200, 121), (1000, 7), (51, 50)])
def test_it_is_the_median_over_images_within_the_grid(images: int, right: int, seed: int) -> None:
    falls_at, step = thresholds(images, right, 0.4, seed), 0.01
    eps = np.linspace(0.0, 6.0, 601)
    found = median_minimal_eps(eps, curve_of(falls_at, eps))
    ranked = np.sort(falls_at[:right])
    lower, upper = ranked[(right - 1) // 2], ranked[right // 2]  # the same image where `right` is odd
    assert lower - step <= found <= upper + step
    assert found == pytest.approx(np.median(ranked), abs=step + (upper - lower) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_the_mean_over_images_of_how_far_they_stand(seed: int) -> None:
    falls_at, eps = thresholds(300, 240, 0.4, seed), np.linspace(0.0, 2.0, 201)
    expected = 100 * np.minimum(falls_at, 2.0).mean() / 2.0
    assert area_under_curve(eps, curve_of(falls_at, eps)) == pytest.approx(expected, abs=100 * 0.01 / 2.0)


NAN = float("nan")


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ((80.0, 60.0, 30.0, 5.0, 0.0), 0.25 + 0.25 * 2 / 3),  # from 60 to 30, 40 lies two thirds of the way down
        ((80.0, 60.0, 50.0, 40.0, 0.0), 1.0),  # half of the value at 0 is met on the grid
        ((80.0, 60.0, 50.0, 45.0, 40.0), 2.0),
        ((80.0, 40.0, 40.0, 40.0, 40.0), 0.25),  # the smallest eps at which half of the images have fallen
        ((80.0, 80.0, 80.0, 80.0, 40.1), np.inf),  # more than half are right at the end
        ((80.0, 80.0, 80.0, 80.0, 80.0), np.inf),
        ((40.0, 36.0, 24.0, 16.0, 0.0), 0.75),  # never above 50%: the value at 0 counts
        ((80.0, 72.0, 48.0, 32.0, 0.0), 0.75),
        ((80.0, 0.0, 0.0, 0.0, 0.0), 0.125),  # all images fall between 0 and the first eps
        ((0.0, 0.0, 0.0, 0.0, 0.0), 0.0),  # a network that is never right
        ((NAN, NAN, NAN, NAN, NAN), NAN),
        ((80.0, 60.0, 50.0, NAN, 0.0), NAN),
    ],
)
def test_the_median_of_a_curve_by_hand(curve: tuple[float, ...], expected: float) -> None:
    assert median_minimal_eps(EPS, np.array(curve)) == pytest.approx(expected, nan_ok=True)


def test_the_shape_is_that_of_the_curves() -> None:
    curve = np.array([80.0, 60.0, 40.0, 5.0, 0.0])
    scale = np.linspace(0.2, 1.2, 6).reshape(2, 3)
    curves = curve * scale[..., None]
    curves[1, 0], curves[0, 2] = [80, 60, 50, 45, 44], np.nan
    found = median_minimal_eps(EPS, curves)
    assert found.shape == (2, 3)
    expected = np.array([[0.5, 0.5, np.nan], [np.inf, 0.5, 0.5]])
    assert found == pytest.approx(expected, nan_ok=True)
    assert median_minimal_eps(EPS, curve).shape == ()
    assert median_minimal_eps(EPS, curves[:0]).shape == (0, 3)


def test_area_by_hand() -> None:
    eps = np.array([0.0, 1.0, 2.0, 4.0])
    # 0.5 (80 + 40) + 0.5 (40 + 20) + 2 x 0.5 (20 + 0) = 110, over 4
    assert area_under_curve(eps, np.array([80.0, 40.0, 20.0, 0.0])) == pytest.approx(27.5)
    assert area_under_curve(eps, np.full((2, 3, 4), 70.0)) == pytest.approx(np.full((2, 3), 70.0))
    with pytest.raises(ValueError, match="rise from 0"):
        area_under_curve(np.array([1.0, 2.0]), np.array([1.0, 2.0]))


# Over the training.


def run(*accuracies: float) -> Record:
    """A record with these accuracies after its epochs of 39 batches of 128 images and 5 seconds."""
    record = planted.record("sba", 0, 870)
    record["epochs"] = [{**epoch, "accuracy": a} for epoch, a in zip(record["epochs"], accuracies, strict=True)]
    return record


CURVE = (0.30, 0.50, 0.45, 0.80)
EPOCH = 39 * 128 / 1000  # thousand images: 5,000 in whole batches of 128


def test_the_curve_starts_from_guessing_and_counts_whole_batches() -> None:
    images, seconds, accuracy = learning_curve(run(*CURVE))
    assert images == pytest.approx(EPOCH * np.arange(5))
    assert seconds.tolist() == [0, 5, 10, 15, 20]
    assert accuracy == pytest.approx([10, 30, 50, 45, 80])


def test_an_epoch_that_was_cut_short_counts_its_own_images() -> None:
    record = run(*CURVE)
    record["epochs"][-1]["images"] = 1280
    assert learning_curve(record)[0] == pytest.approx([0, EPOCH, 2 * EPOCH, 3 * EPOCH, 3 * EPOCH + 1.28])
    spans, means = np.array([EPOCH, EPOCH, EPOCH, 1.28]), np.array([20, 40, 47.5, 62.5])
    assert learning_area(record) == pytest.approx((spans * means).sum() / spans.sum())


def test_the_area_is_the_mean_accuracy_over_the_training() -> None:
    assert learning_area(run(*CURVE)) == pytest.approx((20 + 40 + 47.5 + 62.5) / 4)
    assert learning_area(run(0.1, 0.1, 0.1, 0.1)) == pytest.approx(10)


@pytest.mark.parametrize(
    ("level", "epochs"),
    [(10, 0.0), (20, 0.5), (30, 1.0), (40, 1.5), (50, 2.0), (60, 3 + 15 / 35), (80, 4.0)],
)
def test_images_and_seconds_to_an_accuracy_lie_on_the_first_rise(level: float, epochs: float) -> None:
    assert images_to(run(*CURVE), level) == pytest.approx(EPOCH * epochs)
    assert seconds_to(run(*CURVE), level) == pytest.approx(5 * epochs)


def test_the_row_of_the_guide_is_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (row,) = re.findall(r'^    "ece": (Measure\(\n.*?^    \)),$', guide, re.MULTILINE | re.DOTALL)
    monkeypatch.setitem(ENDPOINTS, "ece", eval(row, {"Measure": Measure, "POINTS": POINTS}))
    records = planted.study({"sba": [870, 872], "standard": [858, 861]})
    records[0]["calibration"] = None  # of schema 1
    study = load_study("planted", records)
    assert study.values("ece")[:2, :2] == pytest.approx(np.array([[NAN, 4.0], [4.0, 4.0]]), nan_ok=True)
    assert study.title("ece") == "expected calibration error on the test images"
    assert heading(study, "ece") == "ECE, lower is better"


def test_never_reached_is_known() -> None:
    assert np.isnan(images_to(run(*CURVE), 90))
    assert np.isnan(seconds_to(run(*CURVE), 90))
    assert not reached(run(*CURVE), 80.1)
    assert reached(run(*CURVE), 80.0)
    assert np.isnan(first_crossing(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 2.0))
