"""What a curve of accuracy over eps says in one number."""

import numpy as np

from benchmark.analysis.paired import Floats


def area_under_curve(eps: Floats, accuracy: Floats) -> Floats:
    """Mean accuracy over eps from 0 to the largest: the trapezoid rule in eps, divided by the largest eps.

    Args:
        eps: (eps,), rising from 0, in any unit (it cancels).
        accuracy: (..., eps) in points; nan gives nan.

    Returns:
        (...), in points: 100 is robust everywhere; the value depends on the grid, so compare within one grid
        only.
    """
    if len(eps) < 2 or eps[0] != 0 or (np.diff(eps) <= 0).any():
        raise ValueError(f"eps must rise from 0, got {eps.tolist()}")
    return np.asarray(np.trapezoid(accuracy, eps, axis=-1) / eps[-1], dtype=np.float64)


def median_minimal_eps(eps: Floats, accuracy: Floats) -> Floats:
    """Median over the images that are right without attack of the smallest eps that fools the network.

    It is where the curve crosses half of its value at 0, linearly between the two eps around it.

    Args:
        eps: (eps,), rising from 0.
        accuracy: (..., eps) in points; nan gives nan.

    Returns:
        (...), in the unit of eps; infinite where more than half of those images stand at the largest eps.
    """
    curves = np.asarray(accuracy, dtype=np.float64).reshape(-1, len(eps))
    found = np.full(len(curves), np.nan)
    for row, curve in enumerate(curves):
        if np.isfinite(curve).all():
            half = curve[0] / 2
            below = np.flatnonzero(curve <= half)
            at = int(below[0]) if len(below) else 0
            found[row] = np.inf if not len(below) else 0.0 if at == 0 else _crossing(eps, curve, at, half)
    return found.reshape(np.shape(accuracy)[:-1])


def _crossing(eps: Floats, curve: Floats, at: int, level: float) -> float:
    """Return where the line from point at - 1 down to point `at` has the value `level`."""
    share = (curve[at - 1] - level) / (curve[at - 1] - curve[at])
    return float(eps[at - 1] + share * (eps[at] - eps[at - 1]))
