"""The answer: which claims hold in which studies, and by how much.

It stands in RESULTS.md and the README, and a study's part on its page.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmark.analysis.claims import OURS, Claim, load_claims
from benchmark.analysis.comparisons import comparisons
from benchmark.analysis.endpoints import ENDPOINTS
from benchmark.analysis.judgements import Finding, Word, findings
from benchmark.analysis.paired import MIN_PAIRS_TO_TEST
from benchmark.analysis.published import data_set
from benchmark.analysis.study import Study
from benchmark.report.attack_tables import checked
from benchmark.report.notation import BREAK, capital, code, count, escape, series
from benchmark.report.table import Table
from benchmark.report.words import (
    COUNTED,
    apart_text,
    beside_text,
    comparison_cell,
    decided_by,
    direction,
    evidence_text,
    finding_cell,
    heading,
    judgement_text,
    reason_text,
    short_title,
    spent_text,
)
from benchmark.settings.values import Endpoint

Judged = Sequence[tuple[Claim, dict[str, Finding]]]
Link = Callable[[str], str]  # preset -> link to its page
_PRECISION = "precision"  # in a recipe
_ORDER: tuple[Word, ...] = ("supported", "equivalent", "contradicted", "not resolved", "interim")


class Answer(NamedTuple):
    """The answer of all studies."""

    judged: Judged  # each claim with its finding in every study that tests
    studies: list[Study]  # the columns of the table
    table: Table | None  # judgements, claim by study
    tally: str  # how many studies are finished, and how often they judged what
    sentences: list[str]  # one for each claim
    below: list[str]  # lines about studies outside the table
    groups: dict[str, list[Study]]  # title -> the studies of a kind, for the list of pages

    @property
    def drawn(self) -> list[Study]:
        """The studies in the figure of differences: those with enough seeds of the treatment for a test."""
        return [study for study in self.studies if len(study.done(study.treatment)) >= MIN_PAIRS_TO_TEST]


def answer(studies: Sequence[Study], link: Link) -> Answer:
    """Return the answer of all studies.

    The table shows the studies that judge a claim, then those that will and have a complete seed. A study of a copy of
    an official data set, such as CIFAR-10 saved as JPEG, is left out as soon as a study of the official one has judged
    a claim.
    """
    testing = sorted((study for study in studies if not study.exploratory), key=_order)
    judged = findings(testing)
    found = {study: {of[study.preset].word for _, of in judged} - {"not tested"} for study in testing}
    able = [study for study in testing if found[study] and _can_judge(study)]
    able.sort(key=lambda study: found[study] == {"interim"})  # what is interim stands last
    official = {study.any_record["data"]["name"] for study in able if found[study] != {"interim"}}
    copies = [study for study in able if _original(study) in official]
    shown = [study for study in able if study not in copies]
    rows = [
        [f"**{claim.name}**", *(_cell(of[study.preset], study) for study in shown)]
        for claim, of in judged
        if any(of[study.preset].judgement != "not tested" for study in shown)
    ]
    headers = ["claim", *(f"[{short_title(study)}]({link(study.preset)})" for study in shown)]
    begun = [study for study in testing if study not in able and study.to_come(study.against)]
    few = [study for study in testing if study not in (*able, *begun) and len(study.seeds) < MIN_PAIRS_TO_TEST]
    others = [study for study in testing if study not in (*able, *begun, *few)]
    groups = {
        "In the answer": shown,
        "On copies of these images": copies,
        "Other tests": others,
        "Begun, no seed complete": begun,
        "Described, not tested": few,
        "Exploratory, without judgements": [study for study in studies if study.exploratory],
    }
    below = [*_copies(copies, shown, judged, link), *(_other_test(study, link) for study in others)]
    sentences = [_sentence(claim, of, shown) for claim, of in judged]
    table = Table(headers, rows, words=headers) if shown else None
    return Answer(judged, shown, table, _tally(judged, shown), sentences, below, groups)


def _order(study: Study) -> tuple[str, int, str]:
    data = study.any_record["data"]
    return data["name"], data["train_images"], study.preset


def _can_judge(study: Study) -> bool:
    """Return whether a study has enough seeds for a test, and one with all arms of its first family."""
    arms = (study.treatment, *study.families[0])
    whole = any(all(study.status(arm, seed) != "missing" for arm in arms) for seed in study.seeds)
    return len(study.seeds) >= MIN_PAIRS_TO_TEST and whole


def _cell(finding: Finding, study: Study) -> str:
    """Return a cell of the table: a judgement, what it rests on, and the flags of the attacks."""
    flags = [] if finding.judgement == "not tested" or finding.interim else _flags(finding, study)
    return BREAK.join([finding_cell(finding, study), *flags])


def _original(study: Study) -> str | None:
    return data_set(study.any_record["data"]["name"]).version_of


def _tally(judged: Judged, shown: Sequence[Study]) -> str:
    """Return how many of the studies shown are finished, and how often a claim was judged what in any of them."""
    finished = [study for study in shown if not (study.to_come(study.against) or study.awaits_control)]
    words = [of[study.preset].word for _, of in judged for study in shown]
    said = [f"{words.count(word)} {word}" for word in _ORDER if word != "interim"]
    return f"Finished studies: {len(finished)} of {len(shown)}. Judgements in their columns: {series(said)}."


def _sentence(claim: Claim, of: dict[str, Finding], shown: Sequence[Study]) -> str:
    """Return a claim with its judgements and the studies of each."""
    said: dict[str, list[Study]] = {}
    for study in shown:
        said.setdefault(of[study.preset].word, []).append(study)
    words = [word for word in _ORDER if word in said]
    parts = [f"{word if word == 'interim' else f'**{word}**'} {places(said[word], shown)}" for word in words]
    source = "we ask" if claim.source == OURS else claim.source
    return f"**{capital(claim.name)}** ({source}). {claim.says} {capital('; '.join(parts) or 'not tested')}."


def places(studies: Sequence[Study], shown: Sequence[Study]) -> str:
    """Name some of the studies shown: "on CIFAR-10 with 10,000 images and on ...", or "in all 3 studies"."""
    return f"in all {len(shown)} studies" if len(studies) == len(shown) > 2 else each_place(studies, shown)


def each_place(studies: Sequence[Study], shown: Sequence[Study]) -> str:
    """Name some of the studies shown one by one, however many they are."""
    return series(_place(study, shown) for study in studies)


def _place(study: Study, shown: Sequence[Study]) -> str:
    """Name a study among others: "on CIFAR-10 with 10,000 images (`fast`)", the network only where needed."""

    def words_of(other: Study) -> str:
        data = other.any_record["data"]
        compute = " at equal compute" if other.any_record["settings"].get("compute") else ""
        return f"on {data_set(data['name']).title} with {data['train_images']:,} images{compute}"

    alike = [other for other in shown if words_of(other) == words_of(study)]
    return words_of(study) + (f" ({code(study.any_record['model']['name'])})" if len(alike) > 1 else "")


def _other_test(study: Study, link: Link) -> str:
    """Return the primary comparisons of a study that has tests but not the arms of a claim."""
    endpoint = study.endpoints[0]
    said = [
        f"{comparison_cell(pair, interim=False).replace(BREAK, ', ')}, from {code(arm)}"
        for arm, pair in comparisons(study, endpoint).items()
        if pair
    ]
    name = f"[{escape(study.analysis['title'])}]({link(study.preset)})"
    of = f"{study.short(endpoint)} of {code(study.treatment)}{direction(endpoint)}"
    return f"{name}, {of}: {'; '.join(said) or 'no result'}."


def _copies(copies: Sequence[Study], shown: Sequence[Study], judged: Judged, link: Link) -> list[str]:
    """Return the judgements of studies of copies, and their agreement with the study of the official data set."""
    lines = []
    for study in copies:
        title = data_set(study.any_record["data"]["name"]).title
        size = f"{study.any_record['data']['train_images']:,} images, {count(len(study.seeds), 'seed')}"
        tested = [(claim, of[study.preset]) for claim, of in judged if of[study.preset].judgement != "not tested"]
        verdicts = [_verdict(claim, finding, study) for claim, finding in tested]
        linked = f"[{code(study.preset)}]({link(study.preset)})"
        line = f"Earlier, outside the table, on {title}, copies that stood in for these images, {linked} ({size})"
        line += f": {'; '.join(verdicts)}."
        if len(tested) < len(judged):
            line += " Other claims are not tested there."
        if twin := next((other for other in shown if _same_but_data(study, other)), None):
            line += _agreement(study, twin, judged, link)
        lines.append(line)
    return lines


def _verdict(claim: Claim, finding: Finding, study: Study) -> str:
    """Return a judgement with what it rests on."""
    grounds = ", ".join([*decided_by(finding, study), *_flags(finding, study)])
    return f"{claim.name} {finding.word}" + (f" ({grounds})" if grounds else "")


def _agreement(study: Study, twin: Study, judged: Judged, link: Link) -> str:
    """Return on which claims the study of the copies and its twin are judged alike, and the twin's other judgements."""
    agrees, differs = list[str](), list[str]()
    for claim, of in judged:
        ours, theirs = of[study.preset], of[twin.preset]
        if {"not tested", "interim"} & {ours.word, theirs.word}:
            continue
        if ours.judgement == theirs.judgement:
            agrees.append(claim.name)
        else:
            differs.append(f"{claim.name} ({theirs.word} there)")
    parts = [f"replicates the judgements of {series(agrees)}, on the same photographs"] if agrees else []
    parts += [f"differs on {series(differs)}"] if differs else []
    linked = f"[{code(twin.preset)}]({link(twin.preset)})"
    there, here = (of.any_record["settings"]["recipe"].get(_PRECISION) for of in (twin, study))
    computed = f" (in {there}, this one in {here})" if there and here and there != here else ""
    return f" Its twin on the official images, {linked}{computed}, {', and '.join(parts)}." if parts else ""


