"""What several tests share: a tiny study on digits."""

from collections.abc import Callable

import pytest
import torch

from benchmark.data import Data, load_data
from benchmark.plan import Run, make_plan
from benchmark.preset_files import load_preset

TINY = ("data.train_images=256", "recipe.epochs=2", "evaluation.images=32", "evaluation.batch_size=16")


@pytest.fixture(scope="session")
def digits() -> Data:
    """256 training digits and the 500 test digits."""
    return load_data(load_preset("smoke", TINY).data, [])


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """Give a maker of runs: arm, seed, then overrides such as "recipe.epochs=3"."""

    def make(arm: str = "erm", seed: int = 0, *overrides: str) -> Run:
        return make_plan(load_preset("smoke", (*TINY, *overrides)), [arm], [seed])[0]

    return make


@pytest.fixture
def cpu() -> torch.device:
    return torch.device("cpu")
