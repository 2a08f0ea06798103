"""Claims: planted studies with a known truth get the right judgement, on numbers that SciPy gives as well."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import planted
import pytest
from scipy import optimize, stats

from benchmark.analysis.claims import (
    JUDGEMENT_OF,
    OURS,
    Claim,
    Evidence,
    Finding,
    Reason,
    findings,
    judge,
    load_claims,
    positive_control,
)
from benchmark.analysis.endpoints import images_to, learning_area
from benchmark.analysis.paired import Floats
from benchmark.analysis.study import Study, load_study
from benchmark.analysis.verdicts import outcome
from benchmark.records.schema import Record

NAMED = ("standard", "erm", "mixup", "hard_labels_mean", "hard_labels")
RELATIVES = ("manifold_mixup", "cutmix", "label_smoothing", "batch_augmentation", "stability")
CLAIMS = {claim.name: claim for claim in load_claims()}
GENERALIZATION = CLAIMS["generalization"].against
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
SBA = [870, 872, 868, 871, 869]
BASE = [858, 861, 857, 862, 857]


def planted_study(counts: dict[str, Sequence[int]], **changes: Any) -> list[Record]:
    """Records of a study that names all arms which the claims speak of."""
    records = planted.study(counts, changes.pop("curves", None))
    seeds = list(range(max(len(row) for row in counts.values())))
    for record in records:
        record["settings"]["arm"] |= ARMS.get(record["arm"], {"method": "erm"})
        record["analysis"] |= {"against": list(NAMED), "seeds": seeds, "level": 70.0, **changes}
    return records


def all_arms(**counts: Sequence[int]) -> dict[str, Sequence[int]]:
    """Every named arm like `standard` unless said otherwise."""
    return {"sba": SBA, **dict.fromkeys(NAMED, BASE), **counts}


def judged(claim: str, records: list[Record]) -> Finding:
    return judge(load_study("planted", records), CLAIMS[claim])


def without(records: list[Record], *runs: tuple[str, int]) -> list[Record]:
    return [record for record in records if (record["arm"], record["seed"]) not in runs]


def lost(records: list[Record], arm: str, seed: int) -> list[Record]:
    """The records with one run diverged."""
    failed = planted.diverged(arm, seed)
    failed["settings"]["arm"] |= ARMS[arm]
    failed["analysis"] = records[0]["analysis"]
    return [*without(records, (arm, seed)), failed]


# What SciPy gives for the same counts.


def differences(counts: dict[str, Sequence[int]], arm: str) -> Floats:
    """Points of accuracy of SBA minus those of an arm, one a seed."""
    points: Floats = (np.array(counts["sba"]) - np.array(counts[arm])) * 100 / planted.TEST_IMAGES
    return points


def holm(counts: dict[str, Sequence[int]]) -> dict[str, float]:
    """Holm's p of each named arm: the k-th smallest of m, from 0, times m - k, never below the one before it."""
    raw = {arm: float(stats.ttest_rel(counts["sba"], counts[arm]).pvalue) for arm in NAMED}
    ordered = sorted(raw, key=raw.__getitem__)
    steps = [min(1.0, (len(ordered) - k) * raw[arm]) for k, arm in enumerate(ordered)]
    return dict(zip(ordered, itertools.accumulate(steps, max), strict=True))


def exact(d: Floats) -> float:
    """Share of all sign flips whose sum is at least as far from 0."""
    sums = np.array(list(itertools.product((-1, 1), repeat=len(d)))) @ d
    return float((abs(sums) >= abs(d.sum()) - 1e-9).mean())


def detectable(d: Floats) -> float:
    """The difference found in 80% of studies of this spread, two-sided, at the strictest level of Holm.

    T = (Z + shift) / sqrt(V / f) with V of chi-squared with f degrees; the lower tail adds nothing.
    """
    f, error = len(d) - 1, float(stats.sem(d))
    critical = stats.t.ppf(1 - 0.05 / len(NAMED) / 2, f)

    def power(size: float) -> float:
        return float(stats.chi2(f).expect(lambda v: stats.norm.sf(critical * np.sqrt(v / f) - size / error)))

    return float(optimize.brentq(lambda size: power(size) - 0.8, error, 20 * error))


