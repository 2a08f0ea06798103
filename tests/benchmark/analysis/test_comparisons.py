"""The treatment against each named arm: paired seeds, families, what is missing, outcomes; every arm against itself."""

import numpy as np
import pytest
from records import planted
from scipy import stats as scipy_stats

from benchmark.analysis.comparisons import bootstrap_interval, comparisons, outcome, self_comparison
from benchmark.analysis.endpoints import images_to, learning_area, seconds_to
from benchmark.analysis.paired import Comparison, compare, correct
from benchmark.analysis.study import Study, load_study
from benchmark.runtime.errors import UsageError

COUNTS = {"sba": [870, 872, 868, 871, 869], "standard": [858, 861, 857, 862, 857], "mixup": [860] * 5}
EIGHT = {"sba": [870, 872, 868, 871, 869, 873, 866, 870], "standard": [858, 861, 857, 862, 857, 860, 855, 859]}


def test_comparison_is_paired_by_seed() -> None:
    found = comparisons(load_study("planted", planted.study(COUNTS)), "clean")
    assert list(found) == ["standard", "mixup"]
    pair = found["standard"]
    assert pair is not None
    assert (pair.n, pair.wins, pair.family) == (5, 5, 2)
    assert pair.difference == pytest.approx(1.1)


def test_holm_runs_within_each_of_the_two_families() -> None:
    records = planted.study({**COUNTS, "cutmix": [866, 871, 867, 868, 868], "stability": [869, 871, 866, 872, 860]})
    for record in records:
        record["analysis"]["relatives"] = ["cutmix", "stability"]
    study = load_study("planted", records)
    assert study.arms == ("sba", "standard", "mixup", "cutmix", "stability")
    assert study.families == (("standard", "mixup"), ("cutmix", "stability"))
    found = comparisons(study, "clean")
    assert list(found) == ["standard", "mixup", "cutmix", "stability"]
    for family in study.families:
        p = {
            arm: float(scipy_stats.ttest_rel(study.clean[0], study.clean[study.arms.index(arm)]).pvalue)
            for arm in family
        }
        low, high = sorted(family, key=p.__getitem__)
        for arm, adjusted in ((low, 2 * p[low]), (high, max(2 * p[low], p[high]))):
            pair = found[arm]
            assert pair is not None
            assert pair.family == 2
            assert pair.holm == pytest.approx(adjusted)


def test_diverged_and_missing_runs_leave_the_test_and_stay_in_the_study() -> None:
    records = [r for r in planted.study(COUNTS) if (r["arm"], r["seed"]) not in {("mixup", 1), ("mixup", 4)}]
    study = load_study("planted", [*records, planted.diverged("mixup", 1)])
    assert study.seeds_with("mixup", "diverged") == [1]
    assert study.seeds_with("mixup", "missing") == [4]
    assert np.isnan(study.clean[2]).tolist() == [False, True, False, False, True]
    pair = comparisons(study, "clean")["mixup"]
    assert pair is not None
    assert pair.n == 3
    assert pair.control == 86.0


def test_a_named_arm_without_runs_is_missing_and_counts_for_holm() -> None:
    study = load_study("planted", planted.study({"sba": COUNTS["sba"], "standard": COUNTS["standard"]}))
    found = comparisons(study, "clean")
    assert found["mixup"] is None
    assert found["standard"] is not None
    assert found["standard"].p is not None
    assert found["standard"].holm == pytest.approx(2 * found["standard"].p)
    assert study.seeds_with("mixup", "missing") == [0, 1, 2, 3, 4]


def test_records_that_do_not_say_it_named_what_was_named_in_their_time() -> None:
    records = planted.study(COUNTS)
    for record in records:
        for key in ("endpoints", "level", "levels"):
            del record["analysis"][key]
    study = load_study("planted", records)
    assert study.endpoints == ("clean", "area", "eps")
    with pytest.raises(
        UsageError, match="did not name the endpoint 'learning' before its runs; named: clean, area, eps"
    ):
        comparisons(study, "learning")


def test_an_arm_that_was_not_named_is_shown_and_not_compared() -> None:
    study = load_study("planted", planted.study({**COUNTS, "cutmix": [860] * 5}))
    assert study.arms[-1] == "cutmix"
    assert "cutmix" not in comparisons(study, "clean")


def test_an_exploratory_study_has_no_comparison_to_draw_a_verdict_from() -> None:
    rows = dict.fromkeys(planted.ROWS, (860, 862, 861))
    with pytest.raises(ValueError, match="exploratory"):
        comparisons(load_study("planted_ablation", planted.ablation(rows)), "clean")


