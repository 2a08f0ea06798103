"""The A/A study: every arm against itself with other seeds, where a significant difference would be a false alarm.

The first half of an arm's seeds plays the treatment and the second half the control, paired in order, so that the very
test that decides the verdicts is tried on real runs whose true difference is 0. Such pairs share no random stream.
"""

import numpy as np

from benchmark.analysis.paired import MIN_PAIRS_TO_TEST, Comparison, compare, correct
from benchmark.analysis.study import Study
from benchmark.settings.preset import Endpoint

TRIED: tuple[Endpoint, ...] = ("clean", "area")


def self_comparison(study: Study, endpoint: Endpoint) -> dict[str, Comparison]:
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