def assert_scipys(counts: dict[str, Sequence[int]], evidence: Evidence) -> None:
    d, pair = differences(counts, evidence.arm), evidence.pair
    assert pair is not None
    half = stats.t.ppf(0.975, len(d) - 1) * stats.sem(d)
    assert (pair.difference, pair.low, pair.high) == pytest.approx((d.mean(), d.mean() - half, d.mean() + half))
    assert pair.holm == pytest.approx(holm(counts)[evidence.arm])
    assert pair.exact == exact(d)
    assert pair.detectable == pytest.approx(detectable(d), rel=1e-3)


# Nine truths of one claim.

NOISY = [861, 853, 859, 849, 863]  # around the mean of the others
TRUTHS: dict[str, tuple[dict[str, Sequence[int]], str, dict[str, str]]] = {
    "clear": (
        {"erm": [851, 850, 853, 855, 847], "mixup": [862, 858, 855, 866, 859]},
        "supported",
        dict.fromkeys(GENERALIZATION, "higher"),
    ),
    "no effect": ({"sba": NOISY}, "not resolved", dict.fromkeys(GENERALIZATION, "not resolved")),
    "lost to Holm": (
        {"mixup": [866, 865, 867, 867, 857], "erm": [862, 871, 862, 862, 868], "standard": [857, 871, 864, 867, 861]},
        "not resolved",
        dict.fromkeys(GENERALIZATION, "not resolved"),
    ),
    "equivalent to one": ({"standard": [871, 871, 869, 870, 869]}, "equivalent", {"standard": "equivalent"}),
    "a gain within the margin": (
        {"mixup": [868, 871, 866, 869, 867]},
        "equivalent",
        {"mixup": "higher, within margin"},
    ),
    "a loss within the margin": (
        {"mixup": [872, 875, 870, 873, 871]},
        "equivalent",
        {"mixup": "lower, within margin"},
    ),
    "one is better": ({"mixup": [882, 884, 881, 883, 881]}, "contradicted", {"mixup": "lower", "erm": "higher"}),
    "one is open": ({"erm": [880, 852, 874, 861, 870]}, "not resolved", {"erm": "not resolved", "mixup": "higher"}),
    "constant": (
        {arm: [count - 10 for count in SBA] for arm in NAMED},
        "not resolved",
        dict.fromkeys(GENERALIZATION, "constant differences"),
    ),
}


@pytest.mark.parametrize("truth", TRUTHS)
def test_each_truth_gets_its_judgement_and_scipys_numbers(truth: str) -> None:
    changes, judgement, outcomes = TRUTHS[truth]
    counts = all_arms(**changes)
    finding = judged("generalization", planted_study(counts))
    assert finding.judgement == judgement
    assert finding.reason is None
    found = {evidence.arm: evidence for evidence in finding.evidence}
    assert tuple(found) == GENERALIZATION
    for arm, expected in outcomes.items():
        pair = found[arm].pair
        assert pair is not None
        assert outcome(pair) == expected
    for evidence in finding.evidence:
        if truth != "constant":
            assert_scipys(counts, evidence)


def test_the_weakest_comparison_is_of_the_standing_that_decides_and_of_the_largest_p() -> None:
    counts = all_arms(mixup=[862, 858, 855, 866, 859])
    weakest = judged("generalization", planted_study(counts)).weakest
    assert weakest is not None
    assert weakest.arm == max(GENERALIZATION, key=holm(counts).__getitem__) == "mixup"
    contradicted = judged("generalization", planted_study(all_arms(erm=[882, 884, 881, 883, 881]))).weakest
    assert contradicted is not None
    assert (contradicted.arm, contradicted.standing) == ("erm", "worse")


# Why nothing is judged.


@pytest.mark.parametrize("seeds", [1, 3])
def test_too_few_seeds_are_described_and_never_tested(seeds: int) -> None:
    finding = judged("generalization", planted_study({arm: row[:seeds] for arm, row in all_arms().items()}))
    assert (finding.judgement, finding.reason) == ("not tested", Reason("few seeds", number=seeds))
    assert all(e.pair and outcome(e.pair) == "description only" and e.pair.holm is None for e in finding.evidence)


