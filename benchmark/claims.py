"""Claims: what the paper says, read from claims.toml, judged by the rules that stand there, and said in a sentence."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import TypeAdapter

from benchmark import prose
from benchmark.endpoints import ENDPOINTS
from benchmark.robustness_report import control_passed
from benchmark.settings import Endpoint, Settings
from benchmark.stats import FEWEST, Comparison
from benchmark.study import Study, comparisons
from benchmark.tables import Table, code, si
from benchmark.verdicts import amount, count, interval, outcome, p_equals, signed, verdict

FILE = Path(__file__).with_name("claims.toml")
Judgement = Literal["supported", "contradicted", "equivalent", "not resolved", "not tested"]
Count = Literal["train_flops", "train_gradients", "train_seconds"]
COUNTED: dict[Count, str] = {
    "train_flops": "FLOPs",
    "train_gradients": "gradient samples",
    "train_seconds": "seconds",
}


class Claim(Settings):
    """One claim: the endpoint that decides it (or the counts), the arms it speaks of, and where it is made."""

    name: str
    says: str
    source: str
    against: tuple[str, ...]
    decides: Endpoint | None = None
    beside: tuple[Endpoint, ...] = ()
    counts: tuple[Count, ...] = ()


class Finding(NamedTuple):
    """What a study says of a claim: the judgement, and the numbers and reasons behind it as the rest of a sentence."""

    judgement: Judgement
    text: str


def load_claims() -> tuple[Claim, ...]:
    """Return the claims in the order of the file."""
    tables = tomllib.loads(FILE.read_text(encoding="utf-8"))["claim"]
    return TypeAdapter(tuple[Claim, ...]).validate_python(tables, strict=False)


def judge(study: Study, claim: Claim) -> Finding:
    """Judge a claim by one study, by the rules in claims.toml.

    "not tested" is said of a study whose treatment is not SBA, or that did not name the endpoint or an arm beforehand.
    """
    if study.method(study.treatment) not in ("sba", None):
        return Finding("not tested", f"the treatment {code(study.treatment)} is not SBA")
    if claim.decides is None:
        return judge_counts(study, claim)
    unnamed = [code(arm) for arm in claim.against if arm not in study.against]
    if claim.decides not in study.endpoints or unnamed:
        what = ", ".join(unnamed) or f"the endpoint {claim.decides}"
        return Finding("not tested", f"the study did not name {what} beforehand")
    pairs = {arm: pair for arm, pair in comparisons(study, claim.decides).items() if arm in claim.against}
    if missing := sum(len(study.seeds_with(arm, "missing")) for arm in (study.treatment, *pairs)):
        interim = f"interim, {count(missing, 'named run')} still to come: {so_far(study, claim.decides, pairs)}"
        return Finding("not resolved", interim)
    if not all(pairs.values()):
        return Finding("not resolved", "every run of an arm diverged")
    judgement, reason = decide(study, claim.decides, pairs)
    return Finding(judgement, f"{reason}{numbers(study, claim.decides, pairs)}{beside(study, claim)}")


def decide(study: Study, endpoint: Endpoint, pairs: dict[str, Comparison | None]) -> tuple[Judgement, str]:
    """Return the judgement over comparisons on the endpoint that decides, and why it is withheld where it is."""
    diverged = study.seeds_with(study.treatment, "diverged")
    if ENDPOINTS[endpoint].attacked and control_passed(study) is False:
        return "not resolved", "the positive control is not robust, so the attacks or the training are broken; "
    found = {standing(endpoint, pair) for pair in pairs.values()}
    if "worse" in found:
        return "contradicted", ""
    if "open" in found:
        return "not resolved", ""
    if diverged:
        return "not resolved", f"{count(len(diverged), 'run')} of {code(study.treatment)} diverged; "
    return ("equivalent" if "equivalent" in found else "supported"), ""


def standing(endpoint: Endpoint, pair: Comparison | None) -> Literal["better", "worse", "equivalent", "open"]:
    """Say how the treatment stands in one comparison, in the direction that is better for its endpoint."""
    kind = outcome(pair) if pair else "not resolved"
    if kind == "equivalent":
        return "equivalent"
    if kind.startswith(("higher", "lower")):
        return "better" if kind.startswith("higher") == ENDPOINTS[endpoint].more_is_better else "worse"
    return "open"


def numbers(study: Study, endpoint: Endpoint, pairs: dict[str, Comparison | None]) -> str:
    """Write the comparisons that decide: "accuracy ... of `sba` against `standard` (85.22) +0.10 ...; ..."."""
    said = [f"{code(arm)} ({pair.control:.2f}) {verdict(pair)}" for arm, pair in pairs.items() if pair]
    mean = next((f" ({pair.treatment:.2f})" for pair in pairs.values() if pair), "")
    return f"{study.title(endpoint)}, {code(study.treatment)}{mean} against " + "; against ".join(said)


def so_far(study: Study, endpoint: Endpoint, pairs: dict[str, Comparison | None]) -> str:
    """Write the differences of an unfinished study, which no test has seen."""
    said = [f"{amount(pair)} from {code(arm)} ({count(pair.n, 'seed')})" for arm, pair in pairs.items() if pair]
    return (
        f"{study.title(endpoint)} differs so far by " + ", ".join(said) if said else "no seed is finished yet"
    )


def beside(study: Study, claim: Claim) -> str:
    """Write the endpoints that are reported beside the one that decides, shortly."""
    parts = []
    for endpoint in claim.beside:
        if endpoint in study.endpoints:
            pairs = comparisons(study, endpoint)
            said = [f"{short(pair)} from {code(arm)}" for arm in claim.against if (pair := pairs[arm])]
            parts.append(f". Beside it, {study.title(endpoint)} differs by " + ", ".join(said))
    return "".join(parts)


def short(pair: Comparison) -> str:
    """Write a difference, with its interval and Holm's p where a test carries them."""
    return amount(pair) if pair.low is None or pair.n < FEWEST else f"{interval(pair)}, Holm p {p_equals(pair.holm)},"


