"""The error rates of the tests, by simulation: 10,000 studies with a known truth.

The p values of all studies are computed at once from the textbook formulas. On the first 50 studies the public
functions must give the same; a Python call for every study would take too long.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2, norm
from scipy.stats import t as student

from benchmark.analysis import paired as stats
from benchmark.analysis.paired import ALPHA, Floats

STUDIES, CHECKED = 10_000, 50


def draw(
    seed: int, n: int, difference: float = 0.0, spreads: tuple[float, float] = (1.0, 1.0)
) -> tuple[Floats, Floats]:
    """Treatment and control of many studies, (study, n): a shared part of each seed and one of each arm."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(90, 0.5, (STUDIES, n))
    treatment, control = (shared + rng.normal(0, spread, (STUDIES, n)) for spread in spreads)
    return treatment + difference, control


def checked(
    function: Callable[[Floats, Floats], float | None], p: Floats, treatment: Floats, control: Floats
) -> Floats:
    """The p values of all studies, after checking that the function gives the first of them."""
    single = [function(treatment[i], control[i]) for i in range(CHECKED)]
    assert single == pytest.approx(p[:CHECKED], rel=1e-6, abs=1e-9)
    return p


def error(values: Floats) -> Floats:
    """The standard error of each study's mean."""
    return np.asarray(values.std(axis=1, ddof=1) / np.sqrt(values.shape[1]))


def paired(treatment: Floats, control: Floats) -> Floats:
    """P of the paired t test of every study, (study,)."""
    d = treatment - control
    p = 2 * student.sf(np.abs(d.mean(axis=1)) / error(d), d.shape[1] - 1)
    return checked(lambda a, b: stats.paired_t(a, b).p, p, treatment, control)


@pytest.mark.parametrize("n", [4, 5, 8])
@pytest.mark.parametrize("spreads", [(1.0, 1.0), (0.2, 2.0)])
def test_without_a_difference_the_t_test_finds_one_in_five_per_cent(n: int, spreads: tuple[float, float]) -> None:
    p = paired(*draw(n, n, spreads=spreads))
    assert (p < ALPHA).mean() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("true", [0.0, 0.7])
def test_the_interval_covers_the_true_difference_in_95_per_cent(true: float) -> None:
    treatment, control = draw(11, 5, true)
    d = treatment - control
    half = 2.7764451 * error(d)  # Student's t, 4 degrees of freedom, from tables
    low, high = d.mean(axis=1) - half, d.mean(axis=1) + half
    for i in range(CHECKED):
        found = stats.paired_t(treatment[i], control[i])
        assert (found.low, found.high) == pytest.approx((low[i], high[i]), abs=1e-6)
    assert ((low <= true) & (true <= high)).mean() == pytest.approx(0.95, abs=0.01)


def holm_rejects(p: Floats) -> NDArray[np.bool_]:
    """Which of m comparisons Holm rejects, (study, m), step by step: the smallest p at alpha / m, the next at
    alpha / (m - 1), and so on until one is kept.
    """
    order, m = np.argsort(p, axis=1), p.shape[1]
    rejected = np.zeros(p.shape, dtype=bool)
    going = np.ones(len(p), dtype=bool)
    for step in range(m):
        at = np.arange(len(p)), order[:, step]
        going &= p[at] < ALPHA / (m - step)
        rejected[at] = going
    return rejected


@pytest.mark.parametrize("real", [0, 2])
def test_holm_keeps_the_familys_error_over_comparisons_that_share_an_arm(real: int) -> None:
    rng = np.random.default_rng(20 + real)
    shifts = np.array([3.0] * real + [0.0] * (5 - real))
    treatment = rng.normal(0, 1, (STUDIES, 8))
    raw = np.stack([paired(treatment, rng.normal(0, 1, (STUDIES, 8)) - shift) for shift in shifts], axis=1)
    found = np.array([stats.holm(p) for p in raw.tolist()]) < ALPHA
    np.testing.assert_array_equal(found, holm_rejects(raw))
    tolerance = 3 * np.sqrt(0.05 * 0.95 / STUDIES)
    assert 0.02 < found[:, real:].any(axis=1).mean() <= 0.05 + tolerance
    assert (raw < ALPHA)[:, real:].any(axis=1).mean() > 0.1  # uncorrected, the family's error is far above 5%
    assert found.sum() > (raw < ALPHA / 5).sum()
    assert found[:, :real].all(axis=1).mean() > 0.8


@pytest.mark.parametrize("n", [4, 5, 8, 10])
@pytest.mark.parametrize("family", [1, 5])
def test_the_detectable_difference_is_found_in_80_per_cent(n: int, family: int) -> None:
    d = stats.detectable_difference(n, family)
    assert d is not None
    treatment, control = draw(100 * n + family, n, d * np.sqrt(2))  # the sd of a difference is sqrt 2
    p = paired(treatment, control)
    assert (p < ALPHA / family).mean() == pytest.approx(0.80, abs=0.02)


