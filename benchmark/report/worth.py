"""For whom a method is worth its cost: one line for each wish of a user, judged by the studies of the answer."""

from collections.abc import Callable, Sequence

import numpy as np

from benchmark.analysis.claims import CONTROL_KEEPS, Standing, compared
from benchmark.analysis.study import Study
from benchmark.report.answer import where
from benchmark.report.words import code, evidence_text, mean_text
from benchmark.settings.preset import Endpoint

_BESIDE = "standard"  # the arm of a user who augments images and asks for the method's effect beside that
_WORDS: dict[Standing, str] = {"better": "yes", "worse": "no", "equivalent": "equivalent", "open": "not resolved"}


def worth(studies: Sequence[Study]) -> list[str]:
    """Return five lines of Markdown: accuracy, length of training, small perturbations, attacks, and the price.

    Each names the judgement of every study against `standard`, with the mean difference in points and its 95%
    interval. A study without that comparison is left out of a line.

    Args:
        studies: those in the answer's table.
    """
    lines: dict[str, Callable[[Study], str]] = {
        "More accuracy on clean images": lambda study: _judged(study, "clean"),
        "More accuracy early in training": lambda study: _judged(study, "learning"),
        "More accuracy under small perturbations": lambda study: _judged(study, "area"),
        "A defence against attacks": _defence,
        "The price": _price,
    }
    return [f"**{wish}**: {_of_each(studies, said)}." for wish, said in lines.items()]


def _of_each(studies: Sequence[Study], said: Callable[[Study], str]) -> str:
    found = [f"{text} {where(study, studies)}" for study in studies if (text := said(study))]
    return "; ".join(found) or "not tested"


def _judged(study: Study, endpoint: Endpoint) -> str:
    """Return the judgement against `standard`, or "" where the study does not test it."""
    if endpoint not in study.endpoints or _BESIDE not in study.against:
        return ""
    evidence = compared(study, endpoint, _BESIDE)
    if study.interim(_BESIDE):
        return "interim"
    return f"**{_WORDS[evidence.standing]}**, {evidence_text(evidence)}"


def _defence(study: Study) -> str:
    """Return the accuracy at the largest eps, which is the usual one, beside that of the positive control."""
    last = dict(zip(study.arms, study.robust[:, :, -1], strict=True))  # arm -> (seed,)
    ours = last[study.treatment]
    if not np.isfinite(ours).any():
        return ""
    if study.to_come([]):
        return "interim"
    kept = f"{mean_text(ours, 1)}% at Linf {study.eps[-1]:g}/255"
    control = study.positive_control
    if control in last and np.isfinite(last[control]).any():  # it may have no run yet
        kept += f" ({code(control)}: {mean_text(last[control], 1)}%)"
    return f"**{'yes' if np.nanmean(ours) > CONTROL_KEEPS else 'no'}**, {kept}"


def _price(study: Study) -> str:
    """Return the FLOPs of training relative to `standard`, means over the seeds that both finished."""
    seeds = study.shared_seeds(_BESIDE) if _BESIDE in study.arms else []
    if not seeds:
        return ""
    ours, plain = (
        sum(study.records[arm, seed]["cost"]["train_flops"] for seed in seeds) for arm in (study.treatment, _BESIDE)
    )
    return f"{ours / plain:.2f}x the FLOPs of {code(_BESIDE)}"
