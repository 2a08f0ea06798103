"""What an augmented step costs: measured beside what its FLOPs predict, in one run on the machine it is on."""

import functools
from statistics import mean, median

import torch

from benchmark.cost import INPUT, training_flops
from benchmark.data import to_float
from benchmark.plan import Run, make_plan
from benchmark.preset_files import load_preset
from benchmark.settings import Preset
from benchmark.speed import random_data, timed
from benchmark.state import State, start
from benchmark.tables import Table
from benchmark.train import train_step

COPIES, SHARES = (1, 2, 4), (0.0, 0.25, 0.5, 1.0)
TURNS, STEPS = 7, 4


def cost_tables(device: torch.device) -> str:
    """Return two tables of measured over predicted cost of a training step, relative to plain training.

    Predicted is 1 + b * M * (FLOPs above the layer / FLOPs of the network), b = 1 where the step is augmented.
    Plain and SBA's steps take turns on one batch that stays where it is.
    """
    preset = load_preset(f"cifar10_{'gpu' if device.type == 'cuda' else 'cpu'}")
    assert preset.ablation is not None
    layers = (INPUT, *preset.ablation.all_layers)
    rows = [
        [layer, str(copies), *cost(preset, device, {"layers": [layer], "copies": copies, "p": 1.0})]
        for layer in layers
        for copies in COPIES
    ]
    drawn = ", ".join(preset.arms["sba"].settings["layers"])
    mixed = [[str(p), *cost(preset, device, {"p": p, "scheduler": "every_nth"})] for p in SHARES]
    ratios = ["predicted", "measured", "measured / predicted"]
    return (
        "Cost of a training step, plain training = 1; every step augmented, behind one layer:\n\n"
        + str(Table(["layer", "copies", *ratios], rows))
        + f"\n\nA share p of all steps augmented, 1 copy, layers drawn from {drawn}:\n\n"
        + str(Table(["p", *ratios], mixed))
    )


def cost(preset: Preset, device: torch.device, changes: dict[str, object]) -> list[str]:
    """Return [predicted, measured, measured / predicted] of the SBA arm with these settings, as texts.

    A turn is a few steps of each; prediction and measurement belong to the layers that the turn's steps drew.
    """
    arm = preset.arms["sba"]
    arms = {"plain": arm.model_copy(update={"method": "erm", "settings": {}})}
    arms["sba"] = arm.model_copy(update={"settings": arm.settings | changes})
    runs = make_plan(preset.model_copy(update={"arms": arms}), None, preset.seeds[:1])
    data = random_data(preset.recipe.batch_size, device)
    states = [start(run, data, device) for run in runs]
    images, labels = to_float(data.train.images), data.train.labels

    @functools.cache
    def share(layer: str | None) -> float:
        above, whole = (training_flops(states[0].model, images[:1], name) for name in (layer, None))
        return above / whole

    def turn() -> tuple[float, float]:
        added = list[float]()

        def take(run: Run, state: State) -> None:
            for _ in range(STEPS):
                (step,) = train_step(run, state, images, labels)
                added.append(step.virtual / len(images) * share(step.layer) if step.virtual else 0.0)

        plain, sba = (timed(functools.partial(take, *pair), device) for pair in zip(runs, states, strict=True))
        return 1 + sum(added) / STEPS, sba / plain

    turn()  # warm
    turns = [turn() for _ in range(TURNS)]
    predicted = mean(expected for expected, _ in turns)
    ratio = median(taken / expected for expected, taken in turns)
    return [f"{predicted:.2f}", f"{predicted * ratio:.2f}", f"{ratio:.2f}"]
