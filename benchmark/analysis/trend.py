"""The treatment's gain over the number of training images: studies that differ in nothing else, and a fitted trend.

Exploratory: the sizes are doses, the response is the gain over one arm, and a straight line against the logarithm of
the size is fitted for each seed by itself. The slopes of the seeds are then tested like any difference (`paired_t`), so
that neither the shared seeds nor a spread that changes with the size matters.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmark.analysis.paired import Floats, PairedT, exact_p, paired_t
from benchmark.analysis.study import Study
from benchmark.settings.values import Endpoint

MIN_SIZES = 3
SAME_STEPS = 0.02  # numbers of training steps that differ by a smaller share count as equal


class Gain(NamedTuple):
    """The treatment minus an arm at one number of training images: each seed's, in points, and their paired t test."""

    study: Study
    images: int
    each: Floats
    test: PairedT


class Trend(NamedTuple):
    """The gains at rising sizes over the seeds that all of them finished, and the slope in points a doubling.

    `slopes`: (seed,), of least-squares lines of the gain against log2 of the images. `exact`: p of the exact test.
    """

    arm: str
    seeds: tuple[int, ...]
    gains: tuple[Gain, ...]
    slopes: Floats
    slope: PairedT
    exact: float


def _images(study: Study) -> int:
    return study.any_record["data"]["train_images"]


def _steps(study: Study) -> int:
    recipe = study.any_record["settings"]["recipe"]
    return int(_images(study) // recipe["batch_size"] * recipe["epochs"])


def _alike(study: Study) -> str:
    """Return a key that is equal for studies that differ in training images, epochs, arms and checked seeds alone."""
    record = study.any_record
    free = {"recipe": {"epochs"}, "data": {"train_images"}, "evaluation": {"checks"}}
    settings = {
        part: {key: value for key, value in values.items() if key not in free[part]} if part in free else values
        for part, values in record["settings"].items()
        if part != "arm"
    }
    data = [record["data"]["name"], record["data"]["synthetic"]]
    return json.dumps([data, settings, study.treatment, study.arm_settings(study.treatment)], sort_keys=True)


def doses(studies: Sequence[Study]) -> list[list[Study]]:
    """Return the groups of at least three studies of different sizes and equal steps, each by rising size."""
    groups: list[list[Study]] = []
    for study in sorted(studies, key=lambda s: (_images(s), s.preset)):
        for group in groups:
            same = abs(_steps(study) / _steps(group[0]) - 1) <= SAME_STEPS
            if same and _alike(study) == _alike(group[0]) and _images(study) > _images(group[-1]):
                group.append(study)
                break
        else:
            groups.append([study])
    return [group for group in groups if len(group) >= MIN_SIZES]


def longer(group: Sequence[Study], studies: Sequence[Study]) -> list[Study]:
    """Return the studies that are like those of a group, but train for another number of steps."""
    steps = _steps(group[0])
    others = [study for study in studies if study not in group and _alike(study) == _alike(group[0])]
    return [study for study in others if abs(_steps(study) / steps - 1) > SAME_STEPS]


def gain(study: Study, arm: str, endpoint: Endpoint, seeds: Sequence[int]) -> Gain:
    """Return the treatment minus an arm over some seeds, which both finished."""
    each = study.difference(endpoint, arm)[[study.seeds.index(seed) for seed in seeds]]
    return Gain(study, _images(study), each, paired_t(each, np.zeros_like(each)))


def trends(group: Sequence[Study], endpoint: Endpoint) -> list[Trend]:
    """Return the trend of the gain over each arm that every size compared and finished with two seeds or more."""
    found = []
    for arm in group[0].against:
        if any(arm not in s.against or s.arm_settings(arm) != group[0].arm_settings(arm) for s in group):
            continue
        seeds = sorted(set.intersection(*(set(study.shared_seeds(arm)) for study in group)))
        if len(seeds) < 2:
            continue
        gains = tuple(gain(study, arm, endpoint, seeds) for study in group)
        doublings = np.log2([of.images for of in gains])
        slopes = np.polyfit(doublings, np.array([of.each for of in gains]), 1)[0]  # (seed,)
        zeros = np.zeros_like(slopes)
        slope, exact = paired_t(slopes, zeros), exact_p(slopes, zeros)
        found.append(Trend(arm, tuple(seeds), gains, slopes, slope, exact))
    return found
