"""Equal tuning: as many quasi-random trials for every method, scored by clean accuracy on the validation split.

As the external tuning of AlgoPerf (Dahl et al., arXiv:2306.07179): the search space is declared beforehand, the points
are quasi-random, and every competitor has the same number of them. Learning rate and weight decay take the same
values in the trials of every arm; the settings of its method are an arm's own.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.runtime.errors import UsageError
from benchmark.settings.preset import Analysis, Arm, Attack, Dimension, Evaluation, OwnRecipe, Preset, Tuning

SEED = 0  # of the scrambled Sobol sequence
DIGITS = 3  # significant ones, of a tried value
ATTACKED = 20  # images: attacks play no part in tuning, but a record has some


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


def search(preset: Preset) -> list[Trial]:
    """Return all trials: of each arm in turn, the points of one scrambled Sobol sequence in its search space.

    Raises:
        UsageError: the preset has no `tuning` table.
    """
    tuning, trials = tuning_of(preset), list[Trial]()
    shared = {"learning_rate": tuning.recipe.learning_rate, "weight_decay": tuning.recipe.weight_decay}
    most = len(shared) + max(map(len, tuning.arms.values()))
    points = sobol(tuning.trials, most)
    for arm, own in tuning.arms.items():
        for number, point in enumerate(points):
            values = [
                value(dimension, u) for dimension, u in zip((*shared.values(), *own.values()), point, strict=False)
            ]
            recipe, settings = values[: len(shared)], values[len(shared) :]
            trial = Trial(arm, number, dict(zip(shared, recipe, strict=True)), dict(zip(own, settings, strict=True)))
            trials.append(trial)
    return trials


def sobol(points: int, dimensions: int) -> NDArray[np.float64]:
    """Return a scrambled Sobol sequence in [0, 1), (points, dimensions); points is a power of two.

    The order within dimensions lowers the centered discrepancy: as they come, the first 16 points leave half of the
    cells of some pairs of dimensions empty, so that a setting would be tried with low learning rates alone.
    """
    from scipy.stats import qmc  # takes a second, which only a search spends

    sequence = qmc.Sobol(dimensions, scramble=True, seed=SEED, optimization="random-cd" if points > 2 else None)
    return np.asarray(sequence.random_base2(points.bit_length() - 1))


def value(dimension: Dimension, u: float) -> Any:
    """Return the value at the share u, in [0, 1), of a dimension, an interval's rounded to three significant digits."""
    if dimension.min is None or dimension.max is None:
        return dimension.feasible_points[int(u * len(dimension.feasible_points))]
    low, high = dimension.min, dimension.max
    found = low * (high / low) ** u if dimension.scaling == "log" else low + (high - low) * u
    return float(f"{found:.{DIGITS}g}")


def tuning_of(preset: Preset) -> Tuning:
    """Return the preset's search.

    Raises:
        UsageError: it has none, or one without the treatment, as a preset may that extends another.
    """
    if preset.tuning is None:
        raise UsageError(f"preset {preset.name} has no [tuning] table; see the preset cifar10_10k_cpu for one.")
    if preset.analysis.treatment not in preset.tuning.arms:
        raise UsageError(f"preset {preset.name}: tuning.arms lacks the treatment {preset.analysis.treatment!r}.")
    return preset.tuning


def trials_preset(preset: Preset) -> Preset:
    """Return the study of the trials: an arm for each, on the validation split, exploratory, hardly attacked.

    Raises:
        UsageError: the preset has no `tuning` table.
    """
    tuning = tuning_of(preset)
    arms = {trial.name: trial.tuned(preset.arms[trial.arm]) for trial in search(preset)}
    treatment, *others = arms
    return preset.model_copy(
        update={
            "name": renamed(preset.name, "tuning"),
            "title": f"Trials of the tuning: {preset.title}",
            "seeds": tuning.seeds,
            "data": preset.data.model_copy(update={"validation_images": tuning.validation_images}),
            "evaluation": Evaluation(
                split="validation",
                images=min(ATTACKED, tuning.validation_images),
                batch_size=preset.evaluation.batch_size,
                eps=(preset.analysis.eps,),
                attacks=(Attack(name="fgsm", steps=1),),
            ),
            "arms": arms,
            "compute_arms": (),
            "analysis": Analysis(
                treatment=treatment,
                against=tuple(others),
                eps=preset.analysis.eps,
                margin=preset.analysis.margin,
                exploratory=True,
            ),
        }
    )


def tuned_preset(preset: Preset, best: Sequence[Trial]) -> Preset:
    """Return the study of the best trial of each arm, at seeds that neither the preset nor its trials name."""
    tuning, evaluation, treatment = tuning_of(preset), preset.evaluation, preset.analysis.treatment
    if evaluation.checks and evaluation.checks.seeds:
        checked = tuning.fresh_seeds[: len(evaluation.checks.seeds)]
        checks = evaluation.checks.model_copy(update={"seeds": checked})
        evaluation = evaluation.model_copy(update={"checks": checks})
    arms = {trial.arm: trial.tuned(preset.arms[trial.arm]) for trial in best}
    against = tuple(arm for arm in arms if arm != treatment)
    roles = {"against": against, "relatives": (), "positive_control": None}
    analysis = preset.analysis.model_copy(update=roles)
    return preset.model_copy(
        update={
            "name": renamed(preset.name, "tuned"),
            "title": f"Every method tuned alike: {preset.title}",
            "seeds": tuning.fresh_seeds,
            "evaluation": evaluation,
            "arms": arms,
            "analysis": analysis,
            "ablation": None,
            "tuning": None,
            "compute_arms": (),
        }
    )


def renamed(name: str, word: str) -> str:
    """Return a preset's name with a word before its device: cifar10_cpu, "tuned" -> cifar10_tuned_cpu."""
    for device in ("_cpu", "_gpu"):
        if name.endswith(device):
            return f"{name.removesuffix(device)}_{word}{device}"
    return f"{name}_{word}"