def test_a_run_that_never_got_there_leaves_no_comparison_instead_of_flattering_its_arm() -> None:
    counts = {"sba": [870, 872, 868, 871, 869], "standard": [858, 861, 857, 862, 600], "mixup": [860] * 5}
    records = planted.study(counts)
    for record in records:
        record["analysis"]["endpoints"] = ["clean", "images", "seconds"]
    found = comparisons(load_study("planted", records), "images")
    assert found["standard"] is None
    assert found["mixup"] is not None


def test_comparisons_of_images_have_a_unit_and_no_margin() -> None:
    counts = {"sba": [870, 872, 868, 871, 869], "standard": [858, 861, 857, 862, 857]}
    study = load_study("planted", planted.study(counts))
    pair = comparisons(study, "images")["standard"]
    assert pair is not None
    assert (pair.unit, pair.margin, pair.tost) == ("thousand images", None, None)
    first = {record["arm"]: record for (_, seed), record in study.records.items() if seed == 0}
    assert study.values("images")[0, 0] == images_to(first["sba"], 70.0)
    assert study.values("seconds")[1, 0] == seconds_to(first["standard"], 70.0)
    assert study.values("learning")[0, 0] == learning_area(first["sba"])


# Outcomes: each rule by differences that meet it and no rule before it.


def compared(*differences: float, family: int = 1) -> Comparison:
    """One comparison with these differences after Holm, in a family of which the others were not run."""
    control = 80 + 0.3 * np.arange(len(differences), dtype=np.float64)
    found = correct([compare(control + np.array(differences), control, 0.5, family), *[None] * (family - 1)])[0]
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ((1.0, 1.1, 0.9), "description only"),
        ((1.0, 1.0, 1.0, 1.0, 1.0), "constant differences"),
        ((0.0, 0.0, 0.0, 0.0), "constant differences"),
        ((0.9, 1.0, 1.1, 1.2, 0.8), "higher"),
        ((-0.9, -1.0, -1.1, -1.2, -0.8), "lower"),
        ((0.1, 0.12, 0.11, 0.09, 0.1), "higher, within margin"),
        ((-0.1, -0.12, -0.11, -0.09, -0.1), "lower, within margin"),
        ((0.05, -0.06, 0.02, -0.03, 0.01), "equivalent"),
        ((1.0, -1.2, 0.3, -0.4, 0.6), "not resolved"),
    ],
)
def test_each_rule(differences: tuple[float, ...], expected: str) -> None:
    assert outcome(compared(*differences)) == expected


def test_an_interval_that_excludes_0_alone_is_lost_to_holm() -> None:
    differences = (0.2, 0.9, 0.7, 1.2, 0.1)
    assert outcome(compared(*differences)) == "higher"
    found = compared(*differences, family=4)
    assert found.low is not None
    assert found.low > 0
    assert outcome(found) == "not resolved"


@pytest.mark.parametrize("base", [0.0, 99.8])
def test_no_equivalence_at_the_end_of_the_scale(base: float) -> None:
    found = correct([compare(base + np.array([0.1, 0.0, 0.0, 0.1]), np.full(4, base), 0.5, 1)])[0]
    assert found is not None
    assert found.bounded
    assert outcome(found) == "not resolved"


def test_ties_are_no_wins() -> None:
    found = compared(0.0, 1.0, 1.1, 0.0, 0.9)
    assert found.wins == 3


# Every arm against itself, and the bootstrap.


def of(counts: dict[str, list[int]]) -> Study:
    records = planted.study(counts)
    for record in records:
        record["analysis"] |= {"against": ["standard"], "seeds": list(range(len(counts["sba"])))}
    return load_study("planted", records)


def test_halves_are_compared_as_the_verdicts_are_and_an_odd_seed_is_left_out() -> None:
    found = self_comparison(of({arm: [*counts, 999] for arm, counts in EIGHT.items()}), "clean")
    for arm, counts in EIGHT.items():
        points = np.array(counts) / 10
        first, second = points[:4], points[4:]
        pair = found[arm]
        assert pair.n == 4
        assert pair.p == pytest.approx(scipy_stats.ttest_rel(first, second).pvalue)
        assert pair.welch == pytest.approx(scipy_stats.ttest_ind(first, second, equal_var=False).pvalue)
        assert pair.holm is not None
        assert pair.holm >= (pair.p or 0)


def test_seven_seeds_are_too_few() -> None:
    assert self_comparison(of({arm: counts[:7] for arm, counts in EIGHT.items()}), "clean") == {}


def test_the_bootstrap_needs_ten_seeds() -> None:
    nine = {arm: [*counts, 866] for arm, counts in EIGHT.items()}
    assert bootstrap_interval(of(nine), "standard") is None
    assert bootstrap_interval(of({arm: [*counts, 867] for arm, counts in nine.items()}), "standard") is not None
