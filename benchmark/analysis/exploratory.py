"""Statistics of exploratory studies: many rows, few seeds, one reference row. They confirm nothing."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmark.analysis.paired import ALPHA, EXACT_DIGITS, Floats, PairedT, paired_t
from benchmark.analysis.study import Study
from benchmark.settings.values import Endpoint

# Settings that an ablation decides, and how the names of their rows begin.
DECIDED = {"layers": "layers_", "noise": "noise_", "temperature": "temperature_"}
DECIDE: tuple[Endpoint, Endpoint] = ("clean", "area")  # the endpoints of the rule, see `decide`


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Benjamini and Hochberg's adjusted p values, in the order given.

    As in `paired.holm`, None counts as 1 and stays None.

    Source: Benjamini and Hochberg 1995, J. R. Statist. Soc. B 57. Over many studies, the share of false
    findings among the rows with an adjusted p below 0.05 is at most one in twenty on average, a study without findings
    counting as 0.
    """
    if not p_values:
        return []
    adjusted = stats.false_discovery_control([1.0 if p is None else p for p in p_values], method="bh")
    return [None if raw is None else float(value) for raw, value in zip(p_values, adjusted, strict=True)]


def block_t(values: Floats, reference: int) -> tuple[list[PairedT | None], int]:
    """Compare each row of a table with its reference row under the additive model value = row + seed + noise.

    The residuals of all rows estimate one spread, which has (rows - 1)(seeds - 1) degrees of freedom, where a paired t
    test of one row has seeds - 1; the price is the assumption that rows spread alike. Least squares, so values may be
    missing. Source: randomised complete block design, e.g. Montgomery, Design and Analysis of Experiments, chapter 4.

    Args:
        values: (row, seed) in points; nan where a run is missing.
        reference: index of the row that the others are compared with.

    Returns:
        For each row its difference from the reference (that of the means where nothing is missing), the sd of a
        difference of one seed, 95% interval and p; None for the reference and for rows that share no seed with it,
        directly or over other rows; sd and tests None without a spread. And the degrees of freedom.
    """
    rows, seeds = values.shape
    row, seed = np.nonzero(np.isfinite(values))
    design = np.concatenate([np.eye(rows)[row], np.eye(seeds)[seed]], axis=1)  # (values, rows + seeds)
    inverse = np.linalg.pinv(design.T @ design)
    observed = values[row, seed]
    effects = inverse @ design.T @ observed
    freedom = len(row) - int(np.linalg.matrix_rank(design))
    residual = np.round(observed - design @ effects, EXACT_DIGITS)
    spread = float(np.sqrt((residual**2).sum() / freedom)) if freedom else 0.0
    found: list[PairedT | None] = []
    for i in range(rows):
        contrast = np.eye(rows + seeds)[i] - np.eye(rows + seeds)[reference]
        if i == reference or not np.allclose(contrast @ inverse @ design.T @ design, contrast):
            found.append(None)
            continue
        difference = round(float(contrast @ effects), EXACT_DIGITS)
        if not spread:
            found.append(PairedT(difference, None, None, None, None))
            continue
        error = spread * float(np.sqrt(contrast @ inverse @ contrast))
        half = float(stats.t.ppf(1 - ALPHA / 2, freedom)) * error
        p = 2 * float(stats.t.sf(abs(difference) / error, freedom))
        found.append(PairedT(difference, spread * float(np.sqrt(2)), difference - half, difference + half, p))
    return found, freedom


class Contrast(NamedTuple):
    """A row of an exploratory study minus its default, in points; no verdict is drawn.

    `t` is that of the additive model of all rows and seeds (`block_t`), `freedom` its degrees of freedom; `bh` is its p
    after Benjamini and Hochberg over all rows; `paired` the p of this row's own paired t test over the n seeds that
    both finished.
    """

    n: int
    t: PairedT
    bh: float | None
    freedom: int
    paired: float | None

    @property
    def sure(self) -> bool:
        """Whether p after Benjamini and Hochberg is below .05."""
        return self.bh is not None and self.bh < ALPHA


def contrasts(study: Study, endpoint: Endpoint) -> dict[str, Contrast | None]:
    """Compare each named arm with the treatment, as arm - treatment, in the additive model of all rows and seeds.

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


class Decision(NamedTuple):
    """The decision of an ablation on one setting: the row that replaces the default, None where the default stays.

    `met`: the rows that met the rule, with their contrasts in accuracy; `rows`: the number of rows of this setting.
    """

    setting: str
    row: str | None
    met: dict[str, Contrast]
    rows: int


def decide(study: Study) -> list[Decision]:
    """Apply the rule of ablations (see `settings.variants`): one decision for each setting that has rows.

    A row meets it whose accuracy is higher than the default's and whose robust area is not lower, each at a p below .05
    after Benjamini and Hochberg; of several, the one with the highest accuracy replaces the default.
    """
    clean, area = (contrasts(study, endpoint) for endpoint in DECIDE)

    def differs(contrast: Contrast | None, sign: int) -> bool:
        return contrast is not None and contrast.sure and sign * contrast.t.difference > 0

    decisions = []
    for setting, prefix in DECIDED.items():
        rows = [arm for arm in study.against if arm.startswith(prefix)]
        met = {arm: row for arm in rows if differs(row := clean[arm], 1) and row and not differs(area[arm], -1)}
        best = max(met, key=lambda arm: met[arm].t.difference, default=None)
        decisions += [Decision(setting, best, met, len(rows))] if rows else []
    return decisions
