"""What an augmented step costs: measured beside what its FLOPs predict, in one run on the machine it is on."""

import functools
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

import torch

from benchmark.data.load import to_float
from benchmark.networks.compiled import compiles, warm_up
from benchmark.networks.flops import INPUT, share_of_flops
from benchmark.settings.load import load_preset
from benchmark.settings.plan import Run, make_plan
from benchmark.settings.preset import Preset
from benchmark.speed.lines import Line, Target, make_line
from benchmark.speed.throughput import as_data, in_turns, random_images
from benchmark.training.loop import train_step
from benchmark.training.state import State, start

COPIES, SHARES = (1, 2, 4), (0.25, 0.5, 1.0)
TURNS, STEPS = 5, 4
PART, TARGET = "SBA's cost", Target(1.10, at_least=False)


class Turn(NamedTuple):
    """What SBA's steps took, plain steps = 1: measured, and predicted for the layers that they drew."""

    measured: float
    predicted: float
    plain_seconds: float


def cost_lines(device: torch.device) -> Iterator[Line]:
    """Yield a line for each layer, number of copies and share p: the cost of a step over a plain step's.

    Predicted is 1 + b * M * (FLOPs above the layer / FLOPs of the network), b = 1 where the step is augmented.
    Plain and SBA's steps take turns on one batch that stays where it is.
    """
    preset = load_preset(f"cifar10_{'gpu' if device.type == 'cuda' else 'cpu'}")
    assert preset.ablation is not None
    cases: list[tuple[str, dict[str, object]]] = [
        (
            f"every step, behind {layer}, {copies} {'copy' if copies == 1 else 'copies'}",
            {"layers": [layer], "copies": copies, "p": 1.0},
        )
        for layer in (INPUT, *preset.ablation.all_layers)
        for copies in COPIES
    ]
    drawn = ", ".join(preset.arms["sba"].settings["layers"])
    cases += [
        (f"a share of {p} of the steps, behind one of {drawn}", {"p": p, "scheduler": "every_nth"}) for p in SHARES
    ]
    for what, changes in cases:
        turns = cost(preset, device, changes)
        yield make_line(
            PART,
            f"{preset.model.name}, {what}",
            [turn.measured for turn in turns],
            {"plain step, ms": 1000 * median(turn.plain_seconds for turn in turns)},
            predicted=[turn.predicted for turn in turns],
            target=TARGET,
        )


def cost(preset: Preset, device: torch.device, changes: dict[str, object]) -> list[Turn]:
    """Return the turns of the SBA arm with these settings; a turn is a few steps of each."""
    arm = preset.arms["sba"]
    arms = {"plain": arm.model_copy(update={"method": "erm", "settings": {}})}
    arms["sba"] = arm.model_copy(update={"settings": arm.settings | changes})
    runs = make_plan(preset.model_copy(update={"arms": arms}), None, preset.seeds[:1])
    batch = random_images(preset.recipe.batch_size, device)
    states = [start(run, as_data(batch), device) for run in runs]
    if compiles(preset.recipe, device):
        for run, state in zip(runs, states, strict=True):
            warm_up(run, state, batch)
    images, labels = to_float(batch.images), batch.labels
    share = functools.cache(lambda layer: share_of_flops(states[0].model, images[:1], layer))
    added = list[float]()  # of each step, in plain steps

    def take(run: Run, state: State) -> None:
        for _ in range(STEPS):
            (step,) = train_step(run, state, images, labels)
            added.append(step.virtual / len(images) * share(step.layer) if step.virtual else 0.0)

    works = [functools.partial(take, *pair) for pair in zip(runs, states, strict=True)]
    turns = list[Turn]()
    for number in range(1 + TURNS):
        added.clear()
        plain, sba = in_turns(works, number, device)
        turns.append(Turn(sba / plain, 1 + sum(added) / STEPS, plain / STEPS))
    return turns[1:]  # the first one warms
