"""The two-level bootstrap against a slow direct one, SciPy's over seeds, and the coverage of theory."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from benchmark.analysis.bootstrap import two_level_interval

Bits = NDArray[np.bool_]
WINS = 0.3  # share of images that one arm alone gets right, on average


def study(rng: np.random.Generator, seeds: int, images: int, true: float, spread: float) -> tuple[Bits, Bits]:
    """Outcomes of two arms, (seed, image): the seeds' differences are normal around `true`, a share of the images."""
    difference = rng.normal(true, spread, (seeds, 1)).clip(-2 * WINS, 2 * WINS)
    draw = rng.uniform(size=(seeds, images))
    gained, lost = draw < WINS + difference / 2, draw > 1 - WINS + difference / 2
    both = rng.uniform(size=(seeds, images)) < 0.5
    return gained | (both & ~lost), lost | (both & ~gained)


def interval(treatment: Bits, control: Bits, seed: int, resamples: int) -> tuple[float, float]:
    return two_level_interval(treatment, control, np.random.default_rng(seed), resamples)


def test_the_interval_is_that_of_resampling_seeds_and_then_images() -> None:
    treatment, control = study(np.random.default_rng(0), 12, 60, 0.1, 0.1)
    difference = treatment.astype(float) - control
    rng = np.random.default_rng(1)
    seeds, images = rng.integers(12, size=(4000, 12, 1)), rng.integers(60, size=(4000, 12, 60))
    expected = 100 * np.quantile(difference[seeds, images].mean(axis=(1, 2)), [0.025, 0.975])
    assert interval(treatment, control, 2, 4000) == pytest.approx(expected, abs=0.06 * np.ptp(expected))


def test_where_a_seeds_images_agree_it_is_scipys_percentile_interval_over_seeds() -> None:
    seed = np.arange(100)
    treatment, control = (np.repeat(right[:, None], 7, axis=1) for right in (seed % 2 == 0, seed % 5 == 0))
    difference = 100 * (treatment.astype(float) - control).mean(axis=1)
    expected = stats.bootstrap((difference,), np.mean, method="percentile", rng=5, n_resamples=20_000)
    # The means are whole points here, and the ends may be neighbours.
    assert interval(treatment, control, 6, 20_000) == pytest.approx(expected.confidence_interval, abs=1 + 1e-9)


@pytest.mark.parametrize(("share", "coverage"), [(0.05, 0.92), (0.25, 0.95), (1.0, 0.99)])
def test_coverage_with_ten_seeds_depends_on_the_images_share_of_the_variance_over_seeds(
    share: float, coverage: float
) -> None:
    # The bootstrap's variance is that of the seeds, over n, not n - 1, plus the images' a second time.
    theory = stats.chi2(9).expect(lambda v: 2 * stats.norm.cdf(1.96 * np.sqrt(v / 10 + share)) - 1)
    assert theory == pytest.approx(coverage, abs=0.005)
    images, true, studies, rng = 400, 0.02, 1000, np.random.default_rng(7)
    spread = np.sqrt(2 * WINS / images * (1 / share - 1))
    covered = 0
    for i in range(studies):
        low, high = interval(*study(rng, 10, images, true, spread), i, 400)
        covered += low <= 100 * true <= high
    assert covered / studies == pytest.approx(theory, abs=0.02)


def test_the_same_generator_gives_the_same_interval() -> None:
    outcomes = study(np.random.default_rng(8), 10, 50, 0.1, 0.1)
    assert interval(*outcomes, 9, 200) == interval(*outcomes, 9, 200) != interval(*outcomes, 10, 200)


def test_arms_that_are_all_right_and_all_wrong_differ_by_100_points() -> None:
    right = np.ones((10, 3), dtype=bool)
    assert interval(right, ~right, 0, 10) == (100.0, 100.0)
    assert interval(~right, right, 0, 10) == (-100.0, -100.0)
    assert interval(right, right, 0, 10) == (0.0, 0.0)


@pytest.mark.parametrize(("first", "second"), [((10, 5), (10, 4)), ((10, 5), (11, 5)), ((10,), (10,)), ((10, 0),) * 2])
def test_wrong_shapes_are_refused(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one shape"):
        two_level_interval(np.ones(first, dtype=bool), np.ones(second, dtype=bool), np.random.default_rng(0))
