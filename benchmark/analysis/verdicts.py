"""The outcome of one comparison, by rules that were fixed before any run.

The first rule that applies decides:

1. 3 paired seeds or fewer: described, never tested.
2. Constant differences: there is no t test, and the outcome is "constant differences".
3. Holm p < .05: higher or lower. If the equivalence test passes as well, the difference is there, and smaller than the
   margin.
4. The equivalence test passes (its p after Holm < .05): equivalent within the margin.
5. Everything else: not resolved. This includes an interval that excludes 0 on its own but not after Holm. It is never
   called "no difference".
"""

from typing import Literal

from benchmark.analysis.paired import ALPHA, MIN_PAIRS_TO_TEST, Comparison

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


def outcome(comparison: Comparison) -> Outcome:
    """Return the outcome by the rules above; needs `paired.correct` to have set the Holm values."""
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
