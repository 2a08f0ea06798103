"""Judgements of claims: planted studies with a known truth get the right judgement and the right reason."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pages.planted_site import CLAIMS as NAMED
from pages.planted_site import METHODS, RELATIVES, autoattack_row
from records import planted
from scipy import stats

from benchmark.analysis.claims import load_claims
from benchmark.analysis.comparisons import outcome
from benchmark.analysis.judgements import JUDGEMENT_OF, Finding, Reason, findings, judge, positive_control
from benchmark.analysis.study import Study, load_study
from benchmark.records.schema import AutoAttackRow, Record

Counts = dict[str, Sequence[int]]
Records = list[Record]

CLAIMS = {claim.name: claim for claim in load_claims()}
GENERALIZATION = CLAIMS["generalization"].against
HARD = METHODS["hard_labels"]["settings"]
SBA = [870, 872, 868, 871, 869]
BASE = [858, 861, 857, 862, 857]
BETTER_THAN_SBA = [count + 12 + (i == 2) for i, count in enumerate(SBA)]
CURVES = {"sba": [[160, 140, 100 + i % 2, 40 + i, 0] for i in range(5)]}


def planted_study(counts: Counts, **changes: Any) -> Records:
    """Records of a study that names all arms of the paper's claims."""
    records = planted.study(counts, changes.pop("curves", None))
    seeds = list(range(max(len(row) for row in counts.values())))
    for record in records:
        record["settings"]["arm"] |= METHODS[record["arm"]]
        record["analysis"] |= {"against": list(NAMED), "seeds": seeds, "level": 70.0, **changes}
    return records


def all_arms(**counts: Sequence[int]) -> Counts:
    """Counts of all named arms, like those of `standard` where none are given."""
    return {"sba": SBA, **dict.fromkeys(NAMED, BASE), **counts}


def study(**counts: Sequence[int]) -> Records:
    return planted_study(all_arms(**counts))


def relatives(**counts: Sequence[int]) -> Records:
    """Records of a study that names, as a family of their own, the relatives as well."""
    return planted_study({**all_arms(), **dict.fromkeys(RELATIVES, BASE), **counts}, relatives=list(RELATIVES))


def with_always(flops: int = 4 * 10**12) -> Records:
    """Records of a study with an arm that augments every iteration, at a given cost."""
    extra = planted_study({"always": BASE})
    for record in extra:
        record["cost"] |= {"train_flops": flops, "train_gradients": 40000}
    return [*study(), *extra]


def without(records: Records, *runs: tuple[str, int]) -> Records:
    return [record for record in records if (record["arm"], record["seed"]) not in runs]


def lost(records: Records, arm: str, *seeds: int) -> Records:
    """The records with these runs of an arm diverged."""
    failed = [planted.diverged(arm, seed) for seed in seeds]
    for record in failed:
        record["settings"]["arm"] |= METHODS[arm]
        record["analysis"] = records[0]["analysis"]
    return [*without(records, *((arm, seed) for seed in seeds)), *failed]


def with_arm(records: Records, arm: str, **changes: Any) -> Records:
    for record in records:
        if record["arm"] == arm:
            record["settings"]["arm"] |= changes
    return records


def at_equal_compute(records: Records) -> Records:
    for record in records:
        record["settings"]["compute"] = True
    return records


def judged(claim: str, records: Records) -> Finding:
    return judge(load_study("planted", records), CLAIMS[claim])


# Nine truths of one claim.

