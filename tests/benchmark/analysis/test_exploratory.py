"""Statistics of exploratory studies against hand-computed cases, textbook formulas, SciPy and simulation."""

from collections.abc import Sequence

import numpy as np
import pytest
from records import planted
from scipy import stats as scipy_stats

from benchmark.analysis.exploratory import Decision, benjamini_hochberg, block_t, decide
from benchmark.analysis.paired import ALPHA, Floats, PairedT
from benchmark.analysis.study import load_study


def table(rows: int, seeds: int, seed: int = 0, spread: float = 1.0) -> Floats:
    """Values (row, seed) with effects of rows and seeds."""
    rng = np.random.default_rng(seed)
    effects = 80 + rng.normal(0, 2, (rows, 1)) + rng.normal(0, 3, (1, seeds))
    return np.asarray(effects + rng.normal(0, spread, (rows, seeds)))


def test_block_t_is_the_textbooks_randomised_block_design() -> None:
    values = table(6, 4)
    residual = values - values.mean(1, keepdims=True) - values.mean(0, keepdims=True) + values.mean()
    freedom = 5 * 3
    spread = np.sqrt((residual**2).sum() / freedom)
    tests, found_freedom = block_t(values, 2)
    assert found_freedom == freedom
    for row, test in enumerate(tests):
        if row == 2:
            assert test is None
            continue
        difference = (values[row] - values[2]).mean()
        reference = scipy_stats.t(freedom, difference, spread * np.sqrt(2 / 4))
        assert test is not None
        low, high = reference.interval(0.95)
        assert (test.difference, test.sd, test.low, test.high) == pytest.approx(
            (difference, spread * np.sqrt(2), low, high)
        )
        assert test.p == pytest.approx(2 * min(reference.cdf(0), reference.sf(0)))


def test_block_t_of_two_rows_is_the_paired_t_test() -> None:
    values = table(2, 5, seed=3)
    (_, test), _ = block_t(values, 0)
    paired = scipy_stats.ttest_rel(values[1], values[0])
    assert test is not None
    assert test.p == pytest.approx(paired.pvalue)
    assert test.low == pytest.approx(paired.confidence_interval().low)
    assert test.sd == pytest.approx((values[1] - values[0]).std(ddof=1))


def test_a_missing_value_is_left_out_and_the_others_are_estimated_around_it() -> None:
    values = np.add.outer([80.0, 82.0, 85.0, 81.0], [0.0, 5.0, -3.0])  # no noise
    noisy = values + np.array([[0.1, -0.1, 0], [-0.1, 0.1, 0], [0, 0, 0], [0, 0, 0]])
    noisy[2, 1] = np.nan
    tests, freedom = block_t(noisy, 0)
    assert freedom == 11 - (4 + 3 - 1)
    assert tests[2] is not None
    assert tests[2].difference == pytest.approx(5.0, abs=0.1)  # a plain mean over its two seeds would be off by 3.5
    noisy[3] = np.nan
    assert block_t(noisy, 0)[0][3] is None


def test_without_a_spread_there_is_a_difference_and_no_test() -> None:
    tests, _ = block_t(np.add.outer([80.0, 82.5, 80.0], [0.0, 5.0, -3.0]), 0)
    assert tests[1] == PairedT(2.5, None, None, None, None)
    assert block_t(np.array([[80.0], [81.0]]), 0)[0][1] == PairedT(1.0, None, None, None, None)
    assert block_t(np.array([[np.nan, np.nan], [81.0, 80.0]]), 0)[0] == [None, None]


def test_rows_that_share_no_seed_with_the_reference_are_not_compared_unless_over_other_rows() -> None:
    nan = np.nan
    apart = np.array([[80.0, 81.0, nan, nan], [82.0, 83.5, nan, nan], [nan, nan, 85.0, 86.0], [nan, nan, 88.0, 87.0]])
    tests, _ = block_t(apart, 0)
    assert [test is None for test in tests] == [True, False, True, True]
    apart[1, 2] = 84.0  # a bridge
    assert all(test is not None for test in block_t(apart, 0)[0][1:])


