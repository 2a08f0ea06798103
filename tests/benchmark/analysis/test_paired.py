"""Statistics against SciPy and hand-computed cases; test_paired_simulation.py has brute force and error rates."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from benchmark.analysis.paired import (
    Floats,
    compare,
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


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_counts_what_could_not_be_tested() -> None:
    assert holm([0.01, None, None]) == [pytest.approx(0.03), None, None]


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="one shape"):
        paired_t(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="not finite"):
        paired_t(np.array([1.0, np.nan]), np.zeros(2))
