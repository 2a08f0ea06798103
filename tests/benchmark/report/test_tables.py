"""Tables of a study: values recomputed with SciPy or by hand."""

import numpy as np
from records import planted
from records.attacked_records import rows
from scipy import stats

from benchmark.analysis.study import load_study
from benchmark.report.notation import p_text, plain, signed
from benchmark.report.tables import (
    comparison_table,
    contrast_table,
    differences_table,
    equal_compute,
    more_tests_table,
    seeds_table,
    self_table,
)

COUNTS = {
    "sba": [870, 872, 868, 871, 869],
    "standard": [858, 861, 857, 862, 857],
    "mixup": [860, 865, 858, 866, 859],
}


def p_shown(p: float) -> str:
    return plain(p_text(p))


def test_every_seed_with_mean_sd_and_best_epoch() -> None:
    records = [r for r in planted.study(COUNTS) if (r["arm"], r["seed"]) not in {("mixup", 1), ("mixup", 4)}]
    records += [planted.diverged("mixup", 1), planted.record("always", 0, 871)]
    found = rows(seeds_table(load_study("planted", records)))
    points = np.array(COUNTS["sba"]) / 10
    assert list(found["sba"].values()) == [*(f"{p:.2f}" for p in points), "87.00", f"{points.std(ddof=1):.2f}", "87.00"]
    assert [found["mixup"][f"seed {seed}"] for seed in range(5)] == ["86.00", "diverged", "85.80", "86.60", "missing"]
    assert [found["always"][f"seed {seed}"] for seed in range(2)] == ["87.10", "-"]  # it need not run at every seed


def test_differences_and_their_other_tests_are_those_of_scipy() -> None:
    study = load_study("planted", planted.study(COUNTS))
    short, more, wide = (
        rows(t) for t in (differences_table(study), more_tests_table(study), comparison_table(study, "clean"))
    )
    pairs = {arm: (np.array(COUNTS["sba"]) / 10, np.array(COUNTS[arm]) / 10) for arm in ("standard", "mixup")}
    raw = {arm: float(stats.ttest_rel(*pair).pvalue) for arm, pair in pairs.items()}
    low, high = sorted(raw, key=raw.__getitem__)
    holm = {low: 2 * raw[low], high: max(2 * raw[low], raw[high])}
    for arm, (ours, theirs) in pairs.items():
        interval = stats.ttest_rel(ours, theirs).confidence_interval()
        mean = signed(float((ours - theirs).mean()))
        ends = f"[{signed(interval.low)}, {signed(interval.high)}]"
        assert short[arm]["accuracy"] == f"{mean} {ends}, p {p_shown(holm[arm])}, higher"
        welch = p_shown(float(stats.ttest_ind(ours, theirs, equal_var=False).pvalue))
        assert more[arm]["accuracy"].startswith(
            f"higher in 5/5; p {p_shown(raw[arm])}, exact .0625, Welch {welch}, equiv"
        )
        assert wide[arm]["difference"] == mean
        assert wide[arm]["95% interval"] == f"{signed(interval.low)} to {signed(interval.high)}"
        assert (wide[arm]["p"], wide[arm]["Holm p"], wide[arm]["Welch p"]) == (
            p_shown(raw[arm]),
            p_shown(holm[arm]),
            welch,
        )
        assert (wide[arm]["exact p"], wide[arm]["exact floor"], wide[arm]["outcome"]) == (".0625", ".0625", "higher")
    assert short["standard"]["accuracy at 1/255"] == "0.00 in each seed, constant differences, not tested"


def test_unfinished_families_and_few_seeds_have_differences_and_no_tests() -> None:
    records = [record for record in planted.study(COUNTS) if (record["arm"], record["seed"]) != ("mixup", 4)]
    study = load_study("planted", records)
    assert rows(differences_table(study))["standard"]["accuracy"] == "+1.10 (5 seeds)"
    assert set(rows(more_tests_table(study))["standard"].values()) == {"-"}
    assert list(rows(comparison_table(study, "clean"))["mixup"].values())[3:] == ["-"] * 8 + ["interim"]


