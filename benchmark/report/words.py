"""Numbers, names, comparisons and claims in the report's notation."""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import numpy as np

from benchmark.analysis.comparisons import outcome
from benchmark.analysis.endpoints import ENDPOINTS, POINTS
from benchmark.analysis.judgements import Evidence, Finding, Reason, Spent
from benchmark.analysis.paired import MIN_PAIRS_TO_TEST, Comparison, Floats, PairedT
from benchmark.analysis.published import data_set
from benchmark.analysis.study import Study
from benchmark.settings.values import Endpoint

_ROUNDING = Context(prec=400, rounding=ROUND_HALF_UP)  # more digits than a float has, as logits may be any finite ones
_PREFIXES = ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k"))
BREAK = "<br>"  # a line break within a cell
TIE = "\N{NO-BREAK SPACE}"  # keeps a number with its unit in a narrow column
COUNTED = {"train_flops": "FLOPs", "train_gradients": "gradient samples"}


# Names and texts.


def code(name: str) -> str:
    """Format a name as Markdown code, or as escaped text if it has unusual characters."""
    return f"`{name}`" if re.fullmatch(r"[\w.:/ +-]+", name) else escape(name)


def escape(text: str) -> str:
    """Escape a text from outside for Markdown, as one line."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", plain)


def plain(cell: str) -> str:
    """Return a text of the report without its Markdown."""
    text = re.sub(r"\[((?:\\.|[^\]\\])*)\]\([^)]*\)", r"\1", cell)  # a link keeps its text
    text = re.sub(r"(?<!\\)[`*]", "", text.replace(BREAK, ", ").replace(TIE, " "))
    text = re.sub(r"\\(.)", r"\1", text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def count(n: int, noun: str) -> str:
    """Format a number with its noun: "1 seed", "2 seeds"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def seed_list(seeds: Sequence[int]) -> str:
    """Format increasing seeds: "seed 1", "seeds 1, 2", "seeds 0, 2 to 7"."""
    runs: list[list[int]] = []  # of consecutive seeds
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    parts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(parts)}"


def series(items: Iterable[str]) -> str:
    """Join items: "a", "a and b", "a, b and c"."""
    *head, last = items
    return f"{', '.join(head)} and {last}" if head else last


def capital(text: str) -> str:
    """Capitalise the first letter, after Markdown's asterisks as well."""
    start = len(text) - len(text.lstrip("*"))
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]


def value_text(value: Any, digits: int = 12) -> str:
    """Format a setting's value: 0.5, 1, true, none, softmax, [stem, block1]; floats with significant digits."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(value_text(item, digits) for item in value)}]"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def settings_list(settings: Mapping[str, Any], without: str = "") -> list[str]:
    """Format settings as "key = value", escaped, without one of them."""
    return [escape(f"{key} = {value_text(value)}") for key, value in settings.items() if key != without]


# Numbers.


def fixed(value: float, digits: int = 2) -> str:
    """Round to `digits` decimals, halves away from zero: "39.9" for 39.85 with one digit; never "-0.0".

    All numbers of the pages are rounded here. The last bits of a float are dropped first: they depend on the order
    of the additions behind a mean, and would round one tie up in one table and down in another.
    """
    rounded = Decimal(f"{value:.9f}").quantize(Decimal(1).scaleb(-digits), context=_ROUNDING)
    return f"{rounded if rounded else abs(rounded):,}"


def signed(value: float | None, digits: int = 2) -> str:
    """Format a difference with its sign, and 0 without one; a dash for None."""
    if value is None:
        return "-"
    text = fixed(value, digits)
    return f"+{text}" if float(text.replace(",", "")) > 0 else text


def p_text(p: float | None) -> str:
    """Format a p value with four digits as ".0625", or as "< .0001", "1" or, for None, a dash."""
    if p is None:
        return "-"
    if p < 0.0001:
        return f"<{TIE}.0001"
    return fixed(p, 4).removeprefix("0") if p < 0.99995 else "1"


def p_equals(p: float | None) -> str:
    """Format a p value with its relation: "= .0625" or "< .0001"."""
    return p_text(p) if p is not None and p < 0.0001 else f"={TIE}{p_text(p)}"


def si(value: float) -> str:
    """Format a count with three digits and an SI prefix: "2.13 T"."""
    power, prefix = next(((p, t) for p, t in _PREFIXES if value >= 10**p), (0, ""))
    short = value / 10**power
    return f"{fixed(short, 2 if short < 10 else 1 if short < 100 else 0)} {prefix}".rstrip()


def mean_text(values: Floats, digits: int = 2) -> str:
    """Format the mean of the finite values, (seed,); a dash without any."""
    finite = values[np.isfinite(values)]
    return fixed(float(finite.mean()), digits) if len(finite) else "-"


def sd_text(values: Floats) -> str:
    """Format the standard deviation (n - 1) of the finite values, (seed,); a dash below two."""
    finite = values[np.isfinite(values)]
    return fixed(float(finite.std(ddof=1))) if len(finite) > 1 else "-"


def mean_and_sd(values: Floats) -> str:
    """Format mean and, from two seeds on, sd: "80.11 (0.14)"."""
    return mean_text(values) + (f" ({sd_text(values)})" if np.isfinite(values).sum() > 1 else "")


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
