"""Claims: what the paper says, read from claims.toml, judged by the rules that stand there, and said in a sentence."""

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import TypeAdapter

from benchmark.analysis.comparisons import comparisons
from benchmark.analysis.endpoints import ENDPOINTS
from benchmark.analysis.paired import ALPHA, MIN_PAIRS_TO_TEST, Comparison, Floats, welch_p
from benchmark.analysis.study import Study
from benchmark.analysis.verdicts import amount, count, interval, outcome, p_equals, signed, verdict
from benchmark.report import prose
from benchmark.report.robustness_report import control_passed
from benchmark.report.robustness_tables import is_checked
from benchmark.report.tables import Table, code, no_comparison, si
from benchmark.settings.preset import Endpoint, Settings

FILE = Path(__file__).with_name("claims.toml")
Judgement = Literal["supported", "contradicted", "equivalent", "not resolved", "not tested"]
OURS = "ours"  # the source of a claim that the paper does not make
LEAST = 0.01  # counts that differ by less are the same
Count = Literal["train_flops", "train_gradients"]
COUNTED: dict[Count, str] = {"train_flops": "FLOPs", "train_gradients": "gradient samples"}


Standing = Literal["better", "worse", "equivalent", "open"]
WORST_FIRST: tuple[tuple[Standing, Judgement], ...] = (
    ("worse", "contradicted"),
    ("open", "not resolved"),
    ("equivalent", "equivalent"),
    ("better", "supported"),
)


class Claim(Settings):
    """One claim: the endpoints that decide it (or the counts), the arms it speaks of, and where it is made.

    `also`: arms that decide as well where a study named them. `studies`: those that decide it together, where it is not
    decided by each study for itself.
    """

    name: str
    says: str
    source: str
    against: tuple[str, ...]
    also: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    decides: tuple[Endpoint, ...] = ()
    beside: tuple[Endpoint, ...] = ()
    counts: tuple[Count, ...] = ()


class Point(NamedTuple):
    """One thing that a judgement rests on: a sentence, or an endpoint's name and a sentence for each comparison."""

    says: str
    comparisons: tuple[str, ...] = ()


class Finding(NamedTuple):
    """What a study says of a claim: the judgement, the reason why nothing was judged or "", and the numbers."""

    judgement: Judgement
    reason: str = ""
    points: tuple[Point, ...] = ()


def load_claims() -> tuple[Claim, ...]:
    """Return the claims in the order of the file."""
    return TypeAdapter(tuple[Claim, ...]).validate_python(_tables()["claim"], strict=False)


def _tables() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def judge(study: Study, claim: Claim, studies: Sequence[Study] = ()) -> Finding:
    """Judge a claim by one study, or together with those among `studies` that it names, by the rules in claims.toml."""
    if claim.studies:
        return judge_together(study, claim, studies)
    if reason := untestable(study, claim):
        return Finding("not tested", reason)
    return judge_endpoints(study, claim) if claim.decides else judge_counts(study, claim)


def judge_together(study: Study, claim: Claim, studies: Sequence[Study]) -> Finding:
    """Judge a claim by several studies; each of them gets the same finding."""
    named = " and ".join(map(code, claim.studies))
    if study.preset not in claim.studies:
        return Finding("not tested", f"{named} decide it together")
    found = {other.preset: other for other in studies if other.preset in claim.studies}
    if absent := [code(name) for name in claim.studies if name not in found]:
        return Finding("not resolved", f"interim, no record yet of {', '.join(absent)}")
    alone = [reason_not_to_judge(found[name], claim) for name in claim.studies]
    if first := next(filter(None, alone), None):
        return Finding(*first)
    first_gain, second_gain = (gain(found[name], claim) for name in claim.studies)
    p = welch_p(first_gain, second_gain)
    apart = (
        f"the gains differ by {signed(float(first_gain.mean() - second_gain.mean()))} points (Welch p {p_equals(p)})"
    )
    points = (*(numbers(found[name], claim, claim.decides[0]) for name in claim.studies), Point(apart))
    seen = [standing(found[name], claim.decides[0], claim.against[0]) for name in claim.studies]
    differ = p is not None and p < ALPHA
    hangs = "worse" in seen or ("better" in seen and set(seen) != {"better"} and differ)
    return Finding("contradicted" if hangs else worst(set(seen)), "", points)


def gain(study: Study, claim: Claim) -> Floats:
    """Return the treatment minus the arm of a claim on its endpoint, one value a seed that both finished."""
    ours, theirs = (
        study.values(claim.decides[0])[study.arms.index(name)] for name in (study.treatment, *claim.against)
    )
    difference = ours - theirs
    return np.asarray(difference[np.isfinite(difference)])


def worst(standings: set[Standing]) -> Judgement:
    """Return the judgement that the worst of several standings gives."""
    return next(meaning for name, meaning in WORST_FIRST if name in standings)


def arms_of(study: Study, claim: Claim) -> tuple[str, ...]:
    """Return the arms that decide a claim in a study."""
    return (*claim.against, *(arm for arm in claim.also if arm in study.against))