def test_missing_runs_make_it_interim_whatever_the_numbers() -> None:
    finding = judged("generalization", without(planted_study(all_arms()), ("mixup", 3), ("mixup", 4), ("sba", 1)))
    assert (finding.judgement, finding.reason) == ("not resolved", Reason("interim", number=3))
    assert finding.interim


def test_a_named_arm_that_a_claim_does_not_speak_of_keeps_it_open_as_well() -> None:
    records = [record for record in planted_study(all_arms()) if record["arm"] != "hard_labels"]
    assert judged("generalization", records).reason == Reason("interim", number=5)


def test_a_diverged_run_of_sba_withholds_support() -> None:
    finding = judged("generalization", lost(planted_study(all_arms()), "sba", 2))
    assert (finding.judgement, finding.reason) == ("not resolved", Reason("diverged", number=1))
    four: dict[str, Sequence[int]] = {arm: [*row[:2], *row[3:]] for arm, row in all_arms().items()}
    for evidence in finding.evidence:
        assert_scipys(four, evidence)


def test_survivors_of_an_arm_that_diverged_contradict_nothing() -> None:
    better = [count + 12 + (i == 2) for i, count in enumerate(SBA)]
    finding = judged("generalization", lost(planted_study(all_arms(mixup=better)), "mixup", 4))
    assert finding.judgement == "not resolved"
    weakest = finding.weakest
    assert weakest is not None
    assert (weakest.arm, weakest.standing) == ("mixup", "open")


def test_an_arm_of_which_every_run_diverged() -> None:
    records = planted_study(all_arms())
    for seed in range(5):
        records = lost(records, "erm", seed)
    finding = judged("generalization", records)
    assert finding.judgement == "not resolved"
    assert [evidence.pair for evidence in finding.evidence if evidence.arm == "erm"] == [None]


def test_what_was_not_named_is_not_tested() -> None:
    records = planted_study(all_arms(), endpoints=["clean", "area", "eps"])
    finding = judged("convergence", records)
    assert (finding.judgement, finding.reason) == ("not tested", Reason("unnamed", ("learning", "images")))
    records = planted_study(all_arms(), against=["standard", "erm", "hard_labels"])
    assert judged("generalization", records).reason == Reason("unnamed", ("mixup",))
    assert judged("cost", records).reason == Reason("absent", ("always",))
    # An overweighted control alone decides nothing.
    assert judged("soft label", records).reason == Reason("unnamed", ("hard_labels_mean",))


@pytest.mark.parametrize("arm", ["sba", "erm", "standard", "mixup"])
def test_an_arm_counts_by_what_it_is_and_not_by_its_name(arm: str) -> None:
    records = planted_study(all_arms())
    for record in records:
        if record["arm"] == arm:
            record["settings"]["arm"] |= {"method": "mine"}
    finding = judged("generalization", records)
    assert (finding.judgement, finding.reason) == ("not tested", Reason("other arm", (arm,)))


# Endpoints.


CURVES = {"sba": [[160, 140, 100 + i % 2, 40 + i, 0] for i in range(5)]}


def test_robustness_waits_for_a_positive_control_that_is_robust() -> None:
    assert judged("robustness", planted_study(all_arms(), curves=CURVES)).judgement == "supported"
    named = {"positive_control": "adversarial"}
    for control, expected in (
        (None, None),
        ([[160, 120, 60, 10, 0]] * 5, False),
        ([[120, 118, 116, 110, 60]] * 5, True),
    ):
        curves = CURVES | ({"adversarial": control} if control else {})
        counts = all_arms(**({"adversarial": BASE} if control else {}))
        records = planted_study(counts, curves=curves, **named)
        found = positive_control(load_study("planted", records))
        assert found is not None
        assert found.passed is expected
        finding = judged("robustness", records)
        assert finding.judgement == ("supported" if expected else "not resolved")
        assert finding.reason == (None if expected else Reason("control"))
        assert judged("generalization", records).judgement == "supported"


