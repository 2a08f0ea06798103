"""Statistics of a few paired seeds: pure functions on arrays of values, such as accuracies in percentage points.

The plan is fixed before any run. The paired t test over seeds decides, after Holm's correction over the
comparisons that the preset names; everything else is sensitivity or description. Sources: Holm 1979
(Scandinavian Journal of Statistics 6), Schuirmann 1987 (two one-sided tests), Welch 1947; the distributions
are SciPy's. Exploratory studies have their own, in `exploratory`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]

ALPHA = 0.05
POWER = 0.80
MIN_PAIRS_TO_TEST = 4  # pairs; with fewer a comparison is described and not tested
FLIPS = 2**16  # sign flips of the permutation test: every one up to 16 seeds, a seeded sample beyond
EXACT_DIGITS = 9  # points are rounded before they are compared, so that equal counts are equal numbers


class PairedT(NamedTuple):
    """Mean, sd and 95% interval of treatment - control, and two-sided p; None: undefined."""

    difference: float
    sd: float | None
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class Comparison:
    """Treatment against control over n paired seeds; values and differences in `unit`.

    `p`, `low`, `high` are the paired t test's; `exact` and `floor` the permutation test's; `welch` and `tost`
    the p of the Welch and the equivalence test; `detectable_sd` the smallest detectable difference in sd of
    the difference, at the level of Holm's first step over `family` comparisons; `holm` and `tost_holm` are p
    and tost after Holm, set by `correct`. None: the test is undefined (one seed, constant differences) or, of
    equivalence, no margin was named.
    """

    n: int
    treatment: float
    control: float
    difference: float
    wins: int
    sd: float | None
    low: float | None
    high: float | None
    p: float | None
    exact: float
    floor: float
    welch: float | None
    tost: float | None
    detectable_sd: float | None
    margin: float | None
    family: int
    unit: str = "points"
    holm: float | None = None
    tost_holm: float | None = None

    @property
    def constant(self) -> bool:
        """Whether two or more differences are all the same, so that no t test exists."""
        return self.n > 1 and self.p is None

    @property
    def bounded(self) -> bool:
        """Whether both means lie within the margin of 0 or of 100, where any two methods are equivalent."""
        if self.margin is None:
            return False
        return max(self.treatment, self.control) < self.margin or (
            min(self.treatment, self.control) > 100 - self.margin
        )

    @property
    def detectable(self) -> float | None:
        """Smallest detectable difference, taking the sd that was seen for the true one."""
        return None if self.detectable_sd is None or self.sd is None else self.detectable_sd * self.sd


def differences(treatment: Floats, control: Floats) -> Floats:
    """Return treatment - control, both (seed,), free of rounding noise.

    Raises:
        ValueError: the shapes differ, there is no seed, or a value is not finite.
    """
    if treatment.shape != control.shape or treatment.ndim != 1 or not len(treatment):
        raise ValueError(f"paired arrays need one shape (seed,), got {treatment.shape} and {control.shape}")
    difference = np.asarray(treatment - control, dtype=np.float64)
    if not np.isfinite(difference).all():
        raise ValueError("paired arrays hold a value that is not finite; leave missing seeds out of both")
    return np.round(difference, EXACT_DIGITS)


def paired_t(treatment: Floats, control: Floats) -> PairedT:
    """Two-sided paired t test of mean(treatment - control) = 0, both (seed,), with its 95% interval.

    One seed has no sd; constant differences have sd 0 and would give p = 0 or nan, so their p and interval
    are None.
    """
    difference = differences(treatment, control)
    mean = float(difference.mean())
    if len(difference) < 2:
        return PairedT(mean, None, None, None, None)
    if np.ptp(difference) == 0:
        return PairedT(mean, 0.0, None, None, None)
    test = stats.ttest_1samp(difference, 0.0)
    interval = test.confidence_interval(1 - ALPHA)
    return PairedT(mean, float(difference.std(ddof=1)), float(interval.low), float(interval.high), float(test.pvalue))


def exact_p(treatment: Floats, control: Floats) -> float:
    """Two-sided paired permutation p: the share of the 2^n sign flips whose |mean| reaches the observed;
    (seed,) both.

    Exact up to 16 seeds; beyond, a sample of 65,536 flips with a fixed seed.
    """
    difference = np.round(differences(treatment, control) * 10**EXACT_DIGITS)  # whole numbers, whose sums are exact
    observed = difference.sum()

    def total(first: Floats, second: Floats, axis: int) -> Floats:
        # Flips that tie with the observed become 0, far from where rounding could part them: ties stay ties.
        return np.asarray(np.round(((first - second).sum(axis=axis) - observed) / 100))

    if len(difference) == 1:  # SciPy wants two; both flips reach the observed
        return 1.0
    pair = (difference, np.zeros_like(difference))
    test = stats.permutation_test(
        pair, total, permutation_type="samples", n_resamples=FLIPS, batch=4096, rng=0, vectorized=True
    )
    return float(test.pvalue)


def exact_floor(n: int) -> float:
    """Smallest p of `exact_p` with n seeds: 2 / 2^n, or 2 / (flips + 1) where flips are sampled."""
    return 2 / 2**n if 2**n <= FLIPS else 2 / (FLIPS + 1)


def welch_p(treatment: Floats, control: Floats) -> float | None:
    """Two-sided p of Welch's unpaired t test, both (seed,); None if both are constant or have one seed."""
    if min(len(treatment), len(control)) < 2:
        return None
    first, second = np.round(treatment, EXACT_DIGITS), np.round(control, EXACT_DIGITS)
    if np.ptp(first) == np.ptp(second) == 0:
        return None
    # From means and sds: on the data itself SciPy warns where one of the arms is constant.
    test = stats.ttest_ind_from_stats(
        *(first.mean(), first.std(ddof=1), len(first)),
        *(second.mean(), second.std(ddof=1), len(second)),
        equal_var=False,
    )
    return float(test.pvalue)


