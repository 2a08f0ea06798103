"""Statistics of exploratory studies against hand-computed cases, textbook formulas and SciPy."""

from collections.abc import Sequence

import numpy as np
import pytest
from records import planted
from scipy import stats as scipy_stats

from benchmark.analysis.exploratory import Decision, benjamini_hochberg, block_t, contrasts, decide
from benchmark.analysis.paired import PairedT
from benchmark.analysis.study import load_study


def test_block_t_is_the_textbooks_randomised_block_design() -> None:
    rng = np.random.default_rng(0)
    values = 80 + rng.normal(0, 2, (6, 1)) + rng.normal(0, 3, (1, 4)) + rng.normal(0, 1, (6, 4))  # (row, seed)
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


def test_benjamini_hochberg_by_hand() -> None:
    # Sorted .005, .01, .03, .04: times 4 / rank = .02, .02, .04, .04, running minimum from the largest down.
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert benjamini_hochberg([0.5, 0.9]) == pytest.approx([0.9, 0.9])
    assert benjamini_hochberg([]) == []


def test_benjamini_hochberg_counts_what_could_not_be_tested() -> None:
    assert benjamini_hochberg([0.01, None, None]) == [pytest.approx(0.03), None, None]
    assert benjamini_hochberg([None]) == [None]


# Rows against the default.

ROWS = {row: [860 + 3 * i, 862, 861 - i] for i, row in enumerate(planted.ROWS)}


def test_an_exploratory_study_compares_each_row_with_its_default() -> None:
    study = load_study("planted_ablation", planted.ablation(ROWS))
    assert study.exploratory
    assert study.split == "validation"
    found = contrasts(study, "clean")
    assert list(found) == ["noise_1", "layers_input", "similarity", "erm", "erm_equal_compute"]
    default = np.array(ROWS["default"]) / 10
    tests, freedom = block_t(np.array([ROWS["default"], *(ROWS[row] for row in found)]) / 10, 0)
    for (row, contrast), test in zip(found.items(), tests[1:], strict=True):
        each = np.array(ROWS[row]) / 10
        assert contrast is not None
        assert contrast.n == 3
        assert contrast.freedom == freedom == 10
        assert contrast.t.difference == pytest.approx((each - default).mean())
        assert contrast.t == test
        assert contrast.paired == pytest.approx(scipy_stats.ttest_rel(each, default).pvalue)
    adjusted = scipy_stats.false_discovery_control([test.p for test in tests if test is not None])
    assert [contrast and contrast.bh for contrast in found.values()] == pytest.approx(adjusted)


def test_a_row_that_lost_a_seed_is_kept_and_one_without_runs_counts_as_1() -> None:
    lost = {("noise_1", 1), ("erm", 0), ("erm", 1), ("erm", 2)}
    records = [record for record in planted.ablation(ROWS) if (record["arm"], record["seed"]) not in lost]
    found = contrasts(load_study("planted_ablation", records), "clean")
    assert found["erm"] is None
    assert found["noise_1"] is not None
    assert found["noise_1"].n == 2
    tested = [pair.t.p for pair in found.values() if pair is not None and pair.t.p is not None]
    adjusted = scipy_stats.false_discovery_control([*tested, 1.0])
    assert [pair.bh for pair in found.values() if pair is not None] == pytest.approx(adjusted[:-1])


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
