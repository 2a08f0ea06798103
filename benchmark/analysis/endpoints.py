"""Endpoints, the quantities of a run that may be tested: `ENDPOINTS`, one row each, with its function."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmark.records.outcomes import Floats, learning_curve
from benchmark.records.schema import Record
from benchmark.settings.values import Endpoint

if TYPE_CHECKING:
    from benchmark.analysis.study import Study

POINTS = "points"


# Placeholders in names, which each study fills in, with an example.
PLACEHOLDERS = {"split": "test", "eps": 1.0, "level": 70.0, "largest": 8.0}


class Measure(NamedTuple):
    """An endpoint. In title and short name, {split}, {eps}, {level} and {largest}, the largest eps, are the study's."""

    title: str  # its name in a report
    unit: str  # of its values, which reports print with two decimals
    values: "Callable[[Study], Floats]"  # study -> (arm, seed), nan where a run has no value; see `Study.each`
    short: str = ""  # its name above a column or a panel; without one, the title
    more_is_better: bool = True
    attacked: bool = False  # whether attacks take part
    # Whether the margin of equivalence, in points of accuracy, applies; not to the area over eps, whose size depends on
    # the largest eps.
    margin: bool = False

    @property
    def problem(self) -> str:
        """The reason why its names cannot be filled in; "" if they can."""
        for text in (self.title, self.short):
            try:
                text.format(**PLACEHOLDERS)
            except (LookupError, ValueError, AttributeError, TypeError):
                allowed = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
                return f"its name {text!r} in ENDPOINTS cannot be filled in; allowed in braces: {allowed}"
        return ""


def area_under_curve(eps: Floats, accuracy: Floats) -> Floats:
    """Return the mean accuracy over eps from 0 to the largest: the trapezoid rule in eps, divided by the largest eps.

    Args:
        eps: (eps,), rising from 0, in any unit (it cancels).
        accuracy: (..., eps) in points; nan gives nan.

    Returns:
        (...), in points: 100 is robust everywhere; the value depends on the grid, so compare within one grid
        only.

    Raises:
        ValueError: eps does not rise from 0.
    """
    if len(eps) < 2 or eps[0] != 0 or (np.diff(eps) <= 0).any():
        raise ValueError(f"eps must rise from 0, got {eps.tolist()}")
    return np.asarray(np.trapezoid(accuracy, eps, axis=-1) / eps[-1], dtype=np.float64)


def median_minimal_eps(eps: Floats, accuracy: Floats) -> Floats:
    """Return the median, over the images that are right without attack, of the smallest eps that fools the network.

    It is where the curve crosses half of its value at 0, linearly between the two eps around it.

    Args:
        eps: (eps,), rising from 0.
        accuracy: (..., eps) in points; nan gives nan.

    Returns:
        (...), in the unit of eps; infinite where more than half of those images are still right at the largest eps.
    """
    curves = np.asarray(accuracy, dtype=np.float64).reshape(-1, len(eps))
    found = np.full(len(curves), np.nan)
    for row, curve in enumerate(curves):
        if np.isfinite(curve).all():
            crossing = first_crossing(eps, -curve, -curve[0] / 2)
            found[row] = np.inf if np.isnan(crossing) else crossing
    return found.reshape(np.shape(accuracy)[:-1])


def learning_area(record: Record) -> float:
    """Return the mean accuracy over the training, in points: the area under the learning curve over its length."""
    images, _, accuracy = learning_curve(record)
    return float(np.trapezoid(accuracy, images) / images[-1])


def reached(record: Record, level: float) -> bool:
    """Return whether the accuracy was at least `level` points after some epoch."""
    return bool((learning_curve(record)[2] >= level).any())


def images_to(record: Record, level: float) -> float:
    """Return the training images, in thousands, until the learning curve first reaches `level` points; nan if never."""
    images, _, accuracy = learning_curve(record)
    return first_crossing(images, accuracy, level)


def seconds_to(record: Record, level: float) -> float:
    """Return the seconds of training until the learning curve first reaches `level` points; nan if never."""
    _, seconds, accuracy = learning_curve(record)
    return first_crossing(seconds, accuracy, level)


def first_crossing(x: Floats, y: Floats, level: float) -> float:
    """Return where the line through the points (x, y), both (point,), first reaches `level`; nan if never.

    >>> first_crossing(np.array([0.0, 1.0, 2.0]), np.array([10.0, 30.0, 20.0]), 15.0)
    0.25
    """
    above = np.flatnonzero(y >= level)
    if not len(above):
        return float("nan")
    at = int(above[0])
    if at == 0:
        return float(x[0])
    share = (level - y[at - 1]) / (y[at] - y[at - 1])
    return float(x[at - 1] + share * (x[at] - x[at - 1]))


def _at_eps(study: "Study") -> Floats:
    return study.robust[:, :, int(np.flatnonzero(study.eps == study.analysis["eps"])[0])]


def _to_level(measure: Callable[[Record, float], float]) -> "Callable[[Study], Floats]":
    return lambda study: study.each(lambda record: measure(record, float(study.analysis["level"])))


ENDPOINTS: dict[Endpoint, Measure] = {
    "clean": Measure(
        "accuracy on the {split} images after the last epoch",
        POINTS,
        lambda study: study.clean,
        "accuracy",
        margin=True,
    ),
    "area": Measure(
        "area under the curve of accuracy under these attacks, Linf eps from 0 to {largest:g}/255",
        POINTS,
        lambda study: area_under_curve(study.eps, study.robust),
        "robust area",
        attacked=True,
    ),
    "eps": Measure(
        "accuracy under these attacks at Linf eps = {eps:g}/255",
        POINTS,
        _at_eps,
        "accuracy at {eps:g}/255",
        attacked=True,
        margin=True,
    ),
    "learning": Measure(
        "area under the learning curve",
        POINTS,
        lambda study: study.each(learning_area),
        "learning curve",
        margin=True,
    ),
    "images": Measure(
        "training images until {level:g}% accuracy",
        "thousand images",
        _to_level(images_to),
        more_is_better=False,
    ),
    "seconds": Measure(
        "seconds of training until {level:g}% accuracy",
        "seconds",
        _to_level(seconds_to),
        more_is_better=False,
    ),
}