def tost_p(treatment: Floats, control: Floats, margin: float) -> float | None:
    """P of equivalence: the larger p of two one-sided paired t tests of |mean difference| >= margin (points).

    Small p: equivalent within the margin. Both arrays (seed,); None for one seed or constant differences.
    """
    difference = differences(treatment, control)
    if len(difference) < 2 or np.ptp(difference) == 0:
        return None
    above = stats.ttest_1samp(difference, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(difference, margin, alternative="less").pvalue
    return float(max(above, below))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's adjusted p values, in the order given: sorted p times (m - rank), running maximum, at
    most 1.

    m counts every named comparison: one that could not be tested (None) counts as p = 1 and stays None.
    """
    p = np.array([1.0 if value is None else value for value in p_values])
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return [None if raw is None else float(value) for raw, value in zip(p_values, adjusted, strict=True)]


@cache
def detectable_difference(n: int, family: int = 1, freedom: int | None = None) -> float | None:
    """Smallest true difference, in sd of the difference, that a paired t test sees with 80% power; n seeds.

    Solves P(T > t) = 0.8 for T noncentral t (n - 1 degrees, or those of a shared spread, noncentrality d sqrt(n))
    and t the two-sided critical value at 0.05 / family; the upper tail alone, as the lower one adds nothing and is
    nan numerically. None: no degree of freedom.
    """
    freedom = n - 1 if freedom is None else freedom
    if freedom < 1:
        return None
    critical = float(stats.t.ppf(1 - ALPHA / family / 2, freedom))

    def shortfall(d: float) -> float:
        return float(stats.nct.sf(critical, freedom, d * np.sqrt(n))) - POWER

    return float(optimize.brentq(shortfall, 0.0, 10 * critical / np.sqrt(n)))


def compare(treatment: Floats, control: Floats, margin: float | None, family: int, unit: str = "points") -> Comparison:
    """Run every test of one comparison, before Holm.

    Args:
        treatment: (seed,) in `unit`.
        control: (seed,), the same seeds in the same order.
        margin: equivalence margin in `unit`; None tests no equivalence.
        family: number of comparisons that the preset names, which sets the level of the detectable difference.
        unit: of the values, for the report.
    """
    t = paired_t(treatment, control)
    difference = differences(treatment, control)
    return Comparison(
        n=len(difference),
        treatment=float(treatment.mean()),
        control=float(control.mean()),
        wins=int((difference > 0).sum()),
        **t._asdict(),
        exact=exact_p(treatment, control),
        floor=exact_floor(len(difference)),
        welch=welch_p(treatment, control),
        tost=None if margin is None else tost_p(treatment, control, margin),
        detectable_sd=detectable_difference(len(difference), family),
        margin=margin,
        family=family,
        unit=unit,
    )


def correct(comparisons: Sequence[Comparison | None]) -> list[Comparison | None]:
    """Set `holm` and `tost_holm` over one endpoint's named comparisons; what cannot be tested counts as p = 1."""
    able = [c if c is not None and c.n >= MIN_PAIRS_TO_TEST else None for c in comparisons]  # others are never tested
    p = holm([None if c is None else c.p for c in able])
    # Where both arms are near 0 or 100 equivalence is certain from the start and carries nothing.
    tost = holm([None if c is None or c.bounded else c.tost for c in able])
    return [
        None if c is None else replace(c, holm=a, tost_holm=b) for c, a, b in zip(comparisons, p, tost, strict=True)
    ]
