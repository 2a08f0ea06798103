"""Lines of the speed command's table: a ratio, its target, and whether the target is met."""

from collections.abc import Sequence
from statistics import median
from typing import Literal, NamedTuple, TypedDict

# Of the speed command. Those that need a checkpoint come first, so that a wrong one is reported at once.
PARTS = ("attacks", "evaluation", "gpu", "training", "common", "sba", "processes")
Verdict = Literal["met", "missed", "not judged here", ""]


class Target(NamedTuple):
    """A bound of a ratio."""

    bound: float
    at_least: bool

    @property
    def text(self) -> str:
        """The bound in words, as "at most 1.10"."""
        return f"at {'least' if self.at_least else 'most'} {self.bound:.2f}"

    def is_met(self, ratio: float) -> bool:
        """Return whether a ratio meets the bound."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound


class Line(TypedDict):
    """One line of the table, plain JSON values; a part is a heading of related lines, such as "training loop"."""

    part: str
    what: str  # the comparison, in words
    ratio: float | None  # the median of the rounds; None if not measured here
    predicted: float | None  # the ratio that FLOPs predict
    judged: list[float]  # median, minimum and maximum over the rounds of ratio / predicted; empty if not measured here
    target: str  # in words, empty without one
    verdict: Verdict  # of the median in `judged`
    figures: dict[str, float]  # the absolute values behind the ratio; each name ends in its unit


def make_line(
    part: str,
    what: str,
    ratios: Sequence[float],
    figures: dict[str, float],
    *,
    predicted: Sequence[float] = (),
    target: Target | None = None,
    here: bool = True,
) -> Line:
    """Return a line from the ratio and, if any, the predicted ratio of each round; see `Line`.

    The target is that of ratio / predicted. Nothing is judged without a ratio, or where it does not apply (`here`).
    """
    judged = [ratio / share for ratio, share in zip(ratios, predicted or [1.0] * len(ratios), strict=True)]
    verdict: Verdict = ""
    if target is not None:
        met = bool(judged) and target.is_met(median(judged))
        verdict = "not judged here" if not (here and judged) else "met" if met else "missed"
    return Line(
        part=part,
        what=what,
        ratio=median(ratios) if ratios else None,
        predicted=median(predicted) if predicted else None,
        judged=[median(judged), min(judged), max(judged)] if judged else [],
        target=target.text if target else "",
        verdict=verdict,
        figures=figures,
    )
