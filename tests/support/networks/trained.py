"""Shared by the tests of training: runs of smoke's study, and their state after some epochs."""

from collections.abc import Callable

import torch

from benchmark.data.load import Data
from benchmark.settings.plan import Run
from benchmark.training.loop import train_epoch
from benchmark.training.schedule import budget
from benchmark.training.state import State, start

MakeRun = Callable[..., Run]
CPU = torch.device("cpu")


def epochs_of(run: Run, data: Data, epochs: int = 2) -> State:
    state = start(run, data, CPU)
    for _ in range(epochs):
        state.epochs.append(train_epoch(run, state, data.train))
    return state


def whole(run: Run, data: Data) -> State:
    """The state at the end of the run's budget."""
    state = start(run, data, CPU)
    allowed = budget(run, state, data.train)
    while not allowed.is_spent(state):
        state.epochs.append(train_epoch(run, state, data.train))
    return state
