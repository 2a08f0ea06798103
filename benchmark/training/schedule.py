"""The schedule of a training: its length, and the learning rate at every step."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from benchmark.data.images import Images
from benchmark.data.load import to_float
from benchmark.networks.flops import training_flops
from benchmark.settings.plan import Run
from benchmark.settings.preset import Recipe
from benchmark.training.state import State


@dataclass(frozen=True)
class Budget:
    """The budget of a training: optimizer steps or, in compute mode, FLOPs.

    Attributes:
        total: of the training; in compute mode the FLOPs of plain training over the recipe's epochs.
        step: cost of a plain step; training ends when less than that is left.
        spent: returns the cost of a state's training so far.
    """

    total: int
    step: int
    spent: Callable[[State], int]

    def share(self, state: State) -> float:
        """Return the share of the training that is over, in [0, 1]: 0 at the first step, 1 at the last plain one.

        The learning rate follows it.
        """
        return min(self.spent(state) / max(self.total - self.step, 1), 1.0)

    def is_spent(self, state: State) -> bool:
        """Return whether training is over."""
        return self.spent(state) + self.step > self.total


def budget(run: Run, state: State, train: Images) -> Budget:
    """Return a run's budget: its epochs of whole batches or, in compute mode, the FLOPs of plain training."""
    batch = run.preset.recipe.batch_size
    steps_per_epoch = len(train.labels) // batch
    if not run.preset.compute:
        return Budget(run.epochs * steps_per_epoch, 1, lambda state: state.images // batch)
    image = to_float(train.pick([0], next(state.model.parameters()).device).images)
    plain = batch * _flops_behind(state, image)[None]
    return Budget(run.preset.recipe.epochs * steps_per_epoch * plain, plain, lambda state: flops_spent(state, image))


def flops_spent(state: State, image: Tensor) -> int:
    """Return the FLOPs of the training so far; one image (1, C, H, W) gives those of each layer."""
    flops = _flops_behind(state, image)
    return state.images * flops[None] + sum(n * flops[layer] for layer, n in state.virtual.items())


def _flops_behind(state: State, image: Tensor) -> dict[str | None, int]:
    """Return `training_flops` of the layers that samples joined at so far, each counted once in a training."""
    if missing := [layer for layer in (None, *state.virtual) if layer not in state.flops]:
        state.flops |= training_flops(state.model, image, missing)
    return state.flops


def learning_rate(recipe: Recipe, share: float) -> float:
    """Return the learning rate (see `Recipe`) when `share` of the training, in [0, 1], is over."""
    if share < recipe.peak:
        factor = recipe.initial + (1 - recipe.initial) * share / recipe.peak
    elif recipe.drops:
        factor = 0.1 ** sum(share >= drop for drop in recipe.drops)
    else:
        factor = 1 + (recipe.final - 1) * (share - recipe.peak) / max(1 - recipe.peak, 1e-12)
    return recipe.learning_rate * factor
