"""The judgement of each claim by each study, by the rules in claims.toml, with the comparisons that decide it."""

from collections.abc import Collection, Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from benchmark.analysis.claims import Claim, Count, is_claimed, load_claims
from benchmark.analysis.comparisons import comparisons, outcome, survivals
from benchmark.analysis.endpoints import ENDPOINTS
from benchmark.analysis.paired import ALPHA, MIN_PAIRS_TO_TEST, Comparison, Floats, welch_p
from benchmark.analysis.study import Study
from benchmark.settings.values import Endpoint

SAME_COUNT = 0.01  # counts that differ by a smaller share are the same
# Points at the largest eps. The attacks are trusted if the positive control keeps so many more than guessing
# gives, which a network that always gives one answer does not, and every other arm keeps fewer than the second.
ABOVE_GUESSING, OTHERS_KEEP = 10.0, 5.0

Judgement = Literal["supported", "contradicted", "equivalent", "not resolved", "not tested"]
Word = Judgement | Literal["interim"]  # a judgement, or that it waits for runs
Standing = Literal["better", "worse", "equivalent", "open"]
JUDGEMENT_OF: dict[Standing, Judgement] = {  # the first that any deciding comparison has
    "worse": "contradicted",
    "open": "not resolved",
    "equivalent": "equivalent",
    "better": "supported",
}


class Reason(NamedTuple):
    """Why a claim was not judged: its kind, with the arms, endpoints or presets concerned, or a number of runs."""

    kind: Literal[
        "unnamed",  # the study did not name these arms or endpoints beforehand
        "absent",  # it has no run of these arms
        "other arm",  # an arm does not have the settings that the claim is about
        "equal compute",  # all arms spend the same
        "elsewhere",  # these studies decide it together
        "no record",  # of these studies
        "interim",  # this number of named runs is to come; in these studies, where several decide
        "few seeds",  # only this number
        "diverged",  # this number of runs of the treatment; likewise
        "control",  # the positive control is not more robust than the other arms
        "reversed",  # AutoAttack turns the sign of the differences from these arms
        "incomplete",  # runs of these arms are missing or diverged
    ]
    names: tuple[str, ...] = ()
    number: int = 0


class Evidence(NamedTuple):
    """The comparison with one arm that a judgement rests on; `pair` is None where there is none."""

    study: Study
    endpoint: Endpoint
    arm: str
    pair: Comparison | None
    standing: Standing


class Spent(NamedTuple):
    """Counts of the treatment and of an arm, means over the seeds that both finished.

    `accuracy` and `area` are the differences in clean accuracy and robust area, in points; nan without attacks.
    """

    arm: str
    seeds: int
    counts: dict[Count, tuple[float, float]]
    signs: frozenset[int]
    accuracy: float
    area: float


class Finding(NamedTuple):
    """A study's judgement on a claim, or the reason why there is none, with its evidence.

    `apart`: for a claim that two studies decide, the difference between their gains and its p by Welch's t test.
    """

    judgement: Judgement
    reason: Reason | None = None
    evidence: tuple[Evidence, ...] = ()
    spent: tuple[Spent, ...] = ()
    apart: tuple[float, float | None] | None = None

    @property
    def interim(self) -> bool:
        """Whether it waits for runs or for another study."""
        return self.reason is not None and self.reason.kind in ("interim", "no record")

    @property
    def word(self) -> Word:
        """The judgement, or "interim" while it waits."""
        return "interim" if self.interim else self.judgement

    @property
    def weakest(self) -> Evidence | None:
        """The comparison that decides: of the worst standing, and of these the one with the largest Holm p."""
        order = list(JUDGEMENT_OF)

        def rank(evidence: Evidence) -> tuple[int, float]:
            p = evidence.pair.holm if evidence.pair else None
            return order.index(evidence.standing), -(1.0 if p is None else p)

        return min(self.evidence, key=rank, default=None)


class Control(NamedTuple):
    """Accuracy at the largest eps, in points: `kept` of each seed of the positive control, `others` of the best other.

    `passed`: the attacks distinguish a robust network from others; None while one of the two has no run.
    """

    kept: Floats
    others: float
    passed: bool | None