def untestable(study: Study, claim: Claim) -> str | None:
    """Say why a study cannot test a claim: arms that are not what the claim speaks of, or were not named; else None."""
    unnamed = [code(arm) for arm in claim.against if claim.decides and arm not in study.against]
    unnamed += [f"the endpoint {endpoint}" for endpoint in claim.decides if endpoint not in study.endpoints]
    if unnamed:
        return f"the study did not name {', '.join(unnamed)} beforehand"
    absent = [code(arm) for arm in claim.against if study.arm_settings(arm) is None and arm not in study.against]
    if absent:
        return f"no run of an arm {', '.join(absent)}"
    if claim.counts and study.any_record["settings"].get("compute"):
        return "at equal compute all arms spend the same"
    expected = _tables()["arms"]
    for arm, role in ((study.treatment, "sba"), *((arm, arm) for arm in arms_of(study, claim))):
        spec = study.arm_settings(arm)
        if spec and not matches(spec, expected[role]):
            return f"the arm {code(arm)} is not what the claim speaks of"
    return None


def matches(spec: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Say whether an arm's settings have the values expected of it, in nested tables as well."""
    before = _tables()["before"]
    return all(
        matches(spec.get(key, {}), value) if isinstance(value, dict) else spec.get(key, before.get(key)) == value
        for key, value in expected.items()
    )


def judge_endpoints(study: Study, claim: Claim) -> Finding:
    """Judge a claim by the comparisons on the endpoints that decide it."""
    reason = reason_not_to_judge(study, claim)
    if study.to_come(arms_of(study, claim)) and reason:
        return Finding(*reason)
    points = (*(numbers(study, claim, endpoint) for endpoint in claim.decides), *beside(study, claim))
    if reason:
        return Finding(*reason, points)
    return Finding(
        worst({standing(study, endpoint, arm) for endpoint in claim.decides for arm in arms_of(study, claim)}),
        "",
        points,
    )


def reason_not_to_judge(study: Study, claim: Claim) -> tuple[Judgement, str] | None:
    """Return the judgement of a study that cannot judge a claim, with the reason; None where it can."""
    if reason := untestable(study, claim):
        return "not tested", reason
    if to_come := study.to_come(arms_of(study, claim)):
        return "not resolved", f"interim, {count(to_come, 'named run')} still to come: {so_far(study, claim)}"
    if len(study.seeds) < MIN_PAIRS_TO_TEST:
        return "not tested", f"{count(len(study.seeds), 'seed')} cannot carry a test"
    if reason := withheld(study, claim):
        return "not resolved", reason
    return None


def withheld(study: Study, claim: Claim) -> str | None:
    """Say why a finished study judges nothing: runs of the treatment diverged, or the attacks are not to be trusted."""
    if diverged := study.seeds_with(study.treatment, "diverged"):
        return f"{count(len(diverged), 'run')} of {code(study.treatment)} diverged"
    attacked = any(ENDPOINTS[endpoint].attacked for endpoint in claim.decides)
    if attacked and study.positive_control and not control_passed(study):
        return "nothing shows that these attacks tell a robust network from others (see the positive control)"
    return None


def standing(study: Study, endpoint: Endpoint, arm: str) -> Standing:
    """Say how the treatment stands against an arm, in the direction that is better for the endpoint."""
    pair = comparisons(study, endpoint)[arm]
    kind = outcome(pair) if pair else "not resolved"
    if kind == "equivalent" or kind.endswith("within margin"):
        return "equivalent"
    if not kind.startswith(("higher", "lower")):
        return "open"
    if kind.startswith("higher") == ENDPOINTS[endpoint].more_is_better:
        return "better"
    return "open" if study.seeds_with(arm, "diverged") else "worse"  # the runs that survived flatter their arm


def numbers(study: Study, claim: Claim, endpoint: Endpoint) -> Point:
    """Write the comparisons on an endpoint: "85.12 against 85.22 of `standard`: not resolved ..."."""
    pairs, said = comparisons(study, endpoint), list[str]()
    for arm in arms_of(study, claim):
        if pair := pairs[arm]:
            values = f"{pair.treatment:.2f} against {pair.control:.2f} of {code(arm)}"
            said.append(f"{values}: {verdict(pair)}{flagged(study, endpoint, arm)}")
        else:
            said.append(f"{code(arm)}: {no_comparison(study, endpoint, arm)}")
        if diverged := study.seeds_with(arm, "diverged"):
            said.append(f"{count(len(diverged), 'run')} of {code(arm)} diverged")
    return Point(study.title(endpoint), tuple(said))


def flagged(study: Study, endpoint: Endpoint, arm: str) -> str:
    """Say how many runs of a comparison under attack raised a sanity flag, or nothing."""
    runs = [run for name in (study.treatment, arm) for run in study.done(name)]
    flags = sum(bool(run["flags"]) for run in runs)
    if not flags or not ENDPOINTS[endpoint].attacked:
        return ""
    checked = sum(map(is_checked, runs))
    part = f"; {checked} had the costly checks" if 0 < checked < len(runs) else ""
    return f" ({flags} of the {len(runs)} runs raised a flag{part})"


def so_far(study: Study, claim: Claim) -> str:
    """Write the differences of an unfinished study on the first deciding endpoint, which no test has seen."""
    pairs = {arm: pair for arm, pair in comparisons(study, claim.decides[0]).items() if arm in arms_of(study, claim)}
    said = [f"{amount(pair)} from {code(arm)} ({count(pair.n, 'seed')})" for arm, pair in pairs.items() if pair]
    return (
        f"{study.title(claim.decides[0])} differs so far by " + ", ".join(said) if said else "no seed is finished yet"
    )


def beside(study: Study, claim: Claim) -> Iterator[Point]:
    """Yield the endpoints that are reported beside those that decide, shortly."""
    for endpoint in claim.beside:
        if endpoint in study.endpoints:
            pairs = comparisons(study, endpoint)
            said = tuple(f"from {code(arm)} {short(pair)}" for arm in arms_of(study, claim) if (pair := pairs[arm]))
            if said:
                yield Point(f"beside it, the mean difference in {study.title(endpoint)}", said)


def short(pair: Comparison) -> str:
    """Write a mean difference, with its interval and the kind of its verdict where a test carries them."""
    return amount(pair) if pair.low is None or pair.n < MIN_PAIRS_TO_TEST else f"{interval(pair)}, {outcome(pair)}"


def judge_counts(study: Study, claim: Claim) -> Finding:
    """Judge a claim about counts: the first must be lower in every seed; no test is needed."""
    missing = [arm for arm in (study.treatment, *claim.against) if len(study.done(arm)) < len(study.seeds)]
    seeds = [
        seed
        for seed in study.seeds
        if all(study.status(arm, seed) == "done" for arm in (study.treatment, *claim.against))
    ]
    if not seeds:
        return Finding("not resolved", f"no seed is finished in {' and in '.join(map(code, missing))}")
    found, signs = zip(*(counted(study, claim, arm, seeds) for arm in claim.against), strict=True)
    points = tuple(map(Point, found))
    if missing:
        return Finding("not resolved", f"missing or diverged runs of {', '.join(map(code, missing))}", points)
    seen = set().union(*signs)
    judgement: Judgement = "supported" if seen == {-1} else "contradicted" if seen == {1} else "not resolved"
    return Finding(judgement, "", points)


def counted(study: Study, claim: Claim, arm: str, seeds: Sequence[int]) -> tuple[str, set[int]]:
    """Return the counts of the treatment beside an arm's as a text, and the signs of the first's differences."""
    ours, theirs = (
        np.array([[study.records[name, seed]["cost"][c] for seed in seeds] for c in claim.counts])  # (count, seed)
        for name in (study.treatment, arm)
    )
    relative = ours[0] / theirs[0] - 1
    shares = []
    for name, a, b in zip(claim.counts, ours, theirs, strict=True):
        x, y = a.mean(), b.mean()
        shares.append(f"{si(x)} {COUNTED[name]} against {si(y)} ({x / y:.2f}x)")
    rows = [
        study.clean[study.arms.index(name), [study.seeds.index(seed) for seed in seeds]]
        for name in (study.treatment, arm)
    ]
    text = (
        f"against {code(arm)} over {count(len(seeds), 'seed')}: {', '.join(shares)}; accuracy differs by "
        f"{signed(float((rows[0] - rows[1]).mean()))} points, which was not tested"
    )
    return text, {int(sign) for sign in np.sign(np.where(np.abs(relative) > LEAST, relative, 0))}


def claims_table(studies: Sequence[Study]) -> Table:
    """Every claim's judgement by every study."""
    rows = [[claim.name, *(judge(study, claim, studies).judgement for study in studies)] for claim in load_claims()]
    headers = ["claim", *(study.analysis["title"] for study in studies)]
    return Table(headers, rows, words=headers)


def sentences(studies: Sequence[Study]) -> list[str]:
    """Return a paragraph for each claim: what the paper says, then what each study says of it, as a list."""
    paragraphs = []
    for claim in load_claims():
        lines = [line for study in studies for line in listed(study, judge(study, claim, studies))]
        said_by = "A question of ours" if claim.source == OURS else f"As the {claim.source} has it, in our words"
        title = f"**{claim.name.capitalize()}.** “{claim.says}” ({said_by}.)"
        paragraphs.append(title + "\n\n" + "\n".join(lines))
    return paragraphs


def listed(study: Study, finding: Finding) -> Iterator[str]:
    """Yield the lines of a Markdown list: a study's judgement, below it the points, below them their comparisons."""
    reason = f"; {finding.reason}" if finding.reason else ""
    yield f"- {prose.heading(study)}: **{finding.judgement}**{reason}."
    for says, comparisons_ in finding.points:
        sentence = says[0].upper() + says[1:]
        yield f"  - {sentence}{':' if comparisons_ else '.'}"
        yield from (f"    - {comparison}." for comparison in comparisons_)
