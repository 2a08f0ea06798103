"""The outcome of a comparison: each rule by differences that meet it and no rule before it."""

import numpy as np
import pytest

from benchmark.analysis.comparisons import outcome
from benchmark.analysis.paired import Comparison, compare, correct


def compared(*differences: float, base: float = 80.0, family: int = 1) -> Comparison:
    """One comparison with these differences after Holm, in a family of which the others were not run."""
    control = base + 0.3 * np.arange(len(differences), dtype=np.float64)
    found = correct([compare(control + np.array(differences), control, 0.5, family), *[None] * (family - 1)])[0]
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ((1.0, 1.1, 0.9), "description only"),
        ((1.0, 1.0, 1.0, 1.0, 1.0), "constant differences"),
        ((0.0, 0.0, 0.0, 0.0), "constant differences"),
        ((0.9, 1.0, 1.1, 1.2, 0.8), "higher"),
        ((-0.9, -1.0, -1.1, -1.2, -0.8), "lower"),
        ((0.1, 0.12, 0.11, 0.09, 0.1), "higher, within margin"),
        ((-0.1, -0.12, -0.11, -0.09, -0.1), "lower, within margin"),
        ((0.05, -0.06, 0.02, -0.03, 0.01), "equivalent"),
        ((1.0, -1.2, 0.3, -0.4, 0.6), "not resolved"),
    ],
)
def test_each_rule(differences: tuple[float, ...], expected: str) -> None:
    assert outcome(compared(*differences)) == expected


def test_an_interval_that_excludes_0_alone_is_lost_to_holm() -> None:
    differences = (0.2, 0.9, 0.7, 1.2, 0.1)
    assert outcome(compared(*differences)) == "higher"
    found = compared(*differences, family=4)
    assert found.low is not None
    assert found.low > 0
    assert outcome(found) == "not resolved"


@pytest.mark.parametrize("base", [0.0, 99.8])
def test_no_equivalence_at_the_end_of_the_scale(base: float) -> None:
    found = correct([compare(base + np.array([0.1, 0.0, 0.0, 0.1]), np.full(4, base), 0.5, 1)])[0]
    assert found is not None
    assert found.bounded
    assert outcome(found) == "not resolved"


def test_ties_are_no_wins() -> None:
    found = compared(0.0, 1.0, 1.1, 0.0, 0.9)
    assert found.wins == 3
