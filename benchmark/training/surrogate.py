"""The surrogate of the transfer attack: the same kind of network, from a seed that no run has."""

from collections.abc import Callable

import torch
from torch import nn

from benchmark.data.load import Data
from benchmark.settings.plan import Run, make_method
from benchmark.settings.preset import Arm, Preset
from benchmark.training.loop import OnStep, train_epoch
from benchmark.training.state import start

SEED = 1_000_003  # no study names it
ARM = Arm(method="erm", augmentation="none")


def train_surrogate(
    preset: Preset, data: Data, device: torch.device, stop: Callable[[], object] = lambda: None
) -> nn.Module:
    """Return the preset's network after one epoch of plain training on its data; the same for every run of a preset.

    `stop` is called after every step, and may raise.
    """
    recipe = preset.recipe.model_copy(update={"epochs": 1})
    short = preset.model_copy(update={"recipe": recipe, "arms": {"surrogate": ARM}})
    run = Run(short, "surrogate", SEED, make_method(preset.name, "surrogate", ARM), {})
    state = start(run, data, device)
    train_epoch(run, state, data.train, [OnStep(lambda _steps: stop())])
    return state.model.eval()
