"""What the speed command finds: lines of a table, each a ratio with its target, and whether it is met."""

from collections.abc import Sequence
from statistics import median
from typing import Literal, NamedTuple, TypedDict

# Of the speed command. What needs a checkpoint comes first, so that a wrong one is named at once.
PARTS = ("attacks", "evaluation", "gpu", "training", "common", "sba", "processes")
Verdict = Literal["met", "missed", "not judged here", ""]


class Target(NamedTuple):
    """A bound of a ratio; `text` says it."""

    bound: float
    at_least: bool

    @property
    def text(self) -> str:
        """The target in words."""
        return f"at {'least' if self.at_least else 'most'} {self.bound:.2f}"

    def is_met(self, ratio: float) -> bool:
        """Say whether a ratio is on the right side of the bound."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound


class Line(TypedDict):
    """One line of the table, plain JSON values.

    Attributes:
        part: what it belongs to, such as "training loop".
        what: what is compared, in words.
        ratio: the median of the rounds; None where it was not measured here.
        predicted: the ratio that FLOPs predict, None where nothing is predicted.
        judged: median, least and greatest of the rounds' ratio over prediction (the ratio itself where there is none);
            empty where nothing was measured.
        target: in words, empty without one.
        verdict: of the median in `judged`.
        figures: absolute figures behind the ratio, each with its unit in its name.
    """

    part: str
    what: str
    ratio: float | None
    predicted: float | None
    judged: list[float]
    target: str
    verdict: Verdict
    figures: dict[str, float]


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
    """Return a line.

    Args:
        part: see `Line`.
        what: see `Line`.
        ratios: one of each round; empty where nothing was measured here.
        figures: see `Line`.
        predicted: what FLOPs predict for each round, if they do.
        target: of ratio over prediction.
        here: whether the target is meant for this device.
    """
    expected = predicted or [1.0] * len(ratios)
    judged = [ratio / share for ratio, share in zip(ratios, expected, strict=True)]
    verdict: Verdict = ""
    if target is not None:
        met = target.is_met(median(judged)) if judged else False
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
