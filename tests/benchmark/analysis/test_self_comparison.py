"""Every arm against itself: recomputed with SciPy, and nothing where there are too few seeds."""

import numpy as np
import pytest
from records import planted
from scipy import stats

from benchmark.analysis.comparisons import self_comparison
from benchmark.analysis.study import Study, load_study

EIGHT = {"sba": [870, 872, 868, 871, 869, 873, 866, 870], "standard": [858, 861, 857, 862, 857, 860, 855, 859]}


def of(counts: dict[str, list[int]]) -> Study:
    records = planted.study(counts)
    for record in records:
        record["analysis"] |= {"against": ["standard"], "seeds": list(range(len(counts["sba"])))}
    return load_study("planted", records)


def test_halves_are_compared_as_the_verdicts_are() -> None:
    found = self_comparison(of(EIGHT), "clean")
    for arm, counts in EIGHT.items():
        points = np.array(counts) / 10
        first, second = points[:4], points[4:]
        pair = found[arm]
        assert pair.n == 4
        assert pair.p == pytest.approx(stats.ttest_rel(first, second).pvalue)
        assert pair.welch == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue)
        assert pair.holm is not None
        assert pair.holm >= (pair.p or 0)


def test_seven_seeds_are_too_few() -> None:
    assert self_comparison(of({arm: counts[:7] for arm, counts in EIGHT.items()}), "clean") == {}


def test_an_odd_seed_is_left_out() -> None:
    nine = {arm: [*counts, 999] for arm, counts in EIGHT.items()}
    assert self_comparison(of(nine), "clean")["sba"].difference == pytest.approx(
        self_comparison(of(EIGHT), "clean")["sba"].difference
    )
