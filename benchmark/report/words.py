"""Comparisons, claims and studies in words and cells."""

import numpy as np

from benchmark.analysis.comparisons import outcome
from benchmark.analysis.endpoints import ENDPOINTS, POINTS
from benchmark.analysis.judgements import Evidence, Finding, Reason, Spent
from benchmark.analysis.paired import MIN_PAIRS_TO_TEST, Comparison, PairedT
from benchmark.analysis.published import data_set
from benchmark.analysis.study import Study
from benchmark.report.notation import BREAK, TIE, code, count, escape, fixed, p_equals, p_text, series, signed
from benchmark.settings.values import Endpoint

COUNTED = {"train_flops": "FLOPs", "train_gradients": "gradient samples"}


# Comparisons.


def span(pair: Comparison | PairedT) -> str:
    """Format the 95% interval behind a difference: " [+0.12, +0.84]", or ""."""
    return "" if pair.low is None else f"{TIE}[{signed(pair.low)},{TIE}{signed(pair.high)}]"


def interval(low: float | None, high: float | None) -> str:
    """Format an interval as a cell: "+0.12 to +0.84", or a dash."""
    return "-" if low is None else f"{signed(low)} to {signed(high)}"


def _amount(pair: Comparison) -> str:
    """Format a mean difference, with its unit unless it is in points."""
    unit = {POINTS: "", "thousand images": f"{TIE}k", "seconds": f"{TIE}s"}.get(pair.unit, f"{TIE}{pair.unit}")
    return f"{signed(pair.difference)}{unit}"


def _over(pair: Comparison) -> str:
    """Format the number of seeds of a difference that is not tested: "(1 seed)"."""
    return f"({count(pair.n, 'seed')})".replace(" ", TIE)


def direction(endpoint: Endpoint) -> str:
    """Return ", lower is better" where it is; "" elsewhere."""
    return "" if ENDPOINTS[endpoint].more_is_better else ", lower is better"


def heading(study: Study, endpoint: Endpoint) -> str:
    """Return the heading of comparisons on an endpoint: its short name, and its direction if lower is better."""
    return study.short(endpoint) + direction(endpoint)


def comparison_cell(pair: Comparison, interim: bool) -> str:
    """Format a comparison as a cell: difference and interval, then Holm p and outcome."""
    kind = outcome(pair)
    if interim or kind == "description only":
        return f"{_amount(pair)} {_over(pair)}"
    if kind == "constant differences":
        return f"{_amount(pair)} in each seed{BREAK}{kind}, not tested"
    decided = f"**{kind}**" if kind.startswith(("higher", "lower", "equivalent")) else kind
    return f"{_amount(pair)}{span(pair)}{BREAK}p{TIE}{p_text(pair.holm)}, {decided}"


def no_comparison(study: Study, endpoint: Endpoint, arm: str) -> str:
    """Return the reason why there is no comparison with an arm on an endpoint."""
    if study.shared_seeds(arm):
        if ENDPOINTS[endpoint].attacked:
            return "not every run was attacked"
        finite = dict(zip(study.arms, np.isfinite(study.values(endpoint)).sum(axis=1), strict=True))
        if not any(finite.values()):
            return "no run has a value"
        named = [name for name in (study.treatment, arm) if finite[name] < len(study.done(name))]
        if without := [name for name in named if not finite[name]]:
            return f"no run of {series(map(code, without))} has a value"
        return f"some runs of {series(map(code, named))} have no value"
    for name in (study.treatment, arm):
        if not study.seeds_with(name, "missing") and not study.done(name):
            return f"every run of {code(name)} diverged"
    return "no common seed yet"


# Claims.


def evidence_text(evidence: Evidence) -> str:
    """Format a comparison of a claim: "+0.48 [+0.12, +0.84] from `standard`"."""
    pair = evidence.pair
    if pair is None:
        return f"{code(evidence.arm)}: {no_comparison(evidence.study, evidence.endpoint, evidence.arm)}"
    if pair.n < MIN_PAIRS_TO_TEST or evidence.study.interim(evidence.arm):
        return f"{_amount(pair)} from {code(evidence.arm)} {_over(pair)}"
    return f"{_amount(pair)}{span(pair)} from {code(evidence.arm)}"


def spent_text(spent: Spent) -> str:
    """Format costs relative to an arm: "0.79x the FLOPs and 0.75x the gradient samples of `always`"."""
    shares = [f"{fixed(ours / theirs)}x the {COUNTED[name]}" for name, (ours, theirs) in spent.counts.items()]
    return f"{series(shares)} of {code(spent.arm)}"


