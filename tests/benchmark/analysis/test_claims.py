"""Claims: planted studies with a known truth get the right judgement and the right reason."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import planted
import pytest
from scipy import stats

from benchmark.analysis.claims import (
    JUDGEMENT_OF,
    OURS,
    Claim,
    Finding,
    Reason,
    findings,
    judge,
    load_claims,
    positive_control,
)
from benchmark.analysis.study import Study, load_study
from benchmark.analysis.verdicts import outcome
from benchmark.records.schema import Record

Counts = dict[str, Sequence[int]]
Records = list[Record]

NAMED = ("standard", "erm", "mixup", "hard_labels_mean", "hard_labels")
RELATIVES = ("manifold_mixup", "cutmix", "label_smoothing", "batch_augmentation", "stability")
CLAIMS = {claim.name: claim for claim in load_claims()}
GENERALIZATION = CLAIMS["generalization"].against
HARD = {"p": 0.5, "alpha": 1.0, "kl_weight": 0.0}
ARMS: dict[str, dict[str, Any]] = {
    "sba": {"method": "sba", "settings": {"p": 0.5}},
    "erm": {"method": "erm", "augmentation": "none", "settings": {}},
    "standard": {"method": "erm", "settings": {}},
    "mixup": {"method": "mixup", "settings": {}},
    "hard_labels": {"method": "sba", "settings": HARD},
    "hard_labels_mean": {"method": "sba", "settings": HARD | {"hard_labels": "mean"}},
    **{arm: {"method": arm, "settings": {}} for arm in RELATIVES},
    "always": {"method": "sba", "settings": {"p": 1.0}},
}
SBA = [870, 872, 868, 871, 869]
BASE = [858, 861, 857, 862, 857]
BETTER_THAN_SBA = [count + 12 + (i == 2) for i, count in enumerate(SBA)]
CURVES = {"sba": [[160, 140, 100 + i % 2, 40 + i, 0] for i in range(5)]}


def planted_study(counts: Counts, **changes: Any) -> Records:
    """Records of a study that names all arms of the paper's claims."""
    records = planted.study(counts, changes.pop("curves", None))
    seeds = list(range(max(len(row) for row in counts.values())))
    for record in records:
        record["settings"]["arm"] |= ARMS.get(record["arm"], {"method": "erm"})
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
        record["settings"]["arm"] |= ARMS[arm]
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

