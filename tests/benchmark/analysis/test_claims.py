"""Claims: planted studies with a known truth each get the right judgement, in the right words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import planted
import pytest
from scipy import stats

from benchmark.analysis.claims import Claim, claims_table, judge, load_claims, sentences
from benchmark.analysis.endpoints import ENDPOINTS, images_to, learning_area
from benchmark.analysis.study import Study, load_study
from benchmark.analysis.verdicts import p_equals, signed
from benchmark.records.schema import Check, Record

NAMED = ("standard", "erm", "mixup", "hard_labels_mean", "hard_labels")
RELATIVES = ("manifold_mixup", "cutmix", "label_smoothing", "batch_augmentation", "stability")
CLAIMS = {claim.name: claim for claim in load_claims()}
ARMS: dict[str, dict[str, Any]] = {
    "sba": {"method": "sba", "settings": {"p": 0.5}},
    "erm": {"method": "erm", "augmentation": "none", "settings": {}},
    "standard": {"method": "erm", "settings": {}},
    "mixup": {"method": "mixup", "settings": {}},
    "hard_labels": {"method": "sba", "settings": {"p": 0.5, "alpha": 1.0, "kl_weight": 0.0}},
    "hard_labels_mean": {
        "method": "sba",
        "settings": {"p": 0.5, "alpha": 1.0, "kl_weight": 0.0, "hard_labels": "mean"},
    },
    **{arm: {"method": arm, "settings": {}} for arm in RELATIVES},
    "always": {"method": "sba", "settings": {"p": 1.0}},
}
BASE = [858, 861, 857, 862, 857]
NOISY = [861, 853, 859, 849, 863]  # around the same mean


def planted_study(counts: dict[str, Sequence[int]], **changes: Any) -> list[Record]:
    """Records of a study that names all arms which the claims speak of."""
    curves = changes.pop("curves", None)
    records = planted.study(counts, curves)
    seeds = list(range(max(len(row) for row in counts.values())))
    for record in records:
        record["settings"]["arm"] |= ARMS.get(record["arm"], {"method": "erm"})
        record["analysis"] |= {"against": list(NAMED), "seeds": seeds, "level": 70.0, **changes}
    return records


def judged(claim: str, records: list[Record]) -> tuple[str, str]:
    finding = judge(load_study("planted", records), CLAIMS[claim])
    points = ["; ".join((says, *comparisons)) for says, comparisons in finding.points]
    return finding.judgement, "; ".join(filter(None, (finding.reason, *points)))


def all_arms(**counts: Sequence[int]) -> dict[str, Sequence[int]]:
    """Every named arm like `standard` unless said otherwise."""
    return {"sba": [870, 872, 868, 871, 869], **dict.fromkeys(NAMED, BASE), **counts}


def test_the_file_names_what_there_is() -> None:
    assert list(CLAIMS) == [
        "generalization",
        "convergence",
        "robustness",
        "soft label",
        "cost",
        "relatives",
        "one network",
    ]
    for claim in CLAIMS.values():
        assert bool(claim.decides) != bool(claim.counts)
        assert claim.against
        assert all(endpoint in ENDPOINTS for endpoint in claim.beside)
        assert claim.source == "ours" or "abstract" in claim.source
        assert not claim.studies or (len(claim.studies), len(claim.decides), len(claim.against)) == (2, 1, 1)


def test_clear_effect_is_supported_with_the_numbers() -> None:
    judgement, text = judged("generalization", planted_study(all_arms()))
    assert judgement == "supported"
    assert text.startswith("accuracy on the test images after the last epoch; 87.00 against 85.90 of `erm`: higher")
    assert text.count("higher in 5/5 seeds, mean +1.10 points [95% CI") == 3
    assert text.count("cannot go below .0625") == 3


def test_one_arm_that_is_better_contradicts() -> None:
    better = [count + 12 for count in all_arms()["sba"]]
    better[2] += 1
    judgement, text = judged("generalization", planted_study(all_arms(mixup=better)))
    assert judgement == "contradicted"
    assert "87.00 against 88.22 of `mixup`: lower in 5/5 seeds" in text


def test_no_effect_is_not_resolved_and_says_what_could_be_seen() -> None:
    judgement, text = judged("generalization", planted_study(all_arms(sba=NOISY)))
    assert judgement == "not resolved"
    assert text.count("cannot be seen with 5 seeds") == 3
    assert "no difference" not in text


def test_within_the_margin_of_one_and_above_the_others_is_equivalent() -> None:
    close = [871, 871, 869, 870, 869]
    judgement, text = judged("generalization", planted_study(all_arms(standard=close)))
    assert judgement == "equivalent"
    assert "87.00 against 87.00 of `standard`: equivalent within 0.5 points" in text
    assert text.count("higher in 5/5 seeds") == 2


def test_one_open_comparison_leaves_the_claim_open() -> None:
    assert judged("generalization", planted_study(all_arms(erm=[880, 852, 874, 861, 870])))[0] == "not resolved"


def test_three_seeds_decide_nothing() -> None:
    few = {arm: row[:3] for arm, row in all_arms().items()}
    judgement, text = judged("generalization", planted_study(few))
    assert judgement == "not tested"
    assert text.startswith("3 seeds cannot carry a test; ")
    assert "3 paired seeds cannot carry a test: description only" in text


def test_constant_differences_decide_nothing() -> None:
    constant = {arm: [860, 862, 858, 861, 859] for arm in NAMED}
    judgement, text = judged("generalization", planted_study({**constant, "sba": [870, 872, 868, 871, 869]}))
    assert judgement == "not resolved"
    assert "higher in 5/5 seeds, by +1.00 points in each: differences are constant, no t test" in text


def test_ties_are_counted() -> None:
    tied = [850, 852, 848, 851, 869]  # as `sba` in the last seed, far below it in the others
    _, text = judged("soft label", planted_study(all_arms(hard_labels=tied)))
    assert "87.00 against 85.40 of `hard_labels`: higher in 4/5 seeds (1 tie)" in text


def test_missing_runs_make_it_interim_whatever_the_numbers() -> None:
    records = [r for r in planted_study(all_arms()) if (r["arm"], r["seed"]) not in {("mixup", 3), ("mixup", 4)}]
    judgement, text = judged("generalization", records)
    assert judgement == "not resolved"
    assert text.startswith("interim, 2 named runs still to come")
    assert "+1.13 points from `mixup` (3 seeds)" in text
    assert "Holm" not in text


def test_a_diverged_run_of_sba_withholds_support() -> None:
    records = [r for r in planted_study(all_arms()) if (r["arm"], r["seed"]) != ("sba", 2)]
    failed = planted_study({"sba": [100] * 3, "standard": BASE})[2]
    lost = planted.diverged("sba", 2)
    lost["settings"], lost["analysis"] = failed["settings"], failed["analysis"]
    judgement, text = judged("generalization", [*records, lost])
    assert judgement == "not resolved"
    assert text.startswith("1 run of `sba` diverged")
    assert "higher in 4/4 seeds" in text


def test_an_arm_of_which_every_run_diverged() -> None:
    records = [r for r in planted_study(all_arms()) if r["arm"] != "erm"]
    for seed in range(5):
        lost, like = planted.diverged("erm", seed), records[0]
        lost["analysis"], lost["settings"]["arm"] = like["analysis"], lost["settings"]["arm"] | ARMS["erm"]
        records.append(lost)
    judgement, text = judged("generalization", records)
    assert judgement == "not resolved"
    assert "`erm`: every run of `erm` diverged; 5 runs of `erm` diverged" in text


def test_robustness_reports_the_single_eps_beside_the_area() -> None:
    curves = {"sba": [[160, 140, 100 + i % 2, 40 + i, 0] for i in range(5)]}
    judgement, text = judged("robustness", planted_study(all_arms(), curves=curves))
    assert judgement == "supported"
    assert "area under the curve of accuracy under these attacks" in text
    beside = "the mean difference in accuracy under these attacks at Linf eps = 1/255; from `erm` +16.00 points"
    assert f"beside it, {beside}" in text


def test_robustness_waits_for_a_positive_control_that_is_robust() -> None:
    curves = {"sba": [[160, 140, 100 + i % 2, 40 + i, 0] for i in range(5)]}
    records = planted_study(all_arms(adversarial=BASE), curves=curves, positive_control="adversarial")
    judgement, text = judged("robustness", records)
    assert judgement == "not resolved"
    assert text.startswith("nothing shows that these attacks tell a robust network from others")
    missing = [record for record in records if record["arm"] != "adversarial"]
    assert judged("robustness", missing)[0] == "not resolved"
    curves["adversarial"] = [[120, 118, 116, 110, 60]] * 5
    records = planted_study(all_arms(adversarial=BASE), curves=curves, positive_control="adversarial")
    assert judged("robustness", records)[0] == "supported"


def test_convergence_is_decided_by_the_area_and_fewer_images_are_better() -> None:
    records = planted_study(all_arms())
    for record in records:  # sba learns faster, each seed a little differently
        start = 0.62 + 0.001 * record["seed"] ** 2 if record["arm"] == "sba" else 0.50
        record["epochs"][0]["accuracy"] = start
        record["epochs"][1]["accuracy"] = start + 0.16
    judgement, text = judged("convergence", records)
    assert judgement == "supported"
    sba, standard = (next(r for r in records if r["arm"] == arm and not r["seed"]) for arm in ("sba", "standard"))
    assert learning_area(sba) > learning_area(standard)
    assert images_to(sba, 70.0) < images_to(standard, 70.0)
    assert "; training images until 70% accuracy; " in text


def always(records: list[Record], flops: int) -> list[Record]:
    """The records with an arm that augments every iteration, which spends so many FLOPs."""
    extra = planted_study({"always": BASE})
    for record in extra:
        record["cost"] |= {"train_flops": flops, "train_gradients": 40000}
    return [*records, *extra]


@pytest.mark.parametrize(
    ("flops", "judgement"), [(4 * 10**12, "supported"), (10**12, "contradicted"), (3 * 10**12, "not resolved")]
)
def test_cost_is_counted_not_tested(flops: int, judgement: str) -> None:
    records = always(planted_study(all_arms()), flops)
    found, text = judged("cost", records)
    assert found == judgement
    assert f"({3e12 / flops:.2f}x)" in text
    assert "30.0 k gradient samples against 40.0 k (0.75x)" in text
    assert "accuracy differs by +1.10 points, which was not tested" in text


def test_what_was_not_named_is_not_tested() -> None:
    records = planted_study(all_arms(), endpoints=["clean", "area", "eps"])
    assert judged("convergence", records) == (
        "not tested",
        "the study did not name the endpoint learning, the endpoint images beforehand",
    )
    records = planted_study(all_arms(), against=["standard", "erm", "hard_labels"])
    assert judged("generalization", records) == ("not tested", "the study did not name `mixup` beforehand")
    assert judged("cost", records)[0] == "not tested"
    unweighted = ("not tested", "the study did not name `hard_labels_mean` beforehand")
    assert judged("soft label", records) == unweighted  # an overweighted control alone decides nothing


def test_a_study_of_another_method_tests_no_claim_of_this_one() -> None:
    records = planted_study(all_arms())
    for record in records:
        record["settings"]["arm"]["method"] = "mine" if record["arm"] == "sba" else "erm"
    assert judged("generalization", records) == ("not tested", "the arm `sba` is not what the claim speaks of")


@pytest.mark.parametrize("arm", ["erm", "standard", "mixup"])
def test_an_arm_counts_by_what_it_is_and_not_by_its_name(arm: str) -> None:
    records = planted_study(all_arms())
    for record in records:
        if record["arm"] == arm:
            record["settings"]["arm"] |= {"method": "label_smoothing"}
    assert judged("generalization", records) == ("not tested", f"the arm `{arm}` is not what the claim speaks of")


def test_a_gain_within_the_margin_is_equivalent_and_a_loss_within_it_no_contradiction() -> None:
    gained = [count - 2 + (i == 1) for i, count in enumerate(all_arms()["sba"])]
    judgement, text = judged("generalization", planted_study(all_arms(mixup=gained)))
    assert judgement == "equivalent"
    assert "also equivalent within 0.5 points" in text
    lost = [count + 2 + (i == 1) for i, count in enumerate(all_arms()["sba"])]
    assert judged("generalization", planted_study(all_arms(mixup=lost)))[0] == "equivalent"


def test_a_named_arm_that_a_claim_does_not_speak_of_keeps_it_open_as_well() -> None:
    records = [record for record in planted_study(all_arms()) if record["arm"] != "hard_labels"]
    judgement, text = judged("generalization", records)
    assert judgement == "not resolved"
    assert text.startswith("interim, 5 named runs still to come")


def test_survivors_of_an_arm_that_diverged_contradict_nothing() -> None:
    better = [count + 12 + (i == 2) for i, count in enumerate(all_arms()["sba"])]
    records = [r for r in planted_study(all_arms(mixup=better)) if (r["arm"], r["seed"]) != ("mixup", 4)]
    lost = planted.diverged("mixup", 4)
    lost["settings"]["arm"] |= ARMS["mixup"]
    lost["analysis"] = records[0]["analysis"]
    judgement, text = judged("generalization", [*records, lost])
    assert judgement == "not resolved"
    assert "lower in 4/4 seeds" in text
    assert "1 run of `mixup` diverged" in text


def test_flags_stand_beside_what_was_attacked() -> None:
    curves = {"sba": [[160, 140, 100 + i % 2, 40 + i, 0] for i in range(5)]}
    records = planted_study(all_arms(), curves=curves)
    for record in records:
        record["flags"] = ["check 6: gradients may be masked"] if record["arm"] == "sba" else []
    assert "(5 of the 10 runs raised a flag)" in judged("robustness", records)[1]
    assert "flag" not in judged("generalization", records)[1]
    for record in records:
        costly = Check(number=8, name="black box", figures={}, flag=None)
        record["checks"] = [costly] if record["seed"] in (0, 1) else []
    assert "(5 of the 10 runs raised a flag; 4 had the costly checks)" in judged("robustness", records)[1]


def test_an_accuracy_that_was_not_reached_in_every_seed_is_not_compared() -> None:
    records = planted_study(all_arms(), level=86.0)
    judgement, text = judged("convergence", records)
    assert judgement == "not resolved"
    assert "`standard`: `standard` did not reach it in every seed" in text


def test_at_equal_compute_costs_are_equal_and_not_tested() -> None:
    records = always(planted_study(all_arms()), 4 * 10**12)
    for record in records:
        record["settings"]["compute"] = True
    assert judged("cost", records) == ("not tested", "at equal compute all arms spend the same")


def test_a_cost_with_seeds_missing_is_interim() -> None:
    records = [r for r in always(planted_study(all_arms()), 4 * 10**12) if (r["arm"], r["seed"]) != ("always", 4)]
    judgement, text = judged("cost", records)
    assert judgement == "not resolved"
    assert text.startswith("missing or diverged runs of `always`; against `always` over 4 seeds")


def relatives_study(**counts: Sequence[int]) -> list[Record]:
    """Records of a study that names the claims' arms and, as a family of their own, the relatives."""
    return planted_study({**all_arms(), **dict.fromkeys(RELATIVES, BASE), **counts}, relatives=list(RELATIVES))


