"""Numbers of a curve of accuracy over eps, against outcomes of single images on a fine grid."""

import numpy as np
import pytest

from benchmark.analysis.curves import area_under_curve, median_minimal_eps
from benchmark.analysis.paired import Floats

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


def test_it_is_the_inverse_of_the_curve_at_half_of_its_value_at_0() -> None:
    generator = np.random.default_rng(0)
    falling = np.sort(generator.random((50, 5)), axis=1)[:, ::-1] * [100, 100, 100, 100, 30]
    falling[:, -1] = np.minimum(falling[:, -1], falling[:, 0] / 3)
    falling = np.sort(falling, axis=1)[:, ::-1]
    expected = [np.interp(curve[0] / 2, curve[::-1], EPS[::-1]) for curve in falling]
    assert median_minimal_eps(EPS, falling) == pytest.approx(np.array(expected))


def test_hand_computed() -> None:
    # From 60 at .25 to 30 at .5, 40 lies two thirds of the way down.
    assert median_minimal_eps(EPS, np.array([80.0, 60.0, 30.0, 5.0, 0.0])) == pytest.approx(0.25 + 0.25 * 2 / 3)


def test_a_curve_that_meets_half_on_the_grid_gives_that_eps() -> None:
    assert median_minimal_eps(EPS, np.array([80.0, 60.0, 50.0, 40.0, 0.0])) == 1.0
    assert median_minimal_eps(EPS, np.array([80.0, 60.0, 50.0, 45.0, 40.0])) == 2.0
    # The smallest eps at which half of the images have fallen, where the curve then stays there.
    assert median_minimal_eps(EPS, np.array([80.0, 40.0, 40.0, 40.0, 40.0])) == 0.25


def test_it_is_infinite_where_more_than_half_stand_at_the_end() -> None:
    for last in (40.1, 60.0, 80.0):
        assert median_minimal_eps(EPS, np.array([80.0, 80.0, 80.0, 80.0, last])) == np.inf


def test_the_value_at_0_counts_and_not_50_percent() -> None:
    curve = np.array([40.0, 36.0, 24.0, 16.0, 0.0])  # never above 50
    assert median_minimal_eps(EPS, curve) == pytest.approx(0.75)
    assert median_minimal_eps(EPS, 2 * curve) == pytest.approx(0.75)


def test_all_images_falling_at_the_first_eps_still_fall_between_0_and_it() -> None:
    assert median_minimal_eps(EPS, np.array([80.0, 0.0, 0.0, 0.0, 0.0])) == pytest.approx(0.125)


def test_a_network_that_is_never_right_stands_nowhere() -> None:
    assert median_minimal_eps(EPS, np.zeros(5)) == 0.0


def test_nan_gives_nan_there_alone() -> None:
    curves = np.array([[80.0, 60.0, 40.0, 5.0, 0.0], [np.nan] * 5, [80.0, 60.0, 50.0, np.nan, 0.0]])
    found = median_minimal_eps(EPS, curves)
    assert found[0] == 0.5
    assert np.isnan(found[1:]).all()


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