TRUTHS: dict[str, tuple[Counts, str, dict[str, str]]] = {
    "clear": (
        {"erm": [851, 850, 853, 855, 847], "mixup": [862, 858, 855, 866, 859]},
        "supported",
        dict.fromkeys(GENERALIZATION, "higher"),
    ),
    "no effect": (
        {"sba": [861, 853, 859, 849, 863]},  # around the mean of the others
        "not resolved",
        dict.fromkeys(GENERALIZATION, "not resolved"),
    ),
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
    "a loss within the margin": ({"mixup": [872, 875, 870, 873, 871]}, "equivalent", {"mixup": "lower, within margin"}),
    "one is better": ({"mixup": [882, 884, 881, 883, 881]}, "contradicted", {"mixup": "lower", "erm": "higher"}),
    "one is open": ({"erm": [880, 852, 874, 861, 870]}, "not resolved", {"erm": "not resolved", "mixup": "higher"}),
    "constant": (
        {arm: [count - 10 for count in SBA] for arm in NAMED},
        "not resolved",
        dict.fromkeys(GENERALIZATION, "constant differences"),
    ),
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


# Why nothing is judged, and what is judged where something is missing.

Case = tuple[str, Records, str, Reason | None]
CASES: dict[str, Case] = {
    "one seed": (
        "generalization",
        planted_study({arm: row[:1] for arm, row in all_arms().items()}),
        "not tested",
        Reason("few seeds", number=1),
    ),
    "runs are missing": (
        "generalization",
        without(study(), ("mixup", 3), ("mixup", 4), ("sba", 1)),
        "not resolved",
        Reason("interim", number=3),
    ),
    "a named arm of another claim is missing": (
        "generalization",
        without(study(), *(("hard_labels", seed) for seed in range(5))),
        "not resolved",
        Reason("interim", number=5),
    ),
    "a run of sba diverged": ("generalization", lost(study(), "sba", 2), "not resolved", Reason("diverged", number=1)),
    "an arm that lost a run contradicts nothing": (
        "generalization",
        lost(study(mixup=BETTER_THAN_SBA), "mixup", 4),
        "not resolved",
        None,
    ),
    "every run of an arm diverged": ("generalization", lost(study(), "erm", *range(5)), "not resolved", None),
    "endpoints were not named": (
        "convergence",
        planted_study(all_arms(), endpoints=["clean", "area", "eps"]),
        "not tested",
        Reason("unnamed", ("learning", "images")),
    ),
    "an arm was not named": (
        "generalization",
        planted_study(all_arms(), against=["standard", "erm", "hard_labels"]),
        "not tested",
        Reason("unnamed", ("mixup",)),
    ),
    "an overweighted control alone": (
        "soft label",
        planted_study(all_arms(), against=["standard", "erm", "hard_labels"]),
        "not tested",
        Reason("unnamed", ("hard_labels_mean",)),
    ),
    **{
        f"{arm} is of another method": (
            "generalization",
            with_arm(study(), arm, method="mine"),
            "not tested",
            Reason("other arm", (arm,)),
        )
        for arm in ("sba", "erm", "standard", "mixup")
    },
    **{
        f"{arm} of the other weight": (
            "soft label",
            with_arm(study(), arm, settings=HARD | {"hard_labels": weight}),
            "not tested",
            Reason("other arm", (arm,)),
        )
        for arm, weight in (("hard_labels_mean", "sum"), ("hard_labels", "mean"))
    },
    "both soft-label controls": ("soft label", study(), "supported", None),
    "the mean control alone": (
        "soft label",
        without(
            planted_study(all_arms(), against=[arm for arm in NAMED if arm != "hard_labels"]),
            *(("hard_labels", seed) for seed in range(5)),
        ),
        "supported",
        None,
    ),
    **{
        f"equivalent to {control}": ("soft label", study(**{control: [871, 871, 869, 870, 869]}), "equivalent", None)
        for control in ("hard_labels_mean", "hard_labels")
    },
    "relatives": ("relatives", relatives(), "supported", None),
    "a relative is better": ("relatives", relatives(cutmix=BETTER_THAN_SBA), "contradicted", None),
    "a relative is no arm of the paper's claims": (
        "generalization",
        relatives(cutmix=BETTER_THAN_SBA),
        "supported",
        None,
    ),
    "a relative is missing": (
        "relatives",
        without(relatives(), ("stability", 4)),
        "not resolved",
        Reason("interim", number=1),
    ),
    "and keeps no other family open": ("generalization", without(relatives(), ("stability", 4)), "supported", None),
    "relatives were not named": ("relatives", study(), "not tested", Reason("unnamed", RELATIVES)),
    "cost is lower": ("cost", with_always(), "supported", None),
    "cost is higher": ("cost", with_always(10**12), "contradicted", None),
    "cost is the same": ("cost", with_always(3 * 10**12), "not resolved", None),
    "cost without its arm": ("cost", study(), "not tested", Reason("absent", ("always",))),
    "cost at equal compute": ("cost", at_equal_compute(with_always()), "not tested", Reason("equal compute")),
    "cost with a run missing": (
        "cost",
        without(with_always(), ("always", 4)),
        "not resolved",
        Reason("interim", number=1),
    ),
    "cost with a diverged run": (
        "cost",
        lost(with_always(), "always", 4),
        "not resolved",
        Reason("incomplete", ("always",)),
    ),
    "an accuracy that some runs never reached": (
        "convergence",
        planted_study(all_arms(), level=86.0),
        "not resolved",
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_case_gets_its_judgement_and_reason(case: str) -> None:
    claim, records, judgement, reason = CASES[case]
    finding = judged(claim, records)
    assert (finding.judgement, finding.reason) == (judgement, reason)
    assert finding.interim == (reason is not None and reason.kind == "interim")


@pytest.mark.parametrize(
    ("case", "arm", "standing"),
    [("an arm that lost a run contradicts nothing", "mixup", "open"), ("every run of an arm diverged", "erm", "open")],
)
def test_an_arm_that_lost_runs_is_open(case: str, arm: str, standing: str) -> None:
    claim, records, _, _ = CASES[case]
    found = {evidence.arm: evidence for evidence in judged(claim, records).evidence}
    assert found[arm].standing == standing
    assert (found[arm].pair is None) == (case == "every run of an arm diverged")


def test_few_seeds_are_described() -> None:
    finding = judged(*CASES["one seed"][:2])
    assert all(e.pair and outcome(e.pair) == "description only" and e.pair.holm is None for e in finding.evidence)


def test_a_control_that_a_study_named_decides_as_well() -> None:
    assert [e.arm for e in judged("soft label", study()).evidence] == ["hard_labels_mean", "hard_labels"]
    assert [e.arm for e in judged(*CASES["the mean control alone"][:2]).evidence] == ["hard_labels_mean"]


def test_cost_is_counted() -> None:
    (spent,) = judged("cost", with_always()).spent
    assert spent.counts == {"train_flops": (3e12, 4e12), "train_gradients": (30000, 40000)}
    assert (spent.arm, spent.seeds) == ("always", 5)
    assert spent.accuracy == pytest.approx(1.1)
    assert judged(*CASES["cost with a run missing"][:2]).spent[0].seeds == 4


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
    assert finding.reason == (None if passed else Reason("control"))
    assert judged("generalization", records).judgement == "supported"
    assert judged("robustness", planted_study(all_arms(), curves=CURVES)).judgement == "supported"  # names none


@pytest.mark.parametrize(
    ("control", "others", "passed"),
    [
        ([90, 41], [0, 9], True),  # of 200 images at the largest eps: 45 and 20.5%, at most 4.5%
        ([90, 40], [0, 0], False),  # one of its seeds keeps 20%
        ([90], [0, 10], False),  # one run of another arm keeps 5%
        ([90], [], None),
        ([], [5], None),
    ],
)
def test_a_control_passes_where_all_its_seeds_are_more_robust_than_every_other_run(
    control: list[int], others: list[int], passed: bool | None
) -> None:
    curves = {
        "adversarial": [(150, 140, 130, 110, left) for left in control],
        "standard": [(160, 120, 60, 20, left) for left in others],
    }
    records = planted.study({"standard": [860] * len(others), "adversarial": [700] * len(control)}, curves)
    for record in records:
        record["analysis"]["positive_control"] = "adversarial"
    found = positive_control(load_study("planted", records))
    assert found is not None
    assert found.passed is passed
    assert found.kept.tolist() == [left / 2 for left in control]
    assert found.others == pytest.approx(max(others) / 2 if others else np.nan, nan_ok=True)


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
    assert judge(both[0], claim, [both[0], part]).reason == Reason("interim", number=1)
    other = load_study("planted", study())
    assert judge(other, claim, [*both, other]).reason == Reason("elsewhere", claim.studies)


# The file.


def test_every_claim_is_judged_by_every_study() -> None:
    found = findings(of_networks(first=SBA, second=SBA))
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