@pytest.mark.parametrize(("n", "family", "freedom"), [(2, 1, 1), (3, 3, 2), (5, 1, 4), (10, 5, 9), (3, 38, 76)])
def test_its_power_is_80_per_cent_without_the_noncentral_t_too(n: int, family: int, freedom: int) -> None:
    # Given the sd, the mean is normal: integrate over the chi squared distribution of (n - 1) sd^2.
    d = stats.detectable_difference(n, family, freedom)
    assert d is not None
    critical = student.isf(ALPHA / family / 2, freedom)
    power = chi2(freedom).expect(lambda v: norm.sf(critical * np.sqrt(v / freedom) - d * np.sqrt(n)))
    assert power == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("margin", [0.3, 2.0])
def test_a_difference_as_large_as_the_margin_is_equivalent_in_at_most_five_per_cent(side: int, margin: float) -> None:
    def found(difference: float) -> float:
        treatment, control = draw(31, 8, difference, (0.5, 0.5))
        d = treatment - control
        p = student.sf((margin - np.abs(d.mean(axis=1))) / error(d), 7)  # the nearer end has the larger p
        p = checked(lambda a, b: stats.tost_p(a, b, margin), np.asarray(p), treatment, control)
        return float((p < ALPHA).mean())

    assert found(side * margin) <= 0.06
    if margin > 1:  # a margin of several standard errors: one test is certain, the other has its 5%
        assert found(side * margin) >= 0.04
        assert found(0.0) > 0.99
        assert found(side * margin / 4) > 0.95


@pytest.mark.parametrize("spreads", [(1.0, 1.0), (1.0, 2.0)])
def test_welch_keeps_its_five_per_cent_without_pairing(spreads: tuple[float, float]) -> None:
    rng = np.random.default_rng(41)
    treatment, control = (rng.normal(0, spread, (STUDIES, 5)) for spread in spreads)
    one, other = error(treatment) ** 2, error(control) ** 2
    freedom = (one + other) ** 2 / ((one**2 + other**2) / 4)  # Welch and Satterthwaite
    p = 2 * student.sf(np.abs(treatment.mean(axis=1) - control.mean(axis=1)) / np.sqrt(one + other), freedom)
    p = checked(stats.welch_p, np.asarray(p), treatment, control)
    # It is a little conservative where the spreads agree: 4.4%.
    assert 0.035 < (p < ALPHA).mean() <= 0.06


def flips(differences: Floats) -> Floats:
    """The sums of each study's differences (..., n) under all 2^n sign flips, (..., 2^n)."""
    sums = np.zeros((*differences.shape[:-1], 1))
    for difference in np.moveaxis(differences, -1, 0)[..., None]:
        sums = np.concatenate([sums + difference, sums - difference], axis=-1)
    return sums


@pytest.mark.parametrize("n", [5, 8, 10])
def test_the_exact_test_is_valid_where_nothing_is_normal_and_stops_at_its_floor(n: int) -> None:
    rng = np.random.default_rng(50 + n)
    d = rng.choice([-1.0, 1.0], (STUDIES, n)) * rng.exponential(1.0, (STUDIES, n)) ** 2
    p = (np.abs(flips(d)) >= np.abs(d.sum(axis=1, keepdims=True)) - 1e-9).mean(axis=1)
    p = checked(stats.exact_p, p, d, np.zeros_like(d))
    floor = stats.exact_floor(n)
    assert p.min() == floor == 2 / 2**n
    for alpha in (0.05, 0.1, 0.3):
        attained = alpha // floor * floor  # without ties, p is uniform on the multiples of its floor
        tolerance = 3 * np.sqrt(alpha * (1 - alpha) / STUDIES)
        assert (p <= alpha).mean() == pytest.approx(attained, abs=tolerance)
        assert (p <= alpha).mean() <= alpha + tolerance


def test_where_eight_areas_are_all_higher_the_exact_p_is_its_floor() -> None:
    steps = np.random.default_rng(62).integers(1, 4000, (200, 8))
    p = [stats.exact_p(d, np.zeros(8)) for d in steps * 0.1 / 64]  # areas of 1,000 images up to eps 8 / 255
    assert p == [stats.exact_floor(8)] * 200


def test_ties_of_means_over_seven_epochs_are_ties() -> None:
    steps = np.random.default_rng(63).integers(-30, 60, (100, 8))
    p = [(np.abs(flips(row)) >= abs(row.sum())).mean() for row in steps]  # whole numbers: sums are exact
    assert [stats.exact_p(d, np.zeros(8)) for d in steps / 7] == p


def test_sampled_flips_give_nearly_the_p_of_all_flips() -> None:
    rng = np.random.default_rng(61)
    for _ in range(5):
        d = rng.normal(0.4, 1.0, 17)
        p = (np.abs(flips(d)) >= abs(d.sum()) - 1e-9).mean()
        assert stats.exact_p(d, np.zeros(17)) == pytest.approx(p, abs=4 * np.sqrt(2 * p / 2**16))