ALL = dict.fromkeys
HOLM = {
    "mixup": [866, 865, 867, 867, 857], "erm": [862, 871, 862, 862, 868], "standard": [857, 871, 864, 867, 861],
}  # fmt: skip
TRUTHS: dict[str, tuple[Counts, str, dict[str, str]]] = {
    "clear": ({"erm": [851, 850, 853, 855, 847]}, "supported", ALL(GENERALIZATION, "higher")),
    "no effect": ({"sba": [861, 853, 859, 849, 863]}, "not resolved", ALL(GENERALIZATION, "not resolved")),
    "lost to Holm": ({**HOLM}, "not resolved", ALL(GENERALIZATION, "not resolved")),
    "equivalent to one": ({"standard": [871, 871, 869, 870, 869]}, "equivalent", {"standard": "equivalent"}),
    "a gain within the margin": (
        {"mixup": [868, 871, 866, 869, 867]},
        "equivalent",
        {"mixup": "higher, within margin"},
    ),
    "a loss within the margin": ({"mixup": [872, 875, 870, 873, 871]}, "equivalent", {"mixup": "lower, within margin"}),
    "one is better": ({"mixup": [882, 884, 881, 883, 881]}, "contradicted", {"mixup": "lower", "erm": "higher"}),
    "one is open": ({"erm": [880, 852, 874, 861, 870]}, "not resolved", {"erm": "not resolved", "mixup": "higher"}),
    "constant": (ALL(NAMED, [860, 862, 858, 861, 859]), "not resolved", ALL(GENERALIZATION, "constant differences")),
}


@pytest.mark.parametrize("truth", TRUTHS)
def test_each_truth_gets_its_judgement(truth: str) -> None:
    counts, judgement, outcomes = TRUTHS[truth]
    finding = judged("generalization", study(**counts))
    assert (finding.judgement, finding.reason) == (judgement, None)
    found = {evidence.arm: evidence.pair for evidence in finding.evidence}
    assert tuple(found) == GENERALIZATION
    assert {arm: outcome(pair) for arm, pair in found.items() if pair and arm in outcomes} == outcomes


def test_the_weakest_comparison_is_of_the_standing_that_decides_and_of_the_largest_p() -> None:
    finding = judged("generalization", study(mixup=[862, 858, 855, 866, 859]))
    assert finding.weakest is not None
    assert finding.weakest.arm == "mixup"
    assert finding.weakest.pair == max((e.pair for e in finding.evidence if e.pair), key=lambda pair: pair.holm or 0)
    contradicted = judged("generalization", study(erm=[882, 884, 881, 883, 881])).weakest
    assert contradicted is not None
    assert (contradicted.arm, contradicted.standing) == ("erm", "worse")
    unreached = of_case("convergence", "an accuracy that some runs never reached").weakest
    assert unreached is not None
    assert (unreached.endpoint, unreached.pair) == ("images", None)


# Why nothing is judged, and what is judged where something is missing.

