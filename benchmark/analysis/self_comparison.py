"""The A/A study: every arm against itself with other seeds, where a significant difference would be a false alarm.

The first half of an arm's seeds plays the treatment and the second half the control, paired in order, so that the very
test that decides the verdicts is tried on real runs whose true difference is 0. Such pairs share no random stream.
"""

import numpy as np

from benchmark.analysis.paired import ALPHA, MIN_PAIRS_TO_TEST, Comparison, compare, correct
from benchmark.analysis.study import Study
from benchmark.analysis.verdicts import count, p_text, signed
from benchmark.report import prose
from benchmark.report.tables import Table, code
from benchmark.settings.preset import Endpoint

TRIED: tuple[Endpoint, ...] = ("clean", "area")
NAMES: dict[Endpoint, str] = {"clean": "accuracy", "area": "robust area"}


def same_arm(study: Study, endpoint: Endpoint) -> dict[str, Comparison]:
    """Compare the first half of every arm's finished seeds with the second; Holm over the arms.

    Returns:
        arm -> comparison, of the arms with enough seeds for a test (4 pairs).
    """
    found = {}
    for arm, values in zip(study.arms, study.values(endpoint), strict=True):
        finished = values[np.isfinite(values)]
        half = len(finished) // 2
        if half >= MIN_PAIRS_TO_TEST:
            margin = float(study.analysis["margin"])
            found[arm] = compare(finished[:half], finished[half : 2 * half], margin, len(study.arms))
    corrected = correct(list(found.values()))
    return {arm: pair for arm, pair in zip(found, corrected, strict=True) if pair}


def section(study: Study) -> list[str | Table]:
    """Return the heading, the outcome in a sentence and the table; nothing with too few seeds."""
    found = {endpoint: same_arm(study, endpoint) for endpoint in TRIED}
    if not any(found.values()):
        return []
    tests = [pair for pairs in found.values() for pair in pairs.values()]
    alarms = sum(pair.holm is not None and pair.holm < ALPHA for pair in tests)
    outcome = (
        "No arm differs from itself (Holm p < .05 in none), as it should be."
        if not alarms
        else f"**{count(alarms, 'false alarm')} among {len(tests)} tests at Holm p < .05.**"
    )
    rows = [row(endpoint, arm, pair) for endpoint, pairs in found.items() for arm, pair in pairs.items()]
    headers = ["endpoint", "arm", "pairs", "first half", "second half", "difference", "95% interval", "p", "Holm p"]
    return [
        "### Every arm against itself",
        f"{prose.SAME_ARM_NOTE} {outcome}",
        Table([*headers, "Welch p"], rows, ["arm"]),
    ]


def row(endpoint: Endpoint, arm: str, pair: Comparison) -> list[str]:
    """Return one row of the table."""
    span = "-" if pair.low is None else f"{signed(pair.low)} to {signed(pair.high)}"
    tests = [p_text(p) for p in (pair.p, pair.holm, pair.welch)]
    means = [f"{pair.treatment:.2f}", f"{pair.control:.2f}", signed(pair.difference)]
    return [NAMES[endpoint], code(arm), str(pair.n), *means, span, *tests]
