"""The treatment of a study against each arm that it named, on one endpoint."""

from weakref import WeakKeyDictionary

import numpy as np

from benchmark.analysis.bootstrap import MIN_SEEDS, two_level_interval
from benchmark.analysis.endpoints import ENDPOINTS
from benchmark.analysis.paired import Comparison, compare, correct
from benchmark.analysis.study import Study
from benchmark.records.outcomes import unpack_bits
from benchmark.runtime.errors import UsageError
from benchmark.settings.preset import Endpoint

_made: WeakKeyDictionary[Study, dict[Endpoint, dict[str, Comparison | None]]] = WeakKeyDictionary()


def comparisons(study: Study, endpoint: Endpoint) -> dict[str, Comparison | None]:
    """Compare the treatment with each named arm over the seeds that both finished; Holm within each family.

    Returns:
        control arm -> comparison, or None where no seed is finished in both, or a run never reached the accuracy that
        its images or seconds are counted to: leaving it out would flatter its arm.

    Raises:
        ValueError: the study is exploratory, where nothing is decided; see `exploratory.contrasts`.
        UsageError: the preset did not name this endpoint before the runs.
    """
    if study.exploratory:
        raise ValueError(f"study {study.preset} is exploratory: it has contrasts and no verdicts")
    if endpoint not in study.endpoints:
        raise UsageError(
            f"study {study.preset} did not name the endpoint {endpoint!r} before its runs; named: "
            f"{', '.join(study.endpoints)}. A new endpoint needs new runs, of a preset that names it."
        )
    made = _made.setdefault(study, {})
    if endpoint not in made:
        made[endpoint] = _compare_families(study, endpoint)
    return made[endpoint]


def _compare_families(study: Study, endpoint: Endpoint) -> dict[str, Comparison | None]:
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