OF_HARD_LABELS = [("hard_labels", seed) for seed in range(5)]
NO_HARD_LABELS = [arm for arm in NAMED if arm != "hard_labels"]
ONE_SEED = {arm: row[:1] for arm, row in all_arms().items()}
FEW_ENDPOINTS, FEW_ARMS = ["clean", "area", "eps"], ["standard", "erm", "hard_labels"]
OPEN, UNTESTED = "not resolved", "not tested"
CASES: dict[tuple[str, str], tuple[Records, str, Reason | None]] = {  # (claim, what is the case) -> ...
    ("generalization", "one seed"): (planted_study(ONE_SEED), UNTESTED, Reason("few seeds", number=1)),
    ("generalization", "missing runs"): (
        without(study(), ("mixup", 3), ("mixup", 4), ("sba", 1)), OPEN, Reason("interim", number=3)),
    ("generalization", "missing arm of another claim"): (
        without(study(), *OF_HARD_LABELS), OPEN, Reason("interim", number=5)),
    ("generalization", "diverged sba"): (lost(study(), "sba", 2), OPEN, Reason("diverged", number=1)),
    ("generalization", "better, and lost a run"): (lost(study(mixup=BETTER_THAN_SBA), "mixup", 4), OPEN, None),
    ("generalization", "every run diverged"): (lost(study(), "erm", *range(5)), OPEN, None),
    ("generalization", "unnamed arm"): (
        planted_study(all_arms(), against=FEW_ARMS), UNTESTED, Reason("unnamed", ("mixup",))),
    ("convergence", "unnamed endpoints"): (
        planted_study(all_arms(), endpoints=FEW_ENDPOINTS), UNTESTED, Reason("unnamed", ("learning", "images"))),
    ("convergence", "an accuracy that some runs never reached"): (planted_study(all_arms(), level=86.0), OPEN, None),
    **{("generalization", f"{arm} of another method"): (
        with_arm(study(), arm, method="mine"), UNTESTED, Reason("other arm", (arm,)))
       for arm in ("sba", "erm", "standard", "mixup")},
    **{("soft label", f"{arm} of the other weight"): (
        with_arm(study(), arm, settings=HARD | {"hard_labels": weight}), UNTESTED, Reason("other arm", (arm,)))
       for arm, weight in (("hard_labels_mean", "sum"), ("hard_labels", "mean"))},
    ("soft label", "an overweighted control alone"): (
        planted_study(all_arms(), against=FEW_ARMS), UNTESTED, Reason("unnamed", ("hard_labels_mean",))),
    ("soft label", "both controls"): (study(), "supported", None),
    ("soft label", "the mean control alone"): (
        without(planted_study(all_arms(), against=NO_HARD_LABELS), *OF_HARD_LABELS), "supported", None),
    **{("soft label", f"equivalent to {control}"): (
        study(**{control: [871, 871, 869, 870, 869]}), "equivalent", None) for control in NAMED[-2:]},
    ("relatives", "all lower"): (relatives(), "supported", None),
    ("relatives", "one better"): (relatives(cutmix=BETTER_THAN_SBA), "contradicted", None),
    ("relatives", "missing run"): (without(relatives(), ("stability", 4)), OPEN, Reason("interim", number=1)),
    ("relatives", "unnamed"): (study(), UNTESTED, Reason("unnamed", RELATIVES)),
    ("generalization", "a better relative"): (relatives(cutmix=BETTER_THAN_SBA), "supported", None),
    ("generalization", "a missing relative"): (without(relatives(), ("stability", 4)), "supported", None),
    ("cost", "lower"): (with_always(), "supported", None),
    ("cost", "higher"): (with_always(10**12), "contradicted", None),
    ("cost", "the same"): (with_always(3 * 10**12), OPEN, None),
    ("cost", "no arm"): (study(), UNTESTED, Reason("absent", ("always",))),
    ("cost", "equal compute"): (at_equal_compute(with_always()), UNTESTED, Reason("equal compute")),
    ("cost", "missing run"): (without(with_always(), ("always", 4)), OPEN, Reason("interim", number=1)),
    ("cost", "diverged run"): (lost(with_always(), "always", 4), OPEN, Reason("incomplete", ("always",))),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_each_case_gets_its_judgement_and_reason(case: tuple[str, str]) -> None:
    records, judgement, reason = CASES[case]
    finding = judged(case[0], records)
    assert (finding.judgement, finding.reason) == (judgement, reason)
    assert finding.interim == (reason is not None and reason.kind == "interim")


def of_case(claim: str, case: str) -> Finding:
    return judged(claim, CASES[claim, case][0])


def test_the_evidence_of_cases() -> None:
    few = of_case("generalization", "one seed").evidence
    assert all(e.pair and outcome(e.pair) == "description only" and e.pair.holm is None for e in few)
    survivors = {e.arm: e for e in of_case("generalization", "better, and lost a run").evidence}
    assert survivors["mixup"].standing == "open"
    gone = {e.arm: e for e in of_case("generalization", "every run diverged").evidence}
    assert (gone["erm"].pair, gone["erm"].standing) == (None, "open")
    assert [e.arm for e in of_case("soft label", "both controls").evidence] == ["hard_labels_mean", "hard_labels"]
    assert [e.arm for e in of_case("soft label", "the mean control alone").evidence] == ["hard_labels_mean"]
    unreached = of_case("convergence", "an accuracy that some runs never reached").evidence
    assert [e.pair for e in unreached if e.endpoint == "images"] == [None] * 3


def test_cost_is_counted() -> None:
    (spent,) = of_case("cost", "lower").spent
    assert spent.counts == {"train_flops": (3e12, 4e12), "train_gradients": (30000, 40000)}
    assert (spent.arm, spent.seeds) == ("always", 5)
    assert [spent.accuracy, spent.area] == pytest.approx([1.1, 0.0])
    assert of_case("cost", "missing run").spent[0].seeds == 4


def test_convergence_is_decided_by_the_area_and_the_images_of_which_fewer_are_better() -> None:
    records = study()
    for record in records:  # sba learns faster, each seed a little differently
        start = 0.62 + 0.001 * record["seed"] ** 2 if record["arm"] == "sba" else 0.50
        record["epochs"][0]["accuracy"] = start
        record["epochs"][1]["accuracy"] = start + 0.16
    finding = judged("convergence", records)
    assert finding.judgement == "supported"
    assert [e.endpoint for e in finding.evidence] == ["learning"] * 3 + ["images"] * 3
    assert [e.pair is not None and e.pair.difference > 0 for e in finding.evidence] == [True] * 3 + [False] * 3
    assert all(e.standing == "better" for e in finding.evidence)


# The positive control.


@pytest.mark.parametrize(
    ("control", "passed"),
    [(None, None), ([[160, 120, 60, 10, 0]] * 5, False), ([[120, 118, 116, 110, 60]] * 5, True)],
)
def test_robustness_waits_for_a_positive_control_that_is_robust(control: Any, passed: bool | None) -> None:
    curves = CURVES | ({"adversarial": control} if control else {})
    counts = all_arms(**({"adversarial": BASE} if control else {}))
    records = planted_study(counts, curves=curves, positive_control="adversarial")
    found = positive_control(load_study("planted", records))
    assert found is not None
    assert found.passed is passed
    finding = judged("robustness", records)
    assert finding.judgement == ("supported" if passed else "not resolved")
    assert finding.reason == (None if passed else Reason("control") if control else Reason("interim", number=1))
    assert judged("generalization", records).judgement == "supported"
    assert judged("robustness", planted_study(all_arms(), curves=CURVES)).judgement == "supported"  # names none


@pytest.mark.parametrize(
    ("classes", "control", "others", "passed"),
    [
        (10, [90, 41], [0, 9], True),  # of 200 images at the largest eps: 45 and 20.5%, at most 4.5%
        (10, [90, 40], [0, 0], False),  # one of its seeds keeps 20%
        (10, [90], [0, 10], False),  # one run of another arm keeps 5%
        (100, [30, 23], [0], True),  # 15 and 11.5%
        (100, [22], [0], False),  # 11%
        (2, [100], [0], False),  # 50%, as always the same answer
        (2, [121], [0], True),
        (10, [90], [], None),
        (10, [], [5], None),
    ],
)
def test_a_control_passes_where_all_its_seeds_are_more_robust_than_every_other_run(
    classes: int, control: list[int], others: list[int], passed: bool | None
) -> None:
    curves = {
        "adversarial": [(150, 140, 130, 121, left) for left in control],
        "standard": [(160, 120, 60, 20, left) for left in others],
    }
    records = planted.study({"standard": [860] * len(others), "adversarial": [700] * len(control)}, curves)
    for record in records:
        record["analysis"]["positive_control"] = "adversarial"
        record["data"]["classes"] = classes
    found = positive_control(load_study("planted", records))
    assert found is not None
    assert found.passed is passed
    assert found.kept.tolist() == [left / 2 for left in control]
    assert found.others == pytest.approx(max(others) / 2 if others else np.nan, nan_ok=True)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("standard", 110, 98)], None),  # SBA's 120 and 100
        ([("standard", 110, 102), ("mixup", 100, 90)], Reason("reversed", ("standard",))),
        ([("hard_labels", 110, 102)], None),  # an arm of another claim
        ([("standard", 110, 100)], Reason("reversed", ("standard",))),  # nothing is left of the difference
    ],
)
def test_robustness_is_not_resolved_where_autoattack_turns_the_sign(
    rows: list[tuple[str, int, int]], reason: Reason | None
) -> None:
    attacked = [autoattack_row(arm, 0, *left) for arm, *left in (("sba", 120, 100), *rows)]
    found = load_study("planted", planted_study(all_arms(), curves=CURVES), attacked)
    finding = judge(found, CLAIMS["robustness"])
    assert (finding.judgement, finding.reason) == ("not resolved" if reason else "supported", reason)
    assert judge(found, CLAIMS["generalization"]).judgement == "supported"
    other_eps: list[AutoAttackRow] = [{**row, "eps": 0.5} for row in attacked]
    # of a run that was repeated since
    other_weights: list[AutoAttackRow] = [{**row, "weights": "0" * 16} for row in attacked]
    for rows_ in (other_eps, other_weights):
        assert judge(load_study("planted", [*found.records.values()], rows_), CLAIMS["robustness"]).reason is None


