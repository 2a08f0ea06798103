"""The treatment of a study against each arm that it named, on one endpoint."""

from typing import NamedTuple

import numpy as np

from benchmark.analysis.bootstrap import MIN_SEEDS, two_level_interval
from benchmark.analysis.endpoints import ENDPOINTS
from benchmark.analysis.exploratory import benjamini_hochberg, block_t
from benchmark.analysis.paired import Comparison, PairedT, compare, correct, paired_t
from benchmark.analysis.study import Study
from benchmark.records.outcomes import unpack_bits
from benchmark.runtime.errors import UsageError
from benchmark.settings.preset import Endpoint


def comparisons(study: Study, endpoint: Endpoint) -> dict[str, Comparison | None]:
    """Compare the treatment with each named arm over the seeds that both finished; Holm within each family.

    Returns:
        control arm -> comparison, or None where no seed is finished in both, or a run never reached the accuracy that
        its images or seconds are counted to: leaving it out would flatter its arm.

    Raises:
        ValueError: the study is exploratory, where nothing is decided; see `contrasts`.
        UsageError: the preset did not name this endpoint before the runs.
    """
    if study.exploratory:
        raise ValueError(f"study {study.preset} is exploratory: it has contrasts and no verdicts")
    if endpoint not in study.endpoints:
        raise UsageError(
            f"study {study.preset} did not name the endpoint {endpoint!r} before its runs; named: "
            f"{', '.join(study.endpoints)}. A new endpoint needs new runs, of a preset that names it."
        )
    values = study.values(endpoint)
    treatment = values[study.arms.index(study.treatment)]
    unit = ENDPOINTS[endpoint].unit
    margin = float(study.analysis["margin"]) if ENDPOINTS[endpoint].margin else None
    corrected: dict[str, Comparison | None] = {}
    for family in study.families:
        found: list[Comparison | None] = []
        for arm in family:
            control = values[study.arms.index(arm)]
            both = np.isfinite(treatment) & np.isfinite(control)
            if not both.any() or (ENDPOINTS[endpoint].undefined and both.sum() < len(study.shared_seeds(arm))):
                found.append(None)
            else:
                found.append(compare(treatment[both], control[both], margin, len(family), unit))
        corrected |= zip(family, correct(found), strict=True)
    return corrected


class Contrast(NamedTuple):
    """A row of an exploratory study minus its default, over the n seeds that both finished, in points.

    `t` is that of the additive model of all rows and seeds (`block_t`), `freedom` its degrees of freedom; `bh` is its p
    after Benjamini and Hochberg over all rows; `paired` the p of this row's own paired t test. No verdict is drawn.
    """

    n: int
    t: PairedT
    bh: float | None
    freedom: int
    paired: float | None


def contrasts(study: Study, endpoint: Endpoint) -> dict[str, Contrast | None]:
    """Compare each named arm with the treatment, as arm - treatment, over the seeds that both finished.

    Returns:
        arm -> contrast, in the order named, or None where no seed is finished in both.
    """
    compared = [study.treatment, *study.against]
    values = study.values(endpoint)[[study.arms.index(arm) for arm in compared]]  # (row, seed), the default first
    both = np.isfinite(values) & np.isfinite(values[0])
    fitted, freedom = block_t(values, 0)
    tests = [t if pairs.any() else None for t, pairs in zip(fitted, both, strict=True)][1:]
    adjusted = benjamini_hochberg([None if t is None else t.p for t in tests])
    return {
        arm: None if t is None else Contrast(int(pairs.sum()), t, bh, freedom, paired_t(row[pairs], values[0, pairs]).p)
        for arm, row, pairs, t, bh in zip(study.against, values[1:], both[1:], tests, adjusted, strict=True)
    }


def bootstrap_interval(study: Study, arm: str) -> tuple[float, float] | None:
    """Return the two-level bootstrap interval of the treatment minus an arm in clean accuracy, in points.

    None below ten seeds that both finished.
    """
    seeds = study.shared_seeds(arm)
    if len(seeds) < MIN_SEEDS:
        return None
    runs = [study.records[name, seed] for name in (study.treatment, arm) for seed in seeds]
    outcomes = [unpack_bits(run["clean"]["correct"], run["clean"]["n"]) for run in runs if run["clean"]]
    treatment, control = np.array(outcomes, dtype=bool).reshape(2, len(runs) // 2, -1)  # each (seed, image)
    return two_level_interval(treatment, control, np.random.default_rng(0))
