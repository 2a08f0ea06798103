"""The two-level bootstrap against a slow direct one, the variance that theory gives, and its coverage."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.bootstrap import FEWEST_SEEDS, two_level_interval

Bits = NDArray[np.bool_]


def study(rng: np.random.Generator, seeds: int, images: int, shift: float, spread: float) -> tuple[Bits, Bits]:
    """Outcomes of two paired arms: each seed has a true difference of its own around `shift`."""
    easy = rng.uniform(size=images) < 0.7  # both arms get these right
    gain = np.clip(0.15 + rng.normal(shift, spread, seeds), 0, 0.5)
    kind = rng.uniform(size=(seeds, images))
    treatment = easy | (kind < gain[:, None])
    control = easy | (kind > 0.85)
    return treatment, control


def direct(treatment: Bits, control: Bits, rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Resample seeds, then images within each, one by one."""
    seeds, images = treatment.shape
    difference = treatment.astype(float) - control
    means = []
    for _ in range(resamples):
        rows = rng.integers(seeds, size=(seeds,))
        means.append(100 * np.mean([difference[row, rng.integers(images, size=images)].mean() for row in rows]))
    return np.asarray(np.quantile(means, [0.025, 0.975]))


def test_the_interval_is_that_of_resampling_seeds_and_then_images() -> None:
    treatment, control = study(np.random.default_rng(0), 12, 200, 0.03, 0.03)
    found = two_level_interval(treatment, control, np.random.default_rng(1), 4000)
    expected = direct(treatment, control, np.random.default_rng(2), 4000)
    assert found is not None
    width = expected[1] - expected[0]
    assert found == pytest.approx(expected, abs=0.06 * width)


def test_its_width_is_that_of_both_levels_of_variance() -> None:
    treatment, control = study(np.random.default_rng(3), 20, 400, 0.02, 0.04)
    found = two_level_interval(treatment, control, np.random.default_rng(4), 8000)
    assert found is not None
    difference = treatment.astype(float) - control
    between = difference.mean(axis=1).var() / 20
    within = difference.var(axis=1).mean() / (20 * 400)
    assert found[1] - found[0] == pytest.approx(2 * 1.96 * 100 * np.sqrt(between + within), rel=0.05)


def test_it_covers_the_true_difference_about_as_often_as_ten_seeds_allow() -> None:
    rng, covered, true = np.random.default_rng(5), 0, 0.03
    for _ in range(300):
        treatment, control = study(rng, 10, 300, true, 0.03)
        # The images are the study's own: what is estimated is the difference on them.
        easy = (treatment & control).all(axis=0)
        found = two_level_interval(treatment, control, rng, 300)
        assert found is not None
        covered += found[0] <= 100 * true * (1 - easy.mean()) <= found[1]
    assert 0.88 < covered / 300 < 0.99


def test_the_same_generator_gives_the_same_interval() -> None:
    outcomes = study(np.random.default_rng(6), 10, 50, 0.1, 0.1)
    first, second = (two_level_interval(*outcomes, np.random.default_rng(7), 200) for _ in range(2))
    assert first == second
    assert first != two_level_interval(*outcomes, np.random.default_rng(8), 200)


def test_too_few_seeds_give_none_and_wrong_shapes_are_refused() -> None:
    outcomes = np.ones((FEWEST_SEEDS - 1, 5), dtype=bool)
    assert two_level_interval(outcomes, outcomes, np.random.default_rng(0)) is None
    with pytest.raises(ValueError, match=r"\(9, 5\) and \(9, 4\)"):
        two_level_interval(outcomes, outcomes[:, :4], np.random.default_rng(0))


def test_equal_arms_have_an_interval_of_no_width() -> None:
    outcomes = np.random.default_rng(0).uniform(size=(10, 100)) < 0.5
    assert two_level_interval(outcomes, outcomes, np.random.default_rng(0), 100) == (0.0, 0.0)