@pytest.mark.parametrize(
    ("control", "others", "passed"),
    [
        ([90, 41], [0, 9], True),  # of 200 images at the largest eps: 45 and 20.5%, at most 4.5%
        ([90, 40], [0, 0], False),  # one of its seeds keeps 20%
        ([90], [0, 10], False),  # one run of another arm keeps 5%
    ],
)
def test_a_control_passes_where_all_its_seeds_stand_apart_from_every_other_run(
    control: list[int], others: list[int], passed: bool
) -> None:
    curves = {
        "adversarial": [(150, 140, 130, 110, left) for left in control],
        "standard": [(160, 120, 60, 20, left) for left in others],
    }
    counts = {"sba": [870], "standard": [860] * len(others), "adversarial": [700] * len(control)}
    records = planted.study(counts, curves)
    for record in records:
        record["analysis"]["positive_control"] = "adversarial"
    found = positive_control(load_study("planted", records))
    assert found is not None
    assert found.passed is passed
    assert found.kept.tolist() == [left / 2 for left in control]
    assert found.others == max(others) / 2
    for only in ("adversarial", "standard"):
        alone = positive_control(load_study("planted", [r for r in records if r["arm"] == only]))
        assert alone is not None
        assert alone.passed is None


def test_convergence_is_decided_by_the_area_and_fewer_images_are_better() -> None:
    records = planted_study(all_arms())
    for record in records:  # sba learns faster, each seed a little differently
        start = 0.62 + 0.001 * record["seed"] ** 2 if record["arm"] == "sba" else 0.50
        record["epochs"][0]["accuracy"] = start
        record["epochs"][1]["accuracy"] = start + 0.16
    finding = judged("convergence", records)
    assert finding.judgement == "supported"
    sba, standard = (next(r for r in records if r["arm"] == arm and not r["seed"]) for arm in ("sba", "standard"))
    assert learning_area(sba) > learning_area(standard)
    assert images_to(sba, 70.0) < images_to(standard, 70.0)
    assert [e.endpoint for e in finding.evidence] == ["learning"] * 3 + ["images"] * 3
    assert all(e.standing == "better" for e in finding.evidence)


def test_an_accuracy_that_was_not_reached_in_every_seed_is_not_compared() -> None:
    finding = judged("convergence", planted_study(all_arms(), level=86.0))
    assert finding.judgement == "not resolved"
    assert [e.pair for e in finding.evidence if e.endpoint == "images"] == [None] * 3


# Counts.


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
    finding = judged("cost", always(planted_study(all_arms()), flops))
    assert finding.judgement == judgement
    (spent,) = finding.spent
    assert spent.counts == {"train_flops": (3e12, flops), "train_gradients": (30000, 40000)}
    assert (spent.arm, spent.seeds) == ("always", 5)
    assert spent.accuracy == pytest.approx(1.1)


def test_at_equal_compute_costs_are_equal_and_not_tested() -> None:
    records = always(planted_study(all_arms()), 4 * 10**12)
    for record in records:
        record["settings"]["compute"] = True
    finding = judged("cost", records)
    assert (finding.judgement, finding.reason) == ("not tested", Reason("equal compute"))


def test_a_cost_with_seeds_missing_is_interim_and_one_with_a_diverged_run_incomplete() -> None:
    records = always(planted_study(all_arms()), 4 * 10**12)
    finding = judged("cost", without(records, ("always", 4)))
    assert (finding.judgement, finding.reason) == ("not resolved", Reason("interim", number=1))
    assert finding.spent[0].seeds == 4
    finding = judged("cost", lost(records, "always", 4))
    assert (finding.judgement, finding.reason) == ("not resolved", Reason("incomplete", ("always",)))


# Our own questions.


def relatives_study(**counts: Sequence[int]) -> list[Record]:
    """Records of a study that names the claims' arms and, as a family of their own, the relatives."""
    return planted_study({**all_arms(), **dict.fromkeys(RELATIVES, BASE), **counts}, relatives=list(RELATIVES))