def findings(studies: Sequence[Study]) -> list[tuple[Claim, dict[str, Finding]]]:
    """Return each claim with its finding in every study, by preset."""
    return [(claim, {study.preset: judge(study, claim, studies) for study in studies}) for claim in load_claims()]


def judge(study: Study, claim: Claim, studies: Sequence[Study] = ()) -> Finding:
    """Judge a claim by one study, or together with those among `studies` that it names, by the rules in claims.toml."""
    if claim.studies:
        return _judge_together(study, claim, studies)
    if claim.counts:
        return _judge_counts(study, claim)
    reason = _reason_to_abstain(study, claim)
    if reason and reason.kind in ("unnamed", "other arm"):
        return Finding("not tested", reason)
    evidence = tuple(
        compared(study, endpoint, arm) for endpoint in claim.decides for arm in _deciding_arms(study, claim)
    )
    if reason:
        return Finding("not tested" if reason.kind == "few seeds" else "not resolved", reason, evidence)
    return Finding(_judgement(e.standing for e in evidence), None, evidence)


def _judgement(standings: Iterable[Standing]) -> Judgement:
    found = set(standings)
    return next(judgement for standing, judgement in JUDGEMENT_OF.items() if standing in found)


def _judge_together(study: Study, claim: Claim, studies: Sequence[Study]) -> Finding:
    if study.preset not in claim.studies:
        return Finding("not tested", Reason("elsewhere", claim.studies))
    found = {other.preset: other for other in studies if other.preset in claim.studies}
    if absent := tuple(preset for preset in claim.studies if preset not in found):
        return Finding("not resolved", Reason("no record", absent))
    alone = [judge(found[preset], claim.model_copy(update={"studies": ()})) for preset in claim.studies]
    evidence = tuple(e for finding in alone for e in finding.evidence)
    for preset, finding in zip(claim.studies, alone, strict=True):
        if reason := finding.reason:
            return Finding(finding.judgement, reason._replace(names=reason.names or (preset,)), evidence)
    gains = (found[preset].difference(claim.decides[0], claim.against[0]) for preset in claim.studies)
    first, second = (gain[np.isfinite(gain)] for gain in gains)
    apart = float(first.mean() - second.mean()), welch_p(first, second)
    standings = {e.standing for e in evidence}
    hangs = "better" in standings and len(standings) > 1 and apart[1] is not None and apart[1] < ALPHA
    return Finding("contradicted" if hangs else _judgement(standings), None, evidence, apart=apart)


def _deciding_arms(study: Study, claim: Claim) -> tuple[str, ...]:
    return (*claim.against, *(arm for arm in claim.also if arm in study.against))


def _reason_to_abstain(study: Study, claim: Claim) -> Reason | None:
    unnamed = tuple(arm for arm in claim.against if arm not in study.against)
    if unnamed or not set(claim.decides) <= set(study.endpoints):
        return Reason("unnamed", (*unnamed, *(name for name in claim.decides if name not in study.endpoints)))
    if other := _other_arm(study, _deciding_arms(study, claim)):
        return Reason("other arm", (other,))
    if to_come := study.to_come(_deciding_arms(study, claim)):
        return Reason("interim", number=to_come)
    if len(study.seeds) < MIN_PAIRS_TO_TEST:
        return Reason("few seeds", number=len(study.seeds))
    if diverged := study.seeds_with(study.treatment, "diverged"):
        return Reason("diverged", number=len(diverged))
    if not any(ENDPOINTS[endpoint].attacked for endpoint in claim.decides):
        return None
    if study.awaits_control:
        return Reason("interim", number=1)
    if (control := positive_control(study)) and not control.passed:
        return Reason("control")
    turned = tuple(s.arm for s in survivals(study) if s.eps == study.analysis["eps"] and not s.kept)
    if turned := tuple(arm for arm in turned if arm in _deciding_arms(study, claim)):
        return Reason("reversed", turned)
    return None


