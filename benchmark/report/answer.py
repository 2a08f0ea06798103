"""The answer: which claims hold in which studies, by how much; for RESULTS.md, the README and each study's page."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from benchmark.analysis.claims import OURS, Claim, load_claims
from benchmark.analysis.comparisons import comparisons
from benchmark.analysis.endpoints import ENDPOINTS, POINTS
from benchmark.analysis.judgements import Finding, findings
from benchmark.analysis.paired import MIN_PAIRS_TO_TEST
from benchmark.analysis.published import data_set
from benchmark.analysis.study import Study
from benchmark.report.attack_tables import checked
from benchmark.report.figures.differences import panels
from benchmark.report.tables import Table
from benchmark.report.words import (
    BREAK,
    COUNTED,
    apart_text,
    capital,
    code,
    comparison_cell,
    count,
    direction,
    escape,
    evidence_text,
    finding_cell,
    heading,
    judgement_text,
    reason_text,
    series,
    short_title,
    signed,
    spent_text,
)
from benchmark.settings.values import Endpoint

_Judged = Sequence[tuple[Claim, dict[str, Finding]]]
Link = Callable[[str], str]  # preset -> link to its page
_ORDER = ("supported", "equivalent", "contradicted", "not resolved", "interim")


class Answer(NamedTuple):
    """The answer of all studies."""

    studies: list[Study]  # the columns of the table
    table: Table | None  # judgements, claim by study
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
    able = [study for study in testing if _judges(study, judged)]
    able.sort(key=lambda study: not _has_judged(study, judged))  # what is interim stands last
    official = {study.any_record["data"]["name"] for study in able if _has_judged(study, judged)}
    copies = [study for study in able if _original(study) in official]
    shown = [study for study in able if study not in copies]
    rows = [
        [f"**{claim.name}**", *(finding_cell(of[study.preset], study) for study in shown)]
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
    return Answer(shown, Table(headers, rows, words=headers) if shown else None, sentences, below, groups)


def _order(study: Study) -> tuple[str, int, str]:
    data = study.any_record["data"]
    return data["name"], data["train_images"], study.preset


def _judges(study: Study, judged: _Judged) -> bool:
    """Return whether a study judges a claim, or will and has a seed with all arms of its first family."""
    arms = (study.treatment, *study.families[0])
    whole = any(all(study.status(arm, seed) != "missing" for arm in arms) for seed in study.seeds)
    tests = any(of[study.preset].judgement != "not tested" for _, of in judged)
    return len(study.seeds) >= MIN_PAIRS_TO_TEST and whole and tests


def _has_judged(study: Study, judged: _Judged) -> bool:
    return any(of[study.preset].judgement != "not tested" and not of[study.preset].interim for _, of in judged)


def _original(study: Study) -> str | None:
    return data_set(study.any_record["data"]["name"]).version_of


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
    if len(studies) == len(shown) > 2:
        return f"in all {len(shown)} studies"
    return series(where(study, shown) for study in studies)


def where(study: Study, shown: Sequence[Study]) -> str:
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


def _copies(copies: Sequence[Study], shown: Sequence[Study], judged: _Judged, link: Link) -> list[str]:
    """Return the judgements of studies of copies, and their agreement with the study of the official data set."""
    lines = []
    for study in copies:
        title = data_set(study.any_record["data"]["name"]).title
        tested = [(claim.name, of[study.preset].word) for claim, of in judged]
        verdicts = [f"{name} {judgement}" for name, judgement in tested if judgement != "not tested"]
        line = f"Earlier, on {title}, [{code(study.preset)}]({link(study.preset)}): {', '.join(verdicts)}."
        if twin := next((other for other in shown if _same_but_data(study, other)), None):
            line += _agreement(study, twin, judged, link)
        lines.append(line)
    return lines


def _agreement(study: Study, twin: Study, judged: _Judged, link: Link) -> str:
    said: dict[str, list[str]] = {"agrees on": [], "differs on": []}
    for claim, of in judged:
        ours, theirs = of[study.preset], of[twin.preset]
        if not {"not tested", "interim"} & {ours.word, theirs.word}:
            said["agrees on" if ours.judgement == theirs.judgement else "differs on"].append(claim.name)
    parts = [f"{word} {series(names)}" for word, names in said.items() if names]
    linked = f"[{code(twin.preset)}]({link(twin.preset)})"
    return f" Its twin on the official images, {linked}, {series(parts)}." if parts else ""


def _same_but_data(study: Study, other: Study) -> bool:
    """Return whether `study`, of a copy, and `other`, of its original, share network, recipe and number of images."""
    copy, official = study.any_record, other.any_record
    return (
        official["data"]["name"] == _original(study)
        and official["data"]["train_images"] == copy["data"]["train_images"]
        and official["model"]["name"] == copy["model"]["name"]
        and copy["settings"]["recipe"].items() <= official["settings"]["recipe"].items()
    )


def claims_table(study: Study, judged: Sequence[tuple[str, Finding]]) -> Table:
    """Return a study's judgement of each claim that it tests, with every comparison that decides; empty without any."""
    rows = [
        [name, judgement_text(finding), BREAK.join(_grounds(finding, study)) or "-"]
        for name, finding in judged
        if finding.judgement != "not tested"
    ]
    headers = ["claim", "judgement", "evidence"]
    return Table(headers, rows, words=headers)


def _grounds(finding: Finding, study: Study) -> list[str]:
    """Return the evidence of a finding, a line for each endpoint."""
    lines = [reason_text(finding.reason, study.treatment)] if finding.reason else []
    by_endpoint: dict[str, list[str]] = {}
    for evidence in finding.evidence:
        where = "" if evidence.study.preset == study.preset else f" in {code(evidence.study.preset)}"
        by_endpoint.setdefault(heading(evidence.study, evidence.endpoint) + where, []).append(evidence_text(evidence))
    lines += [f"{endpoint}: {', '.join(said)}" for endpoint, said in by_endpoint.items()]
    lines += map(spent_text, finding.spent)
    for spent in finding.spent:
        area = "" if np.isnan(spent.area) else f" and robust area by {signed(spent.area)}"
        lines.append(
            f"beside it: accuracy differs by {signed(spent.accuracy)}{area} from {code(spent.arm)}, not tested"
        )
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


def alt(studies: Sequence[Study], claims_alone: bool) -> str:
    """Return the alternative text of a figure of differences: every mean difference that it draws.

    The figure of the answer draws the arms of the claims alone, that of a study's page its relatives too.
    """
    said = []
    for study in studies:
        arms = study.families[0] if claims_alone else study.against
        for endpoint in (drawn for drawn in panels(studies) if drawn in study.endpoints):
            pairs = comparisons(study, endpoint)
            found = [f"{arm} {signed(pair.difference)}" for arm in arms if (pair := pairs[arm])]
            where = f"{study.preset}, " if len(studies) > 1 else ""
            said.append(f"{where}{heading(study, endpoint)}: {', '.join(found) or 'no result yet'}")
    treatment = studies[0].treatment if studies else "the treatment"
    units = series(dict.fromkeys(ENDPOINTS[endpoint].unit for endpoint in panels(studies)) or [POINTS])
    return f"{treatment} minus each other arm, mean over seeds in {units}; {'; '.join(said)}"


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
