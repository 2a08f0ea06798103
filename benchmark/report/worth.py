"""For whom the method is worth its cost: the five lines of sba/README.md, what it costs and what attacks leave."""

from collections.abc import Callable, Sequence

import numpy as np

from benchmark.analysis.claims import OURS, Claim
from benchmark.analysis.judgements import Reason, judge, positive_control, robust_from
from benchmark.analysis.paired import Floats
from benchmark.analysis.study import Study
from benchmark.report.answer import each_place, places
from benchmark.report.notation import code, fixed, mean_text, series
from benchmark.report.words import evidence_text, heading, reason_text
from benchmark.settings.values import Endpoint

_Name = Callable[[Sequence[Study], Sequence[Study]], str]  # some studies, all studies -> their name
_BESIDE = "standard"  # the arm of a user who augments images and asks for the method's effect beside that
_WORDS = {"supported": "**yes**", "contradicted": "**no**", "equivalent": "**equivalent**"}


def worth(studies: Sequence[Study]) -> list[str]:
    """Return five lines of Markdown: accuracy, length of training, small perturbations, attacks, and the price.

    Each names the judgement of every study against `standard`, with the mean difference in points and its 95%
    interval. A study without that comparison is left out of a line.

    Args:
        studies: those in the answer's table.
    """
    lines: dict[str, Callable[[Study], str]] = {
        "More accuracy on clean images": lambda study: _against_standard(study, "clean"),
        "More accuracy early in training": lambda study: _against_standard(study, "learning"),
        "More accuracy under small perturbations": lambda study: _against_standard(study, "area"),
        "A defence against attacks": _defence,
        "The price": _price,
    }
    return [f"**{wish}**: {_of_each(studies, said, each_place) or 'not tested'}." for wish, said in lines.items()]


def prices(studies: Sequence[Study]) -> str:
    """Return the FLOPs of the treatments relative to `standard`, study by study: "`sba` spends 1.34x the FLOPs ..."."""

    def spends(study: Study) -> str:
        price = _price(study)
        return f"{code(study.treatment)} spends {price}" if price else ""

    return _of_each(studies, spends, places)


def largest_eps(studies: Sequence[Study]) -> str:
    """Return the largest eps of all studies, and what it leaves: " (8/255, where `sba` is right on at most 0.0%)"."""
    attacked = [(study, ours) for study in studies if np.isfinite(ours := _at_largest(study)).any()]
    if len(found := {study.eps[-1] for study, _ in attacked}) != 1:
        return ""
    treatments = series([code(name) for name in dict.fromkeys(study.treatment for study, _ in attacked)])
    most = max(float(np.nanmean(ours)) for _, ours in attacked)
    return f" ({found.pop():g}/255, where {treatments} is right on at most {fixed(most, 1)}%)"


def _at_largest(study: Study) -> Floats:
    """Return the treatment's accuracy at the largest eps, (seed,)."""
    return study.robust[study.arms.index(study.treatment), :, -1]


def _of_each(studies: Sequence[Study], said: Callable[[Study], str], name: _Name) -> str:
    """Return each text with the studies that have it, joined; "" if no study has one."""
    found: dict[str, list[Study]] = {}
    for study in studies:
        if text := said(study):
            found.setdefault(text, []).append(study)
    return "; ".join(f"{text} {name(of, studies)}" for text, of in found.items())


def _against_standard(study: Study, endpoint: Endpoint) -> str:
    """Return the judgement against `standard`, or "" where the study does not test it."""
    wish = Claim(name="wish", says="it is better", source=OURS, against=(_BESIDE,), decides=(endpoint,))
    finding = judge(study, wish)
    if finding.word in ("not tested", "interim"):
        return "" if finding.word == "not tested" else finding.word
    measured = "" if endpoint == "clean" else f"{heading(study, endpoint)} "
    grounds = (
        reason_text(finding.reason, study.treatment)
        if finding.reason
        else measured + evidence_text(finding.evidence[0])
    )
    return f"{_WORDS.get(finding.judgement, finding.judgement)}, {grounds}"


def _defence(study: Study) -> str:
    """Return the accuracy at the largest eps, which is the usual one, beside that of the positive control."""
    ours = _at_largest(study)
    if not np.isfinite(ours).any():
        return ""
    if study.to_come([]) or study.awaits_control:
        return "interim"
    kept, control = f"{mean_text(ours, 1)}% correct at Linf {study.eps[-1]:g}/255", positive_control(study)
    if control and not control.passed:
        return f"not resolved, {reason_text(Reason('control'), study.treatment)}"
    if control:
        kept += f" ({code(str(study.positive_control))}: {mean_text(control.kept, 1)}%)"
    return f"**{'yes' if np.nanmean(ours) > robust_from(study) else 'no'}**, {kept}"


def _price(study: Study) -> str:
    """Return the FLOPs of training relative to `standard`, means over the seeds that both finished."""
    seeds = study.shared_seeds(_BESIDE) if _BESIDE in study.arms else []
    if not seeds:
        return ""
    ours, plain = (
        sum(study.records[arm, seed]["cost"]["train_flops"] for seed in seeds) for arm in (study.treatment, _BESIDE)
    )
    return f"{fixed(ours / plain)}x the FLOPs of {code(_BESIDE)}"
