"""The robustness section of a study: what was attacked, the tables, the positive control and the checks."""

import numpy as np

from benchmark import prose
from benchmark.robustness_tables import (
    attack_table,
    calibration_table,
    checks_table,
    corruption_table,
    has,
    robustness_table,
)
from benchmark.study import Study
from benchmark.tables import code, comparison_table

CONTROL = 20.0  # points that a positive control must keep at the largest eps
FLOOR = 5.0  # points above which an undefended arm there is odd


def section(study: Study, figures: str, alt: str) -> list[str]:
    """Return the paragraphs between the headings Robustness and Convergence."""
    treatment = code(study.treatment)
    return [
        "### Robustness",
        prose.robustness_note(study),
        robustness_table(study),
        *control(study),
        f"![{alt}]({figures}/robustness.svg)",
        f"{treatment} against each other arm: {prose.endpoint(study, 'area')}.",
        comparison_table(study, "area"),
        f"{treatment} against each other arm: {prose.endpoint(study, 'eps')}.",
        comparison_table(study, "eps"),
        f"Attack by attack at eps = {study.analysis['eps']:g}/255. " + prose.ATTACK_NOTE,
        attack_table(study),
        *([prose.L2_NOTE, robustness_table(study, "L2")] if len(study.l2_eps) > 1 else []),
        *checks(study),
        *beyond(study),
    ]


def control(study: Study) -> list[str]:
    """Say what the positive control keeps at the largest eps and what the other arms keep, or nothing without one."""
    arm = study.positive_control
    if arm is None:
        return []
    at = f"Linf {study.eps[-1]:g}/255"
    if arm not in study.arms or not study.done(arm):
        return [
            f"The positive control {code(arm)} has no finished run yet: nothing shows that these attacks can find"
            " robustness where there is some."
        ]
    last = study.robust[:, :, -1]
    kept = last[study.arms.index(arm)]
    others = np.delete(last, study.arms.index(arm), axis=0)
    seeds = ", ".join(f"{value:.1f}" for value in kept[np.isfinite(kept)])
    passed = np.nanmin(kept) > CONTROL and np.nanmax(others) < FLOOR
    outcome = (
        "The attacks tell a robust network from others."
        if passed
        else f"**It should keep more than {CONTROL:g}% and the others less than {FLOOR:g}%: do not trust this study.**"
    )
    return [
        f"Positive control: {code(arm)}, trained on adversarial images and compared with nothing, keeps {seeds}% at "
        f"{at} (each seed); no run of another arm keeps more than {np.nanmax(others):.1f}% there. {outcome}"
    ]


def checks(study: Study) -> list[str]:
    """Return the table of the sanity checks, or nothing where a study made none of the costly ones."""
    if not has(study, lambda record: [check for check in record["checks"] if check["number"] > 6]):
        return []
    return [prose.CHECKS_NOTE, checks_table(study)]


def beyond(study: Study) -> list[str]:
    """Return what is not an attack: noise, corruptions and calibration, where it was recorded."""
    paragraphs: list[str] = []
    if has(study, lambda record: record["robustness"] and record["robustness"]["corruptions"]):
        paragraphs += [prose.CORRUPTION_NOTE, corruption_table(study)]
    if has(study, lambda record: record["calibration"]):
        paragraphs += [prose.CALIBRATION_NOTE, calibration_table(study)]
    return paragraphs