def test_the_relatives_are_a_family_and_a_claim_of_their_own() -> None:
    finding = judged("relatives", relatives_study())
    assert finding.judgement == "supported"
    assert tuple(e.arm for e in finding.evidence) == RELATIVES
    records = relatives_study(cutmix=[count + 12 + (i == 2) for i, count in enumerate(SBA)])
    assert judged("relatives", records).judgement == "contradicted"
    assert judged("generalization", records).judgement == "supported"
    unfinished = without(records, ("stability", 4))
    assert judged("relatives", unfinished).reason == Reason("interim", number=1)
    assert judged("generalization", unfinished).judgement == "supported"
    assert judged("relatives", planted_study(all_arms())).judgement == "not tested"


def test_the_soft_label_is_decided_against_both_controls_and_the_mean_one_must_be_there() -> None:
    finding = judged("soft label", planted_study(all_arms()))
    assert finding.judgement == "supported"
    assert [e.arm for e in finding.evidence] == ["hard_labels_mean", "hard_labels"]
    for control in ("hard_labels_mean", "hard_labels"):
        records = planted_study(all_arms(**{control: [871, 871, 869, 870, 869]}))
        assert judged("soft label", records).judgement == "equivalent"
    alone = [record for record in planted_study(all_arms()) if record["arm"] != "hard_labels"]
    for record in alone:
        record["analysis"]["against"] = [arm for arm in NAMED if arm != "hard_labels"]
    finding = judged("soft label", alone)
    assert finding.judgement == "supported"
    assert [e.arm for e in finding.evidence] == ["hard_labels_mean"]


@pytest.mark.parametrize(("control", "weight"), [("hard_labels_mean", "sum"), ("hard_labels", "mean")])
def test_a_control_of_the_other_weight_is_not_what_the_claim_speaks_of(control: str, weight: str) -> None:
    records = planted_study(all_arms())
    for record in records:
        if record["arm"] == control:
            record["settings"]["arm"]["settings"] = {"alpha": 1.0, "kl_weight": 0.0, "hard_labels": weight}
    assert judged("soft label", records).reason == Reason("other arm", (control,))


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
    first, second = (judge(study, CLAIMS["one network"], studies) for study in studies)
    assert first.judgement == second.judgement == judgement
    gains = [(np.array(counts) - BASE) / 10 for counts in (fast, conv)]
    assert first.apart is not None
    assert first.apart[0] == pytest.approx(gains[0].mean() - gains[1].mean())
    assert first.apart[1] == pytest.approx(stats.ttest_ind(*gains, equal_var=False).pvalue)
    assert [e.study.preset for e in first.evidence] == [study.preset for study in studies]


def test_one_network_waits_for_both_studies() -> None:
    both, claim = of_networks(cifar10_10k_cpu=SBA, cifar10_10k_conv_cpu=SBA), CLAIMS["one network"]
    alone = judge(both[0], claim, both[:1])
    assert (alone.judgement, alone.reason) == ("not resolved", Reason("no record", ("cifar10_10k_conv_cpu",)))
    assert alone.interim
    part = load_study(both[1].preset, without([*both[1].records.values()], ("standard", 4)))
    assert judge(both[0], claim, [both[0], part]).reason == Reason("interim", number=1)
    other = load_study("planted", planted_study(all_arms()))
    assert judge(other, claim, [*both, other]).reason == Reason("elsewhere", claim.studies)


# The file.


def test_every_claim_is_judged_by_every_study() -> None:
    studies = of_networks(first=SBA, second=SBA)
    found = findings(studies)
    assert [claim.name for claim, _ in found] == list(CLAIMS)
    assert all(list(of) == ["first", "second"] for _, of in found)


def test_the_file_names_what_there_is() -> None:
    paper = ["generalization", "convergence", "robustness", "soft label", "cost"]
    assert [name for name, claim in CLAIMS.items() if claim.source != OURS] == paper
    for claim in CLAIMS.values():
        assert bool(claim.decides) != bool(claim.counts)
        assert claim.against
        assert claim.source == OURS or "abstract" in claim.source
        assert not claim.studies or (len(claim.studies), len(claim.decides), len(claim.against)) == (2, 1, 1)
    assert list(JUDGEMENT_OF) == ["worse", "open", "equivalent", "better"]


def test_a_claim_that_is_misspelt_is_refused() -> None:
    with pytest.raises(ValueError, match="decides"):
        Claim.model_validate({"name": "x", "says": "y", "source": "z", "against": ("a",), "decides": "accurracy"})