def _same_but_data(study: Study, other: Study) -> bool:
    """Return whether `study`, of a copy, and `other`, of its original, share network, recipe and number of images.

    Their precision may differ, as where one was trained in bfloat16 and the other in float32: `_agreement` names it.
    """
    copy, official = study.any_record, other.any_record
    recipe = {key: value for key, value in copy["settings"]["recipe"].items() if key != _PRECISION}
    return (
        official["data"]["name"] == _original(study)
        and official["data"]["train_images"] == copy["data"]["train_images"]
        and official["model"]["name"] == copy["model"]["name"]
        and recipe.items() <= official["settings"]["recipe"].items()
    )


# A study's own page, and the list of claims.


def claims_table(study: Study, judged: Judged) -> Table:
    """Return a study's judgement of each claim that it tests, with every comparison that decides; empty without any."""
    rows = [
        [claim.name, judgement_text(finding), BREAK.join(_grounds(finding, study)) or "-"]
        for claim, of in judged
        if (finding := of[study.preset]).judgement != "not tested"
    ]
    headers = ["claim", "judgement", "evidence"]
    return Table(headers, rows, words=headers)


def undecided(study: Study, judged: Judged) -> list[str]:
    """Return the endpoints that a study named and that decide none of the claims on its page."""
    deciding = {name for claim, of in judged if of[study.preset].judgement != "not tested" for name in claim.decides}
    return [study.short(endpoint) for endpoint in study.endpoints if endpoint not in deciding]