def judge_counts(study: Study, claim: Claim) -> Finding:
    """Judge a claim about counts: the first must be lower in every seed; no test is needed."""
    found: list[str] = []
    signs: set[float] = set()
    for arm in claim.against:
        seeds = study.shared_seeds(arm)
        if not seeds:
            return Finding(
                "not tested", f"no seed is finished both in {code(study.treatment)} and in an arm {code(arm)}"
            )
        ours, theirs = (
            np.array([[study.records[name, s]["cost"][c] for s in seeds] for c in claim.counts])
            for name in (study.treatment, arm)
        )
        signs |= set(np.sign(ours[0] - theirs[0]))
        shares = [
            f"{si(a.mean())} {COUNTED[c]} against {si(b.mean())} ({a.mean() / b.mean():.2f}x)"
            for c, a, b in zip(claim.counts, ours, theirs, strict=True)
        ]
        accuracy = dict(zip(study.arms, study.clean, strict=True))
        at = [study.seeds.index(seed) for seed in seeds]
        difference = float((accuracy[study.treatment] - accuracy[arm])[at].mean())
        found.append(
            f"against {code(arm)} over {count(len(seeds), 'seed')}: {', '.join(shares)}; accuracy differs by "
            f"{signed(difference)} points, which was not tested"
        )
    judgement: Judgement = "supported" if signs == {-1.0} else "contradicted" if signs == {1.0} else "not resolved"
    return Finding(judgement, "; ".join(found))


def claims_table(studies: Sequence[Study]) -> Table:
    """Every claim's judgement by every study."""
    rows = [[claim.name, *(judge(study, claim).judgement for study in studies)] for claim in load_claims()]
    headers = ["claim", *(study.analysis["title"] for study in studies)]
    return Table(headers, rows, words=headers)


def sentences(studies: Sequence[Study]) -> list[str]:
    """Return a paragraph for each claim: what the paper says, then one sentence for each study."""
    paragraphs = []
    for claim in load_claims():
        lines = []
        for study in studies:
            finding = judge(study, claim)
            lines.append(f"- {prose.heading(study)}: **{finding.judgement}**; {finding.text}.")
        title = f"**{claim.name.capitalize()}.** “{claim.says}” (As the {claim.source} has it, in our words.)"
        paragraphs.append(title + "\n\n" + "\n".join(lines))
    return paragraphs
