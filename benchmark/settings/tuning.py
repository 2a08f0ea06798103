"""The search of a tuning: the same number of quasi-random trials for every method.

As the external tuning of AlgoPerf (Dahl et al., arXiv:2306.07179): the search space is declared beforehand, the points
are quasi-random, and every competitor has the same number of them. Learning rate and weight decay take the same
values in the trials of every arm; the settings of its method are an arm's own.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.runtime.errors import UsageError
from benchmark.settings.preset import Arm, Dimension, OwnRecipe, Preset, Tuning

SEED = 0  # of the scrambled Sobol sequence
DIGITS = 3  # significant digits of a tried value


class Trial(NamedTuple):
    """One point of the search.

    Attributes:
        arm: the preset's arm that is tuned.
        number: of the trial, from 0.
        recipe: the learning rate and weight decay that it tries.
        settings: the settings of its method that it tries.
    """

    arm: str
    number: int
    recipe: dict[str, float]
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of its arm in the preset of the trials."""
        return f"{self.arm}_trial_{self.number}"

    def tuned(self, arm: Arm) -> Arm:
        """Return the arm with the values of this trial."""
        changes = {"recipe": OwnRecipe(**self.recipe), "settings": arm.settings | self.settings, "seeds": None}
        return arm.model_copy(update=changes)


def tuning_of(preset: Preset) -> Tuning:
    """Return the preset's search.

    Raises:
        UsageError: it has none, or one without the treatment, which can happen in a preset that extends another.
    """
    if preset.tuning is None:
        raise UsageError(f"preset {preset.name} has no [tuning] table; see the preset cifar10_10k_cpu for one.")
    if preset.analysis.treatment not in preset.tuning.arms:
        raise UsageError(f"preset {preset.name}: tuning.arms lacks the treatment {preset.analysis.treatment!r}.")
    return preset.tuning


def search(preset: Preset) -> list[Trial]:
    """Return all trials: of each arm in turn, the points of one scrambled Sobol sequence in its search space.

    Raises:
        UsageError: the preset has no `tuning` table.
    """
    tuning, trials = tuning_of(preset), list[Trial]()
    shared: dict[str, Dimension] = dict(tuning.recipe)
    points = sobol(tuning.trials, len(shared) + max(map(len, tuning.arms.values())))
    for arm, own in tuning.arms.items():
        dimensions = (*shared.values(), *own.values())
        for number, point in enumerate(points):
            found = [value(dimension, u) for dimension, u in zip(dimensions, point, strict=False)]
            recipe = dict(zip(shared, found, strict=False))
            settings = dict(zip(own, found[len(shared) :], strict=True))
            trials.append(Trial(arm, number, recipe, settings))
    return trials


@functools.cache  # lowering the discrepancy takes a tenth of a second
def sobol(points: int, dimensions: int) -> NDArray[np.float64]:
    """Return a scrambled Sobol sequence in [0, 1), (points, dimensions); points is a power of two.

    The order within dimensions lowers the centered discrepancy. Without it the first 16 points leave half of the cells
    of some pairs of dimensions empty, and a setting would be tried with low learning rates alone.
    """
    from scipy.stats import qmc  # its import takes a second, and only a search needs it

    sequence = qmc.Sobol(dimensions, scramble=True, seed=SEED, optimization="random-cd" if points > 2 else None)
    found = np.asarray(sequence.random_base2(points.bit_length() - 1))
    found.setflags(write=False)
    return found


def value(dimension: Dimension, u: float) -> Any:
    """Return the value at the share u, in [0, 1), of a dimension, an interval's rounded to three significant digits."""
    if dimension.min is None or dimension.max is None:
        return dimension.feasible_points[int(u * len(dimension.feasible_points))]
    low, high = dimension.min, dimension.max
    found = low * (high / low) ** u if dimension.scaling == "log" else low + (high - low) * u
    return float(f"{found:.{DIGITS}g}")