def _grounds(finding: Finding, study: Study) -> list[str]:
    """Return the evidence of a finding, a line for each endpoint."""
    lines = [reason_text(finding.reason, study.treatment)] if finding.reason else []
    by_endpoint: dict[str, list[str]] = {}
    for evidence in finding.evidence:
        where = "" if evidence.study.preset == study.preset else f" in {code(evidence.study.preset)}"
        by_endpoint.setdefault(heading(evidence.study, evidence.endpoint) + where, []).append(evidence_text(evidence))
    lines += [f"{endpoint}: {', '.join(said)}" for endpoint, said in by_endpoint.items()]
    lines += [*map(spent_text, finding.spent), *map(beside_text, finding.spent)]
    if finding.apart:
        lines.append(apart_text(*finding.apart))
    return [*lines, *_flags(finding, study)]


def _flags(finding: Finding, study: Study) -> list[str]:
    """Return how many runs of the attacked comparisons raised a sanity flag, as at most one line."""
    arms = [study.treatment, *dict.fromkeys(e.arm for e in finding.evidence if ENDPOINTS[e.endpoint].attacked)]
    runs = [run for arm in arms for run in study.done(arm)]
    flags = sum(bool(run["flags"]) for run in runs)
    if len(arms) < 2 or not flags:
        return []
    costly = sum(map(checked, runs))
    part = f"; {costly} had the costly checks" if 0 < costly < len(runs) else ""
    return [f"{flags} of these arms' {count(len(runs), 'run')} raised a sanity flag{part}"]


def claim_list() -> Table:
    """Return every claim with its source, endpoints and compared arms."""
    rows = []
    for claim in load_claims():
        decides = ", ".join([*map(_endpoint, claim.decides), *(COUNTED[name] for name in claim.counts)])
        arms = [*map(code, claim.against), *(f"{code(arm)} where named" for arm in claim.also)]
        source = "we ask it" if claim.source == OURS else claim.source
        rows.append([claim.name, claim.says, source, decides, ", ".join(arms)])
    headers = ["claim", "statement, in our words", "source", "endpoints", "against"]
    return Table(headers, rows, words=headers)


def _endpoint(name: Endpoint) -> str:
    """Return an endpoint's short name outside a study."""
    text = ENDPOINTS[name].short or ENDPOINTS[name].title
    return text.replace("{level:g}%", "a level of").replace("{eps:g}", "eps")