def test_from_ten_seeds_on_a_bootstrap_interval_stands_beside_the_t_interval() -> None:
    ten = {arm: [*counts, *(count + 1 for count in counts)] for arm, counts in COUNTS.items()}
    records = planted.study(ten)
    for record in records:
        record["analysis"]["seeds"] = list(range(10))
    study = load_study("planted", records)
    low, high = map(float, rows(comparison_table(study, "clean"))["standard"]["bootstrap interval"].split(" to "))
    assert low < 1.1 < high
    assert high - low < 2
    assert "bootstrap" in rows(more_tests_table(study))["standard"]["accuracy"]
    assert (
        "bootstrap interval"
        not in rows(comparison_table(load_study("planted", planted.study(COUNTS)), "clean"))["mixup"]
    )
    for record in records:
        record["analysis"]["against"] = ["standard", "mixup", "erm"]  # of which no seed was run
    assert rows(comparison_table(load_study("planted", records), "clean"))["erm"]["bootstrap interval"] == "-"


# An ablation.

ROWS = {
    "default": [860, 862, 858],
    "noise_1": [880, 882, 879],
    "layers_input": [840, 843, 838],
    "similarity": [860, 865, 856],
    "erm": [850, 849, 852],
    "erm_equal_compute": [863, 865, 861],  # 0.3 points higher in every seed: no t test of its own
}


def test_contrasts_are_those_of_one_additive_model() -> None:
    table = np.array(list(ROWS.values()), dtype=np.float64) / 10  # (row, seed)
    residual = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
    freedom = (len(ROWS) - 1) * 2
    error = np.sqrt((residual**2).sum() / freedom * 2 / 3)
    differences = table[1:].mean(1) - table[0].mean()
    p = 2 * stats.t.sf(np.abs(differences) / error, freedom)
    adjusted = stats.false_discovery_control(p)
    half = error * stats.t.ppf(0.975, freedom)
    found = rows(contrast_table(load_study("planted_ablation", planted.ablation(ROWS)), "clean"))
    assert list(found) == list(ROWS)
    assert list(found["default"].values())[-5:] == ["-"] * 5
    for i, row in enumerate(list(ROWS)[1:]):
        each = np.round(table[i + 1] - table[0], 9)
        own = p_shown(float(stats.ttest_1samp(each, 0).pvalue)) if np.ptp(each) else "-"
        interval = f"{signed(differences[i] - half)} to {signed(differences[i] + half)}"
        expected = [signed(differences[i]), interval, p_shown(float(p[i])), p_shown(float(adjusted[i])), own]
        assert list(found[row].values())[-5:] == expected
    assert found["noise_1"]["difference"] == "+2.03"


def test_equal_compute_is_the_row_of_the_ablation_with_its_tests_and_the_sign_of_all_other_comparisons() -> None:
    study = load_study("planted_ablation", planted.ablation(ROWS))
    row = rows(contrast_table(study, "clean"))["erm_equal_compute"]
    low, high = (signed(-float(bound)) for bound in row["95% interval"].split(" to "))
    text = f"-0.30 [{high}, {low}] in accuracy (p {row['p']}, BH p {row['BH p']}, not resolved)"
    assert plain(equal_compute(study)).startswith(text)
    for counts, outcome in (([900, 902, 898], "lower"), ([820, 822, 818], "higher")):  # of it, so SBA is the other
        sure = plain(
            equal_compute(load_study("planted_ablation", planted.ablation(ROWS | {"erm_equal_compute": counts})))
        )
        difference = signed((860 - counts[0]) / 10)
        assert sure.startswith(f"{difference} [")
        assert sure.partition(" in accuracy (p ")[2].partition(")")[0].endswith(f", {outcome}")
    without = {name: counts for name, counts in ROWS.items() if name != "erm_equal_compute"}
    assert equal_compute(load_study("planted_ablation", planted.ablation(without))) == ""


# The self-comparison.


def test_every_arm_against_itself_from_eight_seeds_on() -> None:
    eight = {arm: [*counts, *counts[:3]] for arm, counts in COUNTS.items()}
    records = planted.study(eight)
    for record in records:
        record["analysis"]["seeds"] = list(range(8))
    found = rows(self_table(load_study("planted", records)))
    first, second = np.array(eight["sba"][:4]) / 10, np.array(eight["sba"][4:]) / 10
    assert found["sba"]["accuracy"].startswith(signed(float((first - second).mean())))
    assert found["sba"]["accuracy, p"] == p_shown(float(stats.ttest_rel(first, second).pvalue))
    assert self_table(load_study("planted", planted.study(COUNTS))) is None
