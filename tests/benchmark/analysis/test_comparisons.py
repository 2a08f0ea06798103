"""The treatment of a study against each named arm: paired seeds, families, what is missing; rows of an ablation."""

import numpy as np
import pytest
from records import planted
from scipy import stats as scipy_stats

from benchmark.analysis.comparisons import comparisons
from benchmark.analysis.endpoints import images_to, learning_area, seconds_to
from benchmark.analysis.exploratory import block_t, contrasts
from benchmark.analysis.study import load_study
from benchmark.runtime.errors import UsageError

COUNTS = {"sba": [870, 872, 868, 871, 869], "standard": [858, 861, 857, 862, 857], "mixup": [860] * 5}
ROWS = {row: [860 + 3 * i, 862, 861 - i] for i, row in enumerate(planted.ROWS)}


def test_comparison_is_paired_by_seed() -> None:
    found = comparisons(load_study("planted", planted.study(COUNTS)), "clean")
    assert list(found) == ["standard", "mixup"]
    pair = found["standard"]
    assert pair is not None
    assert (pair.n, pair.wins, pair.family) == (5, 5, 2)
    assert pair.difference == pytest.approx(1.1)
    assert pair.holm is not None
    assert pair.p is not None
    assert pair.holm >= pair.p


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


def test_an_exploratory_study_has_no_comparison_to_draw_a_verdict_from() -> None:
    with pytest.raises(ValueError, match="exploratory"):
        comparisons(load_study("planted_ablation", planted.ablation(ROWS)), "clean")


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