def beside_text(spent: Spent) -> str:
    """Format what goes along with costs relative to an arm: "beside it: accuracy -0.39 from `always`, not tested"."""
    area = "" if np.isnan(spent.area) else f" and robust area {signed(spent.area)}"
    return f"beside it: accuracy {signed(spent.accuracy)}{area} from {code(spent.arm)}, not tested"


def reason_text(reason: Reason, treatment: str) -> str:
    """Return the reason why a claim was not decided by a study that tests it; of other studies pages give none."""
    names = series(map(code, reason.names)) if reason.names else ""
    in_studies = f" in {names}" if names else ""
    return {
        "no record": f"no record yet of {names}",
        "interim": f"{count(reason.number, 'run')} still to come{in_studies}",
        "diverged": f"{count(reason.number, 'run')} of {code(treatment)} diverged{in_studies}",
        "control": "nothing shows that these attacks can recognise a robust network (see the positive control)",
        "reversed": f"under AutoAttack the difference from {names} has the other sign",
        "incomplete": f"runs of {names} are missing or diverged",
    }[reason.kind]


def judgement_text(finding: Finding) -> str:
    """Format a judgement, in bold if something was decided."""
    if finding.interim:
        return "*interim*"
    return finding.judgement if finding.judgement.startswith("not") else f"**{finding.judgement}**"


def finding_cell(finding: Finding, study: Study) -> str:
    """Format a finding as a cell of the answer table: the judgement, and what it rests on."""
    if finding.judgement == "not tested":
        return "-"
    return BREAK.join([judgement_text(finding), *decided_by(finding, study)])


def decided_by(finding: Finding, study: Study) -> list[str]:
    """Return what a judgement rests on: the comparison that decides it, and how the other arms compare."""
    if finding.interim:
        return []
    if finding.reason:
        return [reason_text(finding.reason, study.treatment)]
    own = finding._replace(evidence=tuple(e for e in finding.evidence if e.study.preset == study.preset))
    lines = [*map(spent_text, finding.spent), *map(beside_text, finding.spent)]
    if weakest := own.weakest:
        measured = "" if weakest.endpoint == "clean" else f"{heading(weakest.study, weakest.endpoint)}: "
        lines.append(f"{measured}{evidence_text(weakest)}")
        if weakest.standing in ("better", "worse") and (narrow := narrowly(weakest)):
            lines.append(narrow)
    if finding.judgement != "supported":
        lines += _others(own)
    if finding.apart:
        lines.append(apart_text(*finding.apart))
    return lines


def _others(finding: Finding) -> list[str]:
    """Return the arms beside the deciding one that are not shown to be beaten on every endpoint, and those that are."""
    weakest, lines = finding.weakest, []
    if weakest and weakest.standing == "better":  # by this study alone: another one stands in the way
        return ["shown by this study"]
    arms = list(dict.fromkeys(e.arm for e in finding.evidence))
    not_shown = {e.arm for e in finding.evidence if e.standing != "better"}
    if weakest and (others := [arm for arm in arms if arm in not_shown - {weakest.arm}]):
        lines.append(f"nor shown better than {series(map(code, others))}")
    if beaten := [arm for arm in arms if arm not in not_shown]:
        lines.append(f"better than {series(map(code, beaten))}")
    return lines


def narrowly(evidence: Evidence) -> str:
    """Return that a difference may well lie within the margin of equivalence, where its interval does; else ""."""
    pair = evidence.pair
    if pair is None or pair.margin is None or pair.low is None or pair.high is None:
        return ""
    if -pair.margin < pair.low and pair.high < pair.margin:
        return f"equivalence narrowly missed (Holm p {p_equals(pair.tost_holm)})"
    return ""


def apart_text(difference: float, p: float | None) -> str:
    """Format the difference between the gains of two studies."""
    return f"the gains of the two studies differ by {fixed(abs(difference))} (Welch p {p_equals(p)})"


def short_title(study: Study) -> str:
    """Return a short title of several lines: data set, training images, network, finished seeds of the treatment."""
    done, seeds = len(study.done(study.treatment)), count(len(study.seeds), "seed")
    data, model = study.any_record["data"], study.any_record["model"]["name"]
    compute = f"{BREAK}equal compute" if study.any_record["settings"].get("compute") else ""
    return (
        f"{escape(data_set(data['name']).title)}{BREAK}{data['train_images']:,} images{BREAK}"
        f"{code(model)}, {seeds if done == len(study.seeds) else f'{done} of {seeds}'}{compute}"
    )
