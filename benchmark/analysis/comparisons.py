"""Comparisons of a study's arms on one endpoint, with their outcomes; each arm with itself; and under AutoAttack."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from benchmark.analysis.bootstrap import MIN_SEEDS, two_level_interval
from benchmark.analysis.endpoints import ENDPOINTS
from benchmark.analysis.paired import ALPHA, MIN_PAIRS_TO_TEST, Comparison, Floats, compare, correct
from benchmark.analysis.study import Study
from benchmark.records.outcomes import unpack_bits
from benchmark.records.schema import AutoAttackRow
from benchmark.runtime.errors import UsageError
from benchmark.settings.values import Endpoint

TRIED: tuple[Endpoint, ...] = ("clean", "area")  # the endpoints of the comparison of every arm with itself
Outcome = Literal[
    "description only",
    "constant differences",
    "higher",
    "lower",
    "higher, within margin",
    "lower, within margin",
    "equivalent",
    "not resolved",
]


@lru_cache(maxsize=256)
def comparisons(study: Study, endpoint: Endpoint) -> dict[str, Comparison | None]:
    """Compare the treatment with each named arm over the seeds that both finished; Holm within each family.

    Returns:
        control arm -> comparison, or None where no seed is finished in both, or a finished run has no value (it never
        reached the accuracy that its images are counted to): leaving it out would flatter its arm.

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
    values, measure = study.values(endpoint), ENDPOINTS[endpoint]
    treatment = values[study.arms.index(study.treatment)]
    margin = float(study.analysis["margin"]) if measure.margin else None
    corrected: dict[str, Comparison | None] = {}
    for family in study.families:
        found: list[Comparison | None] = []
        for arm in family:
            control = values[study.arms.index(arm)]
            both = np.isfinite(treatment) & np.isfinite(control)
            able = 0 < both.sum() == len(study.shared_seeds(arm))
            found.append(compare(treatment[both], control[both], margin, len(family), measure.unit) if able else None)
        corrected |= zip(family, correct(found), strict=True)
    return corrected


def outcome(comparison: Comparison) -> Outcome:
    """Return the outcome of a comparison whose Holm values `paired.correct` has set, by rules fixed before any run.

    The first rule that applies decides:

    1. 3 paired seeds or fewer: described, never tested.
    2. Constant differences: there is no t test, and the outcome is "constant differences".
    3. Holm p < .05: higher or lower. If the equivalence test passes as well, the difference is there, and smaller than
       the margin.
    4. The equivalence test passes (its p after Holm < .05): equivalent within the margin.
    5. Everything else: not resolved. This includes an interval that excludes 0 on its own but not after Holm. It is
       never called "no difference".
    """
    c = comparison
    if c.n < MIN_PAIRS_TO_TEST:
        return "description only"
    if c.constant:
        return "constant differences"
    equivalent = c.tost_holm is not None and c.tost_holm < ALPHA
    if c.holm is not None and c.holm < ALPHA:
        if c.difference > 0:
            return "higher, within margin" if equivalent else "higher"
        return "lower, within margin" if equivalent else "lower"
    return "equivalent" if equivalent else "not resolved"


def bootstrap_interval(study: Study, arm: str) -> tuple[float, float] | None:
    """Return the two-level bootstrap interval of the treatment minus an arm in clean accuracy, in points.

    None below ten seeds that both finished.
    """
    seeds = study.shared_seeds(arm)
    if len(seeds) < MIN_SEEDS:
        return None
    runs = [study.records[name, seed] for name in (study.treatment, arm) for seed in seeds]
    outcomes = [unpack_bits(run["clean"]["correct"], run["clean"]["n"]) for run in runs if run["clean"]]
    treatment, control = np.array(outcomes, dtype=bool).reshape(2, len(seeds), -1)  # each (seed, image)
    return two_level_interval(treatment, control, np.random.default_rng(0))


def self_comparison(study: Study, endpoint: Endpoint) -> dict[str, Comparison]:
    """Compare every arm with itself (A/A): a significant difference would be a false alarm.

    The first half of an arm's finished seeds plays the treatment and the second half the control, paired in order, with
    Holm over the arms: the test that decides the verdicts, on real runs whose true difference is 0. Such pairs share no
    random stream. Returns arm -> comparison, of the arms with enough seeds for a test (4 pairs).
    """
    found, margin = {}, float(study.analysis["margin"]) if ENDPOINTS[endpoint].margin else None
    for arm, values in zip(study.arms, study.values(endpoint), strict=True):
        finished = values[np.isfinite(values)]
        half = len(finished) // 2
        if half >= MIN_PAIRS_TO_TEST:
            found[arm] = compare(finished[:half], finished[half : 2 * half], margin, len(study.arms))
    corrected = correct(list(found.values()))
    return {arm: pair for arm, pair in zip(found, corrected, strict=True) if pair}


class Survival(NamedTuple):
    """Whether a difference under the study's own attacks keeps its sign under AutoAttack standard.

    The differences are the treatment minus an arm on the same images, means over the seeds of both, in points.
    `suite`: under the study's own attacks at an Linf eps (in 1/255); `robust`: under AutoAttack.
    """

    arm: str
    eps: float
    seeds: int
    suite: float
    robust: float

    @property
    def kept(self) -> bool:
        """Whether the sign is the same."""
        return bool(np.sign(self.suite) == np.sign(self.robust))


def shares(rows: Sequence[AutoAttackRow], eps: float) -> dict[tuple[str, int], dict[int, Floats]]:
    """Return (arm, images) -> seed -> (3,) % of the images: correct, under the study's attacks, under AutoAttack."""
    found: dict[tuple[str, int], dict[int, Floats]] = {}
    for row in rows:
        if row["eps"] == eps:
            counts = np.array([row["clean"], row["suite"], row["robust"]], dtype=np.float64)
            found.setdefault((row["arm"], row["images"]), {})[row["seed"]] = 100 * counts / row["images"]
    return found


def survivals(study: Study) -> list[Survival]:
    """Return the difference from each other arm that AutoAttack met on the same images and at the same seeds."""
    found = []
    for eps in sorted({row["eps"] for row in study.autoattack}):
        by_arm = shares(study.autoattack, eps)
        for (arm, images), theirs in by_arm.items():
            ours = by_arm.get((study.treatment, images), {})
            if arm != study.treatment and (seeds := sorted(ours.keys() & theirs.keys())):
                _, suite, robust = np.mean([ours[seed] - theirs[seed] for seed in seeds], axis=0)
                found.append(Survival(arm, eps, len(seeds), float(suite), float(robust)))
    return found