def _other_arm(study: Study, arms: Collection[str]) -> str | None:
    """Return the first arm whose settings are not those that claims.toml expects of its name."""
    roles = {study.treatment: "sba"} | {arm: arm for arm in arms}
    specs = {arm: study.arm_settings(arm) for arm in roles}
    return next((arm for arm, spec in specs.items() if spec and not is_claimed(roles[arm], spec)), None)


def robust_from(study: Study) -> float:
    """Return the accuracy at the largest eps, in points, above which a network is robust: 10 more than guessing."""
    return 100.0 / study.any_record["data"]["classes"] + ABOVE_GUESSING


def positive_control(study: Study) -> Control | None:
    """Return the outcome of the positive control; None where the study names none."""
    if study.positive_control is None:
        return None
    last = dict(zip(study.arms, study.robust[:, :, -1], strict=True))  # arm -> (seed,)
    kept = last.pop(study.positive_control, np.array([]))
    others = np.concatenate([*last.values()])
    kept, others = kept[np.isfinite(kept)], others[np.isfinite(others)]
    if not len(kept) or not len(others):
        return Control(kept, float(others.max()) if len(others) else np.nan, None)
    return Control(kept, float(others.max()), bool(kept.min() > robust_from(study) and others.max() < OTHERS_KEEP))


def compared(study: Study, endpoint: Endpoint, arm: str) -> Evidence:
    """Return the comparison of the treatment with one arm that the study named, and which of them is better."""
    pair = comparisons(study, endpoint)[arm]
    return Evidence(study, endpoint, arm, pair, _standing(study, endpoint, arm, pair))


def _standing(study: Study, endpoint: Endpoint, arm: str, pair: Comparison | None) -> Standing:
    kind = outcome(pair) if pair else "not resolved"
    if kind == "equivalent" or kind.endswith("within margin"):
        return "equivalent"
    if not kind.startswith(("higher", "lower")):
        return "open"
    if kind.startswith("higher") == ENDPOINTS[endpoint].more_is_better:
        return "better"
    return "open" if study.seeds_with(arm, "diverged") else "worse"  # the runs that finished flatter their arm


def _judge_counts(study: Study, claim: Claim) -> Finding:
    """Judge a claim about counts, which needs no test: the first count must be lower in every seed."""
    absent = tuple(arm for arm in claim.against if study.arm_settings(arm) is None)
    if absent:
        return Finding("not tested", Reason("absent", absent))
    if study.any_record["settings"].get("compute"):
        return Finding("not tested", Reason("equal compute"))
    if other := _other_arm(study, claim.against):
        return Finding("not tested", Reason("other arm", (other,)))
    arms = (study.treatment, *claim.against)
    seeds = [seed for seed in study.seeds if all(study.status(arm, seed) == "done" for arm in arms)]
    spent = tuple(_spent(study, claim, arm, seeds) for arm in claim.against) if seeds else ()
    if incomplete := tuple(arm for arm in arms if len(study.done(arm)) < len(study.seeds)):
        to_come = sum(len(study.seeds_with(arm, "missing")) for arm in arms)
        reason = Reason("interim", number=to_come) if to_come else Reason("incomplete", incomplete)
        return Finding("not resolved", reason, spent=spent)
    signs = frozenset[int]().union(*(row.signs for row in spent))
    judgement: Judgement = "supported" if signs == {-1} else "contradicted" if signs == {1} else "not resolved"
    return Finding(judgement, spent=spent)


def _spent(study: Study, claim: Claim, arm: str, seeds: Sequence[int]) -> Spent:
    ours, theirs = (
        np.array([[study.records[name, seed]["cost"][count] for seed in seeds] for count in claim.counts])
        for name in (study.treatment, arm)
    )  # each (count, seed)
    relative = ours[0] / theirs[0] - 1
    signs = frozenset(int(sign) for sign in np.sign(np.where(np.abs(relative) > SAME_COUNT, relative, 0)))
    means = {name: (float(a.mean()), float(b.mean())) for name, a, b in zip(claim.counts, ours, theirs, strict=True)}
    at = [study.seeds.index(seed) for seed in seeds]
    accuracy, area = (float(study.difference(endpoint, arm)[at].mean()) for endpoint in ("clean", "area"))
    return Spent(arm, len(seeds), means, signs, accuracy, area)
