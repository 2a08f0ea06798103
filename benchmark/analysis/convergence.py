"""How fast a run learned, from its record: the learning curve, its area, and what an accuracy took.

The learning curve is the accuracy on the evaluated images after each epoch, linear in between, and starts from guessing
(100 / classes) at 0 images. Its area is the mean accuracy over the training.
"""

import numpy as np

from benchmark.analysis.paired import Floats
from benchmark.records.schema import Record


def learning_curve(record: Record) -> tuple[Floats, Floats, Floats]:
    """Return images trained on (in thousands), seconds and accuracy (in points), each (epoch + 1,).

    The first point is before training. Whole batches count; an epoch that was cut short says how many images it had.
    """
    batch = record["settings"]["recipe"]["batch_size"]
    whole = record["data"]["train_images"] // batch * batch
    images = [epoch.get("images", whole) for epoch in record["epochs"]]
    seconds = [epoch["seconds"] for epoch in record["epochs"]]
    accuracy = [100.0 * epoch["accuracy"] for epoch in record["epochs"]]
    guessing = 100.0 / record["data"]["classes"]
    return np.cumsum([0.0, *images]) / 1000, np.cumsum([0.0, *seconds]), np.array([guessing, *accuracy])


def learning_area(record: Record) -> float:
    """Return the area under the learning curve over its length: the mean accuracy over the training, in points."""
    images, _, accuracy = learning_curve(record)
    return float(np.trapezoid(accuracy, images) / images[-1])


def reached(record: Record, level: float) -> bool:
    """Say whether the accuracy was at least `level` points after some epoch."""
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
