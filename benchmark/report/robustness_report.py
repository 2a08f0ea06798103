"""The robustness section of a study: what was attacked, the tables, the positive control and the checks."""

import json
from pathlib import Path
from typing import Literal

import numpy as np

from benchmark.analysis.paired import Floats
from benchmark.analysis.study import Study
from benchmark.records.schema import CrosscheckRow
from benchmark.report import prose
from benchmark.report.robustness_tables import (
    attack_table,
    calibration_table,
    checks_table,
    corruption_table,
    has,
    is_checked,
    robustness_table,
)
from benchmark.report.tables import Table, code, tested
from benchmark.runtime.errors import RunError

CONTROL = 20.0  # points that a positive control must keep at the largest eps
COUNTS: tuple[Literal["images", "ours", "theirs", "disagreements"], ...] = ("images", "ours", "theirs", "disagreements")
FLOOR = 5.0  # points above which an undefended arm there is odd


def section(study: Study, figures: str, alt: str, compared: list[CrosscheckRow]) -> list[str | Table]:
    """Return the paragraphs between the headings Robustness and Convergence."""
    return [
        "### Robustness",
        prose.robustness_note(study),
        robustness_table(study),
        *control(study),
        f"![{alt}]({figures}/robustness.svg)",
        *tested(study, ("area", "eps")),
        f"Attack by attack at eps = {study.analysis['eps']:g}/255. " + prose.ATTACK_NOTE,
        attack_table(study),
        *under_l2(study),
        *checks(study),
        *crosscheck(compared),
        *corruptions(study),
        *calibration(study),
    ]


def under_l2(study: Study) -> list[str | Table]:
    """Return the table of accuracy under the attacks in L2, or nothing where there were none."""
    return [prose.L2_NOTE, robustness_table(study, "L2")] if len(study.l2_eps) > 1 else []


def control(study: Study) -> list[str]:
    """Say what the positive control keeps at the largest eps and what the other arms keep, or nothing without one."""
    arm = study.positive_control
    if arm is None:
        return []
    at = f"Linf {study.eps[-1]:g}/255"
    kept, others = kept_at_largest_eps(study, arm)
    if not len(kept) or not len(others):
        missing = f"The positive control {code(arm)}" if not len(kept) else "No arm but the positive control"
        verb = "has no finished run yet" if not len(kept) else "is finished yet"
        return [f"{missing} {verb}: nothing shows so far that these attacks can tell a robust network from others."]
    outcome = (
        "The attacks tell a robust network from others."
        if control_passed(study)
        else f"**It should keep more than {CONTROL:g}% and the others less than {FLOOR:g}%: do not trust this study.**"
    )
    return [
        f"Positive control: {code(arm)}, trained on adversarial images and compared with nothing, keeps "
        f"{', '.join(f'{value:.1f}' for value in kept)}% at {at} (each seed); no run of another arm keeps more than "
        f"{others.max():.1f}% there. {outcome}"
    ]


def control_passed(study: Study) -> bool | None:
    """Say whether the positive control is robust at the largest eps and no other arm is; None: not known yet."""
    if study.positive_control is None:
        return None
    kept, others = kept_at_largest_eps(study, study.positive_control)
    if not len(kept) or not len(others):
        return None
    return bool(kept.min() > CONTROL and others.max() < FLOOR)


def kept_at_largest_eps(study: Study, arm: str) -> tuple[Floats, Floats]:
    """Return the points that every run of `arm`, and every run of all other arms, keeps at the largest eps."""
    last = dict(zip(study.arms, study.robust[:, :, -1], strict=True))  # arm -> (seed,)
    kept = last.pop(arm, np.array([]))
    return finite(kept), finite(np.concatenate([*last.values()]))


def finite(values: Floats) -> Floats:
    """Return the values that are numbers."""
    return values[np.isfinite(values)]


def checks(study: Study) -> list[str | Table]:
    """Return the table of the sanity checks, or nothing where a study made none of the costly ones."""
    if not has(study, is_checked):
        return []
    return [prose.CHECKS_NOTE, checks_table(study)]


def corruptions(study: Study) -> list[str | Table]:
    """Return accuracy without an adversary, under noise and corruptions, where it was recorded."""
    if not has(study, lambda record: record["robustness"] and record["robustness"]["corruptions"]):
        return []
    return [prose.CORRUPTION_NOTE, corruption_table(study)]


def calibration(study: Study) -> list[str | Table]:
    """Return the calibration of every arm, where it was recorded."""
    if not has(study, lambda record: record["calibration"]):
        return []
    return [prose.CALIBRATION_NOTE, calibration_table(study)]


def crosschecks(results: Path) -> dict[str, list[CrosscheckRow]]:
    """Return preset -> rows of every results/<preset>/crosscheck.json.

    Raises:
        RunError: a file is damaged.
    """
    found = {}
    for path in sorted(results.glob("*/crosscheck.json")):
        try:
            found[path.parent.name] = list(json.loads(path.read_text(encoding="utf-8"))["rows"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} cannot be read ({error}). Delete it and repeat `nox -s crosscheck`.") from error
    return found


def crosscheck(rows: list[CrosscheckRow]) -> list[str | Table]:
    """Return what other packages found at the same settings and draws, or nothing where none was asked."""
    if not rows:
        return []
    groups: dict[tuple[str, str, int, str], list[CrosscheckRow]] = {}
    for row in rows:
        groups.setdefault((row["package"], row["attack"], row["steps"], row["norm"]), []).append(row)
    lines = [
        [package, code(attack), f"{steps}", norm, f"{len(of)}", *(f"{total(of, key):,}" for key in COUNTS)]
        for (package, attack, steps, norm), of in groups.items()
    ]
    headers = ["against", "attack", "steps", "norm", "networks", "images", "stand, ours", "stand, theirs", "differ"]
    differing = total(rows, "disagreements")
    outcome = "No image has another outcome." if not differing else f"**{differing:,} outcomes differ.**"
    return [f"{prose.CROSSCHECK_NOTE} {outcome}", Table(headers, lines, words=["attack", "norm"])]


def total(rows: list[CrosscheckRow], key: Literal["images", "ours", "theirs", "disagreements"]) -> int:
    """Add up a count over rows."""
    return sum(row[key] for row in rows)