def test_the_relatives_are_a_family_and_a_claim_of_their_own() -> None:
    judgement, text = judged("relatives", relatives_study())
    assert judgement == "supported"
    assert text.count("higher in 5/5 seeds") == len(RELATIVES)
    better = [count + 12 + (i == 2) for i, count in enumerate(all_arms()["sba"])]
    records = relatives_study(cutmix=better)
    assert judged("relatives", records)[0] == "contradicted"
    assert judged("generalization", records)[0] == "supported"
    unfinished = [record for record in records if (record["arm"], record["seed"]) != ("stability", 4)]
    assert judged("relatives", unfinished)[1].startswith("interim, 1 named run still to come")
    assert judged("generalization", unfinished)[0] == "supported"
    assert judged("relatives", planted_study(all_arms()))[0] == "not tested"


def test_the_soft_label_is_decided_against_both_controls_and_the_mean_one_must_be_there() -> None:
    judgement, text = judged("soft label", planted_study(all_arms()))
    assert judgement == "supported"
    assert text.index("of `hard_labels_mean`") < text.index("of `hard_labels`:")
    for control in ("hard_labels_mean", "hard_labels"):
        records = planted_study(all_arms(**{control: [871, 871, 869, 870, 869]}))
        assert judged("soft label", records)[0] == "equivalent"
    without = [record for record in planted_study(all_arms()) if record["arm"] != "hard_labels"]
    for record in without:
        record["analysis"]["against"] = [arm for arm in NAMED if arm != "hard_labels"]
    judgement, text = judged("soft label", without)
    assert judgement == "supported"
    assert "of `hard_labels`:" not in text


