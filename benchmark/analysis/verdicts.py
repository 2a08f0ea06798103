"""Verdicts: the words for one comparison, chosen by rules that were fixed before any run.

The first rule that applies decides:

1. 3 paired seeds or fewer: described, never tested.
2. constant differences: said so; the exact test alone is quoted.
3. Holm p < .05: higher or lower. If the equivalence test passes as well, both are said: there is a
   difference, and it is smaller than the margin.
4. the equivalence test passes (its p after Holm < .05): equivalent within the margin.
5. everything else: not resolved, with the difference that such a study could have seen. This includes an
   interval that excludes 0 on its own but not after Holm. It is never called "no difference".
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
    """Return the verdict's kind, by the rules above; needs `correct` to have set the Holm values."""
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


def verdict(comparison: Comparison) -> str:
    """Say what one comparison carries, in a sentence whose subject is the treatment ("is ...")."""
    c = comparison
    kind = outcome(c)
    if kind == "description only":
        return f"{direction(c)}, mean {amount(c)}; {count(c.n, 'paired seed')} cannot carry a test: description only"
    if kind == "constant differences":
        same = f", by {amount(c)} in each" if c.difference else ""
        return f"{direction(c)}{same}: differences are constant, no t test; {exact(c)}"
    if kind == "not resolved":
        return unresolved(c)
    if kind == "equivalent":
        return (
            f"equivalent within {c.margin:g} points (two one-sided tests, Holm p {p_equals(c.tost_holm)}), "
            f"mean {interval(c)}; {exact(c)}"
        )
    text = f"{direction(c)}, mean {interval(c)}, Holm p {p_equals(c.holm)}; {exact(c)}"
    if kind.endswith("within margin"):
        text += f"; also equivalent within {c.margin:g} points: there is a difference, below the margin"
    return text


def unresolved(comparison: Comparison) -> str:
    """Say why nothing was decided, and what could have been seen."""
    c = comparison
    text = f"not resolved: mean {interval(c)}"
    if c.low is not None and c.high is not None and (c.low > 0 or c.high < 0):
        text += f" excludes 0 on its own, but not after Holm over {c.family} comparisons (p {p_equals(c.holm)})"
    else:
        text += f" includes 0 (Holm p {p_equals(c.holm)})"
    text += f"; differences below MDE = {c.detectable:.2f} {c.unit} cannot be seen with {c.n} seeds"
    if c.bounded:
        text += f"; both arms lie within {c.margin:g} points of the scale's end, where arms cannot be told apart"
    return text


def direction(comparison: Comparison) -> str:
    """Say in how many seeds the treatment is higher or lower, following the mean: "higher in 5/5 seeds"."""
    c = comparison
    ties = c.n - c.wins - c.losses
    if ties == c.n:
        return f"equal in {c.n}/{c.n} seeds"
    text = f"lower in {c.losses}/{c.n} seeds" if c.difference < 0 else f"higher in {c.wins}/{c.n} seeds"
    return text + (f" ({count(ties, 'tie')})" if ties else "")


def interval(comparison: Comparison) -> str:
    """Write the mean difference with its unit and its 95% interval."""
    c = comparison
    return f"{amount(c)} [95% CI {signed(c.low)} to {signed(c.high)}]"


def exact(comparison: Comparison) -> str:
    """Write the exact test's p with its floor."""
    return f"exact p {p_equals(comparison.exact)} (the exact test cannot go below {p_text(comparison.floor)})"


def amount(comparison: Comparison) -> str:
    """Write the mean difference: "+0.52 points"."""
    return f"{signed(comparison.difference)} {comparison.unit}"


def signed(value: float | None) -> str:
    """Write a difference with its sign and two digits, never "-0.00"; a dash for None."""
    if value is None:
        return "-"
    return f"{round(value, 2) + 0.0:+.2f}" if round(value, 2) else "0.00"


def p_text(p: float | None) -> str:
    """Write a p value as ".0625", "< .0001", "1" or, for None, a dash."""
    if p is None:
        return "-"
    if p < 0.0001:
        return "< .0001"
    return f"{p:.4f}".rstrip("0").rstrip(".").removeprefix("0")


def p_equals(p: float | None) -> str:
    """Write the right-hand side of "p": "= .0625" or "< .0001"."""
    return p_text(p) if p is not None and p < 0.0001 else f"= {p_text(p)}"


def count(n: int, noun: str) -> str:
    """Write a number with its noun: "1 seed", "2 seeds"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