def test_block_t_keeps_its_level_with_three_seeds() -> None:
    rejected = []
    for seed in range(300):
        values = table(12, 3, seed)
        values -= values.mean(1, keepdims=True) - np.random.default_rng(seed + 1000).normal(0, 1 / np.sqrt(3), (12, 1))
        rejected += [test is not None and test.p is not None and test.p < 0.05 for test in block_t(values, 0)[0][1:]]
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.02)


def test_benjamini_hochberg_by_hand() -> None:
    # Sorted .005, .01, .03, .04: times 4 / rank = .02, .02, .04, .04, running minimum from the largest down.
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert benjamini_hochberg([0.5, 0.9]) == pytest.approx([0.9, 0.9])
    assert benjamini_hochberg([]) == []


def test_benjamini_hochberg_is_the_step_up_rule() -> None:
    # A p is below the level after adjustment exactly where the k smallest reach it: p_(k) <= level * k / m.
    rng = np.random.default_rng(4)
    for _ in range(100):
        p = rng.uniform(0, 1, 12) ** rng.integers(1, 5)
        level = rng.uniform(0.01, 0.5)
        ranked = np.sort(p)
        reached = np.flatnonzero(ranked <= level * np.arange(1, 13) / 12)
        largest = ranked[reached[-1]] if len(reached) else -1.0
        adjusted = benjamini_hochberg(p.tolist())
        assert [value is not None and value <= level for value in adjusted] == (p <= largest).tolist()


def test_benjamini_hochberg_counts_what_could_not_be_tested() -> None:
    assert benjamini_hochberg([0.01, None, None]) == [pytest.approx(0.03), None, None]
    assert benjamini_hochberg([None]) == [None]


def test_benjamini_hochberg_keeps_false_findings_at_one_in_twenty() -> None:
    rng, shares = np.random.default_rng(5), []
    for _ in range(1000):
        p = rng.uniform(0, 1, 30)
        p[:10] = scipy_stats.norm.sf(rng.normal(3.0, 1.0, 10))  # ten rows that matter
        found = np.array([value is not None and value < ALPHA for value in benjamini_hochberg(p.tolist())])
        shares.append(found[10:].sum() / max(found.sum(), 1))
    assert np.mean(shares) == pytest.approx(ALPHA * 20 / 30, abs=0.01)


# What an ablation decides.

COUNTS = {
    "default": [860, 862, 858],
    "noise_1": [880, 882, 879],
    "layers_input": [840, 843, 838],
    "similarity": [860, 865, 856],
    "erm": [850, 849, 852],
    "erm_equal_compute": [863, 865, 861],
}
ROBUST = [[160, 120, 60, 10 + i, 0] for i in range(3)]


def decided(counts: dict[str, list[int]], noise: Sequence[Sequence[int]] = ROBUST) -> dict[str, Decision]:
    varied = [[160, 120, 60, count, 0] for count in (4, 5, 3)]
    curves = dict.fromkeys(COUNTS, ROBUST) | {"erm": varied, "noise_1": noise}
    study = load_study("planted_ablation", planted.ablation(counts, curves))
    return {decision.setting: decision for decision in decide(study)}


def test_a_row_that_is_higher_and_not_less_robust_replaces_the_default() -> None:
    found = decided(COUNTS)
    assert list(found) == ["layers", "noise"]  # no row is one of temperature
    assert (found["layers"].row, found["layers"].met, found["layers"].rows) == (None, {}, 1)
    assert found["noise"].row == "noise_1"
    assert found["noise"].met["noise_1"].t.difference == pytest.approx(6.1 / 3)
    assert decided(COUNTS | {"noise_1": [861, 862, 858]})["noise"].row is None


def test_a_row_that_is_higher_and_less_robust_does_not() -> None:
    found = decided(COUNTS, [[160, 100, 40, 5 + i, 0] for i in range(3)])
    assert (found["noise"].row, found["noise"].met) == (None, {})