def test_a_control_of_the_other_weight_is_not_what_the_claim_speaks_of() -> None:
    for control, weight in (("hard_labels_mean", "sum"), ("hard_labels", "mean")):
        records = planted_study(all_arms())
        for record in records:
            if record["arm"] == control:
                record["settings"]["arm"]["settings"] = {"alpha": 1.0, "kl_weight": 0.0, "hard_labels": weight}
        said = f"the arm `{control}` is not what the claim speaks of"
        assert judged("soft label", records) == ("not tested", said)


def of_networks(**sba: Sequence[int]) -> list[Study]:
    """The studies of both networks, with these counts of `sba`; `standard` is the same in both."""
    found = []
    for preset, counts in sba.items():
        records = planted_study(all_arms(sba=counts))
        for record in records:
            record["preset"] = preset
        found.append(load_study(preset, records))
    return found


@pytest.mark.parametrize(
    ("fast", "conv", "judgement"),
    [
        ([870, 872, 868, 871, 869], [868, 872, 869, 871, 868], "supported"),
        ([870, 872, 868, 871, 869], [848, 849, 846, 851, 848], "contradicted"),  # worse in one
        (
            [870, 872, 868, 871, 869],
            [859, 860, 856, 863, 857],
            "contradicted",
        ),  # within the margin, and the gains differ
        ([870, 872, 868, 871, 869], [889, 842, 878, 849, 880], "not resolved"),  # open, and the gains do not differ
        ([862, 864, 862, 866, 862], [859, 860, 856, 863, 857], "contradicted"),
        ([858, 862, 857, 861, 857], [859, 860, 856, 863, 857], "equivalent"),
        ([848, 849, 846, 851, 848], [848, 849, 846, 852, 848], "contradicted"),
    ],
)
def test_one_network_is_decided_by_both_studies_together(
    fast: Sequence[int], conv: Sequence[int], judgement: str
) -> None:
    studies = of_networks(cifar10_10k_cpu=fast, cifar10_10k_conv_cpu=conv)
    findings = [judge(study, CLAIMS["one network"], studies) for study in studies]
    assert [finding.judgement for finding in findings] == [judgement] * 2
    assert findings[0] == findings[1]
    gains = [(np.array(counts) - BASE) / 10 for counts in (fast, conv)]
    p = stats.ttest_ind(*gains, equal_var=False).pvalue
    apart = gains[0].mean() - gains[1].mean()
    assert findings[0].points[-1].says == f"the gains differ by {signed(apart)} points (Welch p {p_equals(p)})"


