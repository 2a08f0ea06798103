"""The error rates of the tests, by simulation: 10,000 studies with a known truth.

The public functions are checked against SciPy's vectorised computation on a part of the studies, which then stands for
all of them, because a Python call for each would take minutes.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats as scipy_stats

from benchmark import stats
from benchmark.stats import Floats

STUDIES, CHECKED = 10_000, 200


def draw(
    seed: int, n: int, difference: float = 0.0, spreads: tuple[float, float] = (1.0, 1.0)
) -> tuple[Floats, Floats]:
    """Treatment and control of many studies, (study, n): a shared part of each seed and one of each arm."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(90, 0.5, (STUDIES, n))
    treatment, control = (shared + rng.normal(0, spread, (STUDIES, n)) for spread in spreads)
    return treatment + difference, control


def p_of_all(function: Callable[[Floats, Floats], float | None], vectorised: Floats, *arms: Floats) -> Floats:
    """The vectorised p of every study, after checking that the function gives the same."""
    single = [function(*(arm[i] for arm in arms)) for i in range(CHECKED)]
    assert single == pytest.approx(vectorised[:CHECKED], rel=1e-6, abs=1e-9)
    return vectorised


def paired(treatment: Floats, control: Floats) -> Floats:
    vectorised = np.asarray(scipy_stats.ttest_rel(treatment, control, axis=1).pvalue)
    return p_of_all(lambda a, b: stats.paired_t(a, b).p, vectorised, treatment, control)


@pytest.mark.parametrize(("n", "spreads"), [(5, (1.0, 1.0)), (5, (0.2, 2.0)), (8, (1.0, 1.0)), (4, (1.0, 1.0))])
def test_without_a_difference_the_t_test_finds_one_in_five_per_cent(n: int, spreads: tuple[float, float]) -> None:
    p = paired(*draw(n, n, spreads=spreads))
    assert (p < stats.ALPHA).mean() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("true", [0.0, 0.7])
def test_the_interval_covers_the_true_difference_in_95_per_cent(true: float) -> None:
    treatment, control = draw(11, 5, true)
    difference = treatment - control
    interval = scipy_stats.ttest_1samp(difference, 0.0, axis=1).confidence_interval(0.95)
    low, high = np.asarray(interval.low), np.asarray(interval.high)
    for i in range(CHECKED):
        t = stats.paired_t(treatment[i], control[i])
        assert (t.low, t.high) == pytest.approx((low[i], high[i]), abs=1e-6)
    assert ((low <= true) & (true <= high)).mean() == pytest.approx(0.95, abs=0.01)


def holm_of_all(raw: Floats) -> Floats:
    """Holm's adjusted p of every study, (study, comparison), written out as the definition says."""
    order = np.argsort(raw, axis=1)
    m = raw.shape[1]
    adjusted = np.maximum.accumulate(np.take_along_axis(raw, order, 1) * (m - np.arange(m)), axis=1)
    whole = np.empty_like(raw)
    np.put_along_axis(whole, order, adjusted, 1)
    whole = np.minimum(whole, 1.0)
    for i in range(CHECKED):
        assert stats.holm(raw[i].tolist()) == pytest.approx(whole[i])
    return whole


@pytest.mark.parametrize("real", [0, 2])
def test_holm_keeps_the_familys_error_over_comparisons_that_share_an_arm(real: int) -> None:
    rng = np.random.default_rng(20 + real)
    shifts = np.array([3.0] * real + [0.0] * (5 - real))
    treatment = rng.normal(0, 1, (STUDIES, 8))
    raw = np.stack([paired(treatment + s, rng.normal(0, 1, (STUDIES, 8))) for s in shifts], axis=1)
    found = holm_of_all(raw) < stats.ALPHA
    wrong = found[:, real:].any(axis=1).mean()
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / STUDIES)
    assert wrong > 0.02  # and it is not merely timid
    assert found.sum() >= (raw < stats.ALPHA / 5).sum()
    if real:
        assert found.sum() > (raw < stats.ALPHA / 5).sum()
        assert found[:, :real].mean() > 0.8


@pytest.mark.parametrize("n", [4, 5, 8, 10])
@pytest.mark.parametrize("family", [1, 5])
def test_the_detectable_difference_is_found_in_80_per_cent(n: int, family: int) -> None:
    d = stats.detectable_difference(n, family)
    assert d is not None
    treatment, control = draw(100 * n + family, n, d * np.sqrt(2))  # the sd of a difference is sqrt 2
    p = paired(treatment, control)
    above = (treatment - control).mean(axis=1) > 0
    assert ((p < stats.ALPHA / family) & above).mean() == pytest.approx(0.80, abs=0.02)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_difference_as_large_as_the_margin_is_called_equivalent_in_five_per_cent(side: int) -> None:
    margin = 2.0

    def tost(difference: float) -> Floats:
        treatment, control = draw(31, 8, difference, (0.5, 0.5))
        d = treatment - control
        above = scipy_stats.ttest_1samp(d, -margin, axis=1, alternative="greater").pvalue
        below = scipy_stats.ttest_1samp(d, margin, axis=1, alternative="less").pvalue
        vectorised = np.maximum(above, below)
        return p_of_all(lambda a, b: stats.tost_p(a, b, margin), vectorised, treatment, control)

    assert (tost(side * margin) < stats.ALPHA).mean() == pytest.approx(0.05, abs=0.01)
    assert (tost(0.0) < stats.ALPHA).mean() > 0.95


def test_welch_keeps_its_five_per_cent_without_pairing() -> None:
    rng = np.random.default_rng(41)
    treatment, control = rng.normal(0, 1, (STUDIES, 5)), rng.normal(0, 2, (STUDIES, 5))
    vectorised = np.asarray(scipy_stats.ttest_ind(treatment, control, axis=1, equal_var=False).pvalue)
    p = p_of_all(stats.welch_p, vectorised, treatment, control)
    assert (p < stats.ALPHA).mean() == pytest.approx(0.05, abs=0.01)


def test_the_exact_test_is_valid_where_nothing_is_normal_and_stops_at_its_floor() -> None:
    n = 6
    rng = np.random.default_rng(51)
    difference = rng.choice([-1.0, 1.0], (STUDIES, n)) * rng.exponential(1.0, (STUDIES, n)) ** 2
    signs = np.array(np.meshgrid(*[[-1, 1]] * n)).reshape(n, -1)  # (n, 2^n)
    means = np.abs(difference @ signs / n).round(9)  # (study, 2^n)
    vectorised = (means >= np.abs(difference.mean(axis=1)).round(9)[:, None]).mean(axis=1)
    p = p_of_all(stats.exact_p, vectorised, difference, np.zeros_like(difference))
    assert p.min() == stats.exact_floor(n) == 2 / 2**n
    for alpha in (0.05, 0.1, 0.3):
        assert (p <= alpha).mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / STUDIES)
