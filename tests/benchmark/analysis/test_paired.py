"""Statistics against SciPy, hand-computed cases, brute force and simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from benchmark.analysis.paired import (
    ALPHA,
    Floats,
    compare,
    detectable_difference,
    exact_floor,
    exact_p,
    holm,
    paired_t,
    tost_p,
    welch_p,
)


def arms(*differences: float, base: float = 80.0) -> tuple[Floats, Floats]:
    """Treatment and control with these differences."""
    control = base + 0.3 * np.arange(len(differences), dtype=np.float64)
    return control + np.array(differences, dtype=np.float64), control


def test_paired_t_is_scipys_and_the_hand_computed_one() -> None:
    treatment, control = arms(1.0, 2.0, 3.0)
    found = paired_t(treatment, control)
    # mean 2, sd 1, t = 2 / (1 / sqrt 3) = 3.4641, two degrees of freedom: p = 1 - t / sqrt(t^2 + 2) = .0742
    assert found.difference == pytest.approx(2)
    assert found.sd == pytest.approx(1)
    assert found.p == pytest.approx(1 - np.sqrt(12 / 14))
    assert found.low == pytest.approx(2 - 4.302652729911275 / np.sqrt(3))
    reference = scipy_stats.ttest_rel(treatment, control)
    assert found.p == pytest.approx(reference.pvalue)
    assert found.high == pytest.approx(reference.confidence_interval(0.95).high)


@pytest.mark.parametrize("step", [0.0, 1.0, 0.1 + 0.2])
def test_constant_differences_have_no_p(step: float) -> None:
    treatment, control = arms(*[step] * 5)
    assert paired_t(treatment, control)[1:] == (0.0, None, None, None)
    assert tost_p(treatment, control, 0.5) is None
    assert exact_p(treatment, control) == (0.0625 if step else 1.0)


def test_one_seed_has_no_test() -> None:
    found = compare(*arms(1.0), 0.5, 1)
    assert (found.sd, found.p, found.exact, found.welch, found.tost) == (None, None, 1.0, None, None)
    assert found.detectable is None


@pytest.mark.parametrize(
    "differences", [(1, 2, 3), (1, -2, 3, 0), (0.3, 0.3, -0.3, 0.1, 0.2), (1, 1, 1, 1, -1), (0, 0, 0, 0)]
)
def test_exact_p_is_the_share_of_sign_flips(differences: tuple[float, ...]) -> None:
    d = np.array(differences)
    flips = [np.dot(signs, d) for signs in itertools.product((1, -1), repeat=len(d))]
    share = np.mean(np.abs(flips) >= abs(d.sum()) - 1e-9)
    assert exact_p(*arms(*differences)) == pytest.approx(share)


@pytest.mark.parametrize(("n", "floor"), [(3, 0.25), (5, 0.0625), (8, 0.0078125), (10, 0.001953125)])
def test_exact_floor_is_reached(n: int, floor: float) -> None:
    assert exact_floor(n) == floor
    assert exact_p(*arms(*np.arange(1.0, n + 1))) == pytest.approx(floor)


def test_exact_p_beyond_sixteen_seeds_is_sampled_and_repeatable() -> None:
    pair = arms(*np.linspace(-0.2, 1.0, 20))
    assert exact_p(*pair) == exact_p(*pair) >= exact_floor(20) == 2 / (2**16 + 1)


def test_welch_is_scipys_and_guards_constants() -> None:
    treatment, control = arms(1.0, 2.0, 4.0)
    expected = scipy_stats.ttest_ind(treatment, control, equal_var=False).pvalue
    assert welch_p(treatment, control) == pytest.approx(expected)
    assert welch_p(np.full(4, 1.0), np.full(4, 2.0)) is None
    one_constant = welch_p(treatment, np.full(3, 80.0))
    assert one_constant == pytest.approx(scipy_stats.ttest_1samp(treatment, 80.0).pvalue)


def test_tost_is_the_interval_inclusion_rule() -> None:
    # p < .05 exactly where the 90% interval lies inside the margin.
    rng = np.random.default_rng(0)
    for _ in range(50):
        treatment, control = arms(*rng.normal(0.1, 0.3, 6))
        interval = scipy_stats.ttest_rel(treatment, control).confidence_interval(0.9)
        p = tost_p(treatment, control, 0.4)
        assert p is not None
        assert (p < ALPHA) == (interval.low > -0.4 and interval.high < 0.4)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_counts_what_could_not_be_tested() -> None:
    assert holm([0.01, None, None]) == [pytest.approx(0.03), None, None]


@pytest.mark.parametrize(
    ("n", "family", "expected"),
    [
        (3, 1, 3.26),
        (5, 1, 1.68),
        (8, 1, 1.16),
        (10, 1, 1.00),
        (3, 3, 5.67),
        (5, 3, 2.29),
        (8, 3, 1.45),
        (10, 3, 1.22),
        (3, 37, 19.92),
    ],
)
def test_detectable_difference_table(n: int, family: int, expected: float) -> None:
    assert detectable_difference(n, family) == pytest.approx(expected, abs=0.006)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="one shape"):
        paired_t(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="not finite"):
        paired_t(np.array([1.0, np.nan]), np.zeros(2))
