"""What is measured of each arm and may be tested: the names, units and directions of the endpoints."""

from typing import NamedTuple

from benchmark.settings.preset import Endpoint


class Measure(NamedTuple):
    """An endpoint: its name in the report, its unit, whether more of it is better, whether attacks take part.

    `margin`: whether the margin of equivalence, in points of accuracy, applies. Not to the area over eps, whose size
    depends on the largest eps.
    """

    title: str
    unit: str
    more_is_better: bool
    attacked: bool
    margin: bool


POINTS = "points"
ENDPOINTS: dict[Endpoint, Measure] = {
    "clean": Measure("accuracy on the {split} images after the last epoch", POINTS, True, False, True),
    "area": Measure(
        "area under the curve of accuracy under these attacks, Linf eps from 0 to {largest:g}/255",
        POINTS,
        True,
        True,
        False,
    ),
    "eps": Measure("accuracy under these attacks at Linf eps = {eps:g}/255", POINTS, True, True, True),
    "learning": Measure("area under the learning curve", POINTS, True, False, True),
    "images": Measure("training images until {level:g}% accuracy", "thousand images", False, False, False),
    "seconds": Measure("seconds of training until {level:g}% accuracy", "seconds", False, False, False),
}
REACHED: tuple[Endpoint, ...] = ("images", "seconds")  # undefined for a run that never reaches the accuracy