# A claim of two studies.


def of_networks(**sba: Sequence[int]) -> list[Study]:
    """The studies of several presets, with these counts of `sba`; `standard` is the same in all."""
    found = []
    for preset, counts in sba.items():
        records = study(sba=counts)
        for record in records:
            record["preset"] = preset
        found.append(load_study(preset, records))
    return found


@pytest.mark.parametrize(
    ("fast", "conv", "judgement"),
    [
        (SBA, [868, 872, 869, 871, 868], "supported"),
        (SBA, [848, 849, 846, 851, 848], "contradicted"),  # worse in one
        (SBA, [859, 860, 856, 863, 857], "contradicted"),  # within the margin of one, and the gains differ
        (SBA, [889, 842, 878, 849, 880], "not resolved"),  # open in one, and the gains do not differ
        ([858, 862, 857, 861, 857], [859, 860, 856, 863, 857], "equivalent"),
        ([848, 849, 846, 851, 848], [848, 849, 846, 852, 848], "contradicted"),
    ],
)
def test_one_network_is_decided_by_both_studies_together(
    fast: Sequence[int], conv: Sequence[int], judgement: str
) -> None:
    studies = of_networks(cifar10_10k_cpu=fast, cifar10_10k_conv_cpu=conv)
    first, second = (judge(each, CLAIMS["one network"], studies) for each in studies)
    assert first.judgement == second.judgement == judgement
    gains = [(np.array(counts) - BASE) / 10 for counts in (fast, conv)]
    assert first.apart is not None
    assert first.apart[0] == pytest.approx(gains[0].mean() - gains[1].mean())
    assert first.apart[1] == pytest.approx(stats.ttest_ind(*gains, equal_var=False).pvalue)
    assert [e.study.preset for e in first.evidence] == [each.preset for each in studies]


def test_one_network_waits_for_both_studies() -> None:
    both, claim = of_networks(cifar10_10k_cpu=SBA, cifar10_10k_conv_cpu=SBA), CLAIMS["one network"]
    alone = judge(both[0], claim, both[:1])
    assert (alone.judgement, alone.reason) == ("not resolved", Reason("no record", ("cifar10_10k_conv_cpu",)))
    assert alone.interim
    part = load_study(both[1].preset, without([*both[1].records.values()], ("standard", 4)))
    waits = Reason("interim", ("cifar10_10k_conv_cpu",), 1)  # said on both pages, so it names the study
    assert judge(both[0], claim, [both[0], part]).reason == waits
    other = load_study("planted", study())
    assert judge(other, claim, [*both, other]).reason == Reason("elsewhere", claim.studies)


# Every claim by every study.


def test_every_claim_is_judged_by_every_study() -> None:
    found = findings(of_networks(first=SBA, second=SBA))
    assert [claim.name for claim, _ in found] == list(CLAIMS)
    assert all(list(of) == ["first", "second"] for _, of in found)
    assert list(JUDGEMENT_OF) == ["worse", "open", "equivalent", "better"]