def test_one_network_waits_for_both_studies() -> None:
    both = of_networks(cifar10_10k_cpu=all_arms()["sba"], cifar10_10k_conv_cpu=all_arms()["sba"])
    claim = CLAIMS["one network"]
    alone = judge(both[0], claim, both[:1])
    assert (alone.judgement, alone.reason) == ("not resolved", "interim, no record yet of `cifar10_10k_conv_cpu`")
    records = [*both[1].records.values()]
    part = load_study(both[1].preset, [r for r in records if (r["arm"], r["seed"]) != ("standard", 4)])
    waiting = judge(both[0], claim, [both[0], part])
    assert waiting.judgement == "not resolved"
    assert waiting.reason.startswith("interim, 1 named run still to come")
    other = load_study("planted", planted_study(all_arms()))
    assert judge(other, claim, [*both, other]).judgement == "not tested"


def studies() -> list[Study]:
    return [load_study("planted", planted_study(all_arms()))]


def test_the_table_and_the_sentences_cover_every_claim_and_study() -> None:
    table = claims_table(studies() * 2)
    assert [row[0] for row in table.rows] == list(CLAIMS)
    assert all(len(row) == 3 for row in table.rows)
    paragraphs = sentences(studies() * 2)
    assert len(paragraphs) == len(CLAIMS)
    for claim, paragraph in zip(CLAIMS.values(), paragraphs, strict=True):
        assert claim.says in paragraph
        assert paragraph.count("\n- ") == 2


def test_a_finding_is_a_list_of_endpoints_and_their_comparisons() -> None:
    lines = sentences(studies())[0].splitlines()
    assert lines[2] == "- A planted study (`planted`): **supported**."
    assert lines[3] == "  - Accuracy on the test images after the last epoch:"
    assert len(lines) == 7
    assert all(line.startswith("    - 87.00 against 85.90 of `") and line.endswith(".") for line in lines[4:])


def test_a_claim_that_is_misspelt_is_refused() -> None:
    with pytest.raises(ValueError, match="decides"):
        Claim.model_validate({"name": "x", "says": "y", "source": "z", "against": ("a",), "decides": "accurracy"})
