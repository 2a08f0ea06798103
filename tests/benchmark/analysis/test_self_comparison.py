"""The A/A study: an arm against itself, recomputed with SciPy, and silent where there are too few seeds."""

import numpy as np
import planted
import pytest
from scipy import stats

from benchmark.analysis.self_comparison import same_arm, section
from benchmark.analysis.study import Study, load_study

EIGHT = {"sba": [870, 872, 868, 871, 869, 873, 866, 870], "standard": [858, 861, 857, 862, 857, 860, 855, 859]}


def of(counts: dict[str, list[int]]) -> Study:
    records = planted.study(counts)
    for record in records:
        record["analysis"] |= {"against": ["standard"], "seeds": list(range(len(counts["sba"])))}
    return load_study("planted", records)


def test_halves_are_compared_as_the_verdicts_are() -> None:
    found = same_arm(of(EIGHT), "clean")
    for arm, counts in EIGHT.items():
        points = np.array(counts) / 10
        first, second = points[:4], points[4:]
        pair = found[arm]
        assert pair.n == 4
        assert pair.p == pytest.approx(stats.ttest_rel(first, second).pvalue)
        assert pair.welch == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue)
        assert pair.holm is not None
        assert pair.holm >= (pair.p or 0)


def test_the_section_says_that_nothing_was_found() -> None:
    parts = section(of(EIGHT))
    assert parts[0] == "### Every arm against itself"
    assert "No arm differs from itself (Holm p < .05 in none)" in str(parts[1])
    assert str(parts[2]).count("accuracy") == 2


def test_a_false_alarm_is_said_loudly() -> None:
    alarming = {"sba": [870, 872, 868, 871, 770, 771, 768, 770], "standard": [858, 861, 857, 862, 859, 858, 861, 860]}
    assert "**1 false alarm among" in str(section(of(alarming))[1])


def test_seven_seeds_are_too_few() -> None:
    assert section(of({arm: counts[:7] for arm, counts in EIGHT.items()})) == []


def test_an_odd_seed_is_left_out() -> None:
    nine = {arm: [*counts, 999] for arm, counts in EIGHT.items()}
    assert same_arm(of(nine), "clean")["sba"].difference == pytest.approx(
        same_arm(of(EIGHT), "clean")["sba"].difference
    )
