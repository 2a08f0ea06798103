"""The cost of an augmented step, measured and as its FLOPs predict it."""

import copy
import functools
from collections.abc import Iterator, Mapping
from statistics import median
from typing import NamedTuple

import torch

from benchmark.data.load import to_float
from benchmark.networks.compiled import INPUT
from benchmark.networks.flops import share_of_flops
from benchmark.settings.load import load_preset
from benchmark.settings.plan import Run, make_plan
from benchmark.settings.preset import Preset
from benchmark.speed.lines import Line, Target, make_line
from benchmark.speed.throughput import begin, in_turns, random_images
from benchmark.training.compile import compiles
from benchmark.training.loop import train_step
from benchmark.training.state import State

_COPIES, _SHARES = {"1 copy": 1, "2 copies": 2, "4 copies": 4}, (0.25, 0.5, 1.0)
TURNS, STEPS = 5, 4
_PART, _TARGET = "SBA's cost", Target(1.10, at_least=False)


class Turn(NamedTuple):
    """The cost of SBA's steps in plain steps: measured, and predicted for the layers that were drawn."""

    measured: float
    predicted: float
    plain_seconds: float


class _Pair(NamedTuple):
    """Plain training and SBA's on the same network, started once: only SBA's settings change between the lines."""

    preset: Preset
    device: torch.device
    plain: tuple[Run, State]
    sba: tuple[Run, State]


def cost_lines(device: torch.device) -> Iterator[Line]:
    """Yield the cost of an SBA step over that of a plain step, for each layer, number of copies and share p.

    Predicted: 1 + b * M * (FLOPs above the layer / FLOPs of the network), with b = 1 if the step is augmented, else 0.
    Plain and SBA's steps take turns on one resident batch. A compiled network is measured at the layers of the
    preset's arm with one copy only: each further case would need a compilation.
    """
    preset = load_preset(f"cifar10_{'gpu' if device.type == 'cuda' else 'cpu'}")
    assert preset.ablation is not None
    used = preset.arms["sba"].settings["layers"]
    compiled = compiles(preset.recipe, device)
    cases: dict[str, dict[str, object]] = {
        f"every step, behind {layer}, {number}": {"layers": [layer], "copies": copies, "p": 1.0}
        for layer in (used if compiled else (INPUT, *preset.ablation.all_layers))
        for number, copies in list(_COPIES.items())[: 1 if compiled else None]
    }
    for p in _SHARES:
        what = f"a share of {p} of the steps, behind one of {', '.join(used)}"
        cases[what] = {"p": p, "scheduler": "every_nth"}
    pair = begin_pair(preset, device)
    for what, changes in cases.items():
        turns = cost(pair, changes)
        yield make_line(
            _PART,
            f"{preset.model.name}, {what}",
            [turn.measured for turn in turns],
            {"plain step, ms": 1000 * median(turn.plain_seconds for turn in turns)},
            predicted=[turn.predicted for turn in turns],
            target=_TARGET,
        )


def begin_pair(preset: Preset, device: torch.device) -> _Pair:
    """Return the states of both before their first step, compiled if the recipe says so."""
    batch = random_images(preset.recipe.batch_size, device)
    plain, sba = ((run, begin(run, batch, device)[0]) for run in (_plan(preset, "erm"), _plan(preset, "sba")))
    return _Pair(preset, device, plain, sba)


def _plan(preset: Preset, method: str, changes: Mapping[str, object] | None = None) -> Run:
    """Return the first seed's run of the SBA arm with another method, or with changes in SBA's settings."""
    arm = preset.arms["sba"]
    settings = arm.settings | dict(changes or {}) if method == "sba" else {}
    changed = arm.model_copy(update={"method": method, "settings": settings})
    return make_plan(preset.model_copy(update={"arms": {method: changed}}), None, preset.seeds[:1])[0]


def cost(pair: _Pair, changes: Mapping[str, object]) -> list[Turn]:
    """Return the turns of the SBA arm with changed settings; a turn is `STEPS` steps of each."""
    preset, device = pair.preset, pair.device
    run, state = _plan(preset, "sba", changes), pair.sba[1]
    state.method = copy.deepcopy(run.method)
    batch = random_images(preset.recipe.batch_size, device)
    images, labels = to_float(batch.images), batch.labels
    share = functools.cache(lambda layer: share_of_flops(pair.plain[1].model, images[:1], layer))
    added = list[float]()  # predicted extra cost of each step, in plain steps

    def take(run: Run, state: State) -> None:
        for _ in range(STEPS):
            (step,) = train_step(run, state, images, labels)
            added.append(step.virtual / len(images) * share(step.layer) if step.virtual else 0.0)

    works = [functools.partial(take, *pair.plain), functools.partial(take, run, state)]
    turns = list[Turn]()
    for number in range(1 + TURNS):
        added.clear()
        plain, sba = in_turns(works, number, device)
        turns.append(Turn(sba / plain, 1 + sum(added) / STEPS, plain / STEPS))
    return turns[1:]  # the first one warms up
