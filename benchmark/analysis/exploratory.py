"""Statistics of exploratory studies: many rows, few seeds, one reference row; nothing is confirmed by them."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from benchmark.analysis.paired import ALPHA, EXACT_DIGITS, Floats, PairedT


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Benjamini and Hochberg's adjusted p values, in the order given.

    As in `stats.holm`, None counts as 1 and stays None.

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

    The residuals of all rows estimate one spread, so that (rows - 1)(seeds - 1) degrees of freedom stand where a paired
    t test of one row has seeds - 1; the price is the assumption that rows spread alike. Least squares, so values may be
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
