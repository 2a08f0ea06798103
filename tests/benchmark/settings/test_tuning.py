"""The search of a tuning: declared spaces, and the same number of quasi-random trials for every arm."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch

from benchmark.data.load import load_data
from benchmark.settings.load import load_preset, preset_names
from benchmark.settings.plan import make_plan
from benchmark.settings.preset import Dimension
from benchmark.settings.tuning import search, sobol, tuning_of, value
from benchmark.settings.variants import trials_preset
from benchmark.training.loop import train_epoch
from benchmark.training.state import start

TUNED = [name for name in preset_names() if load_preset(name).tuning]


@pytest.mark.parametrize("name", TUNED)
def test_every_arm_has_the_same_number_of_trials_and_the_same_rates_and_decays(name: str) -> None:
    preset = load_preset(name)
    trials = search(preset)
    assert set(Counter(trial.arm for trial in trials).values()) == {tuning_of(preset).trials}
    assert {trial.arm for trial in trials} >= {"standard", preset.analysis.treatment}
    by_number: dict[int, set[tuple[float, ...]]] = {}
    for trial in trials:
        by_number.setdefault(trial.number, set()).add(tuple(trial.recipe.values()))
    assert all(len(values) == 1 for values in by_number.values())


def test_the_points_are_sobols_each_sixteenth_of_every_dimension_once_and_the_same_each_time() -> None:
    points = sobol(16, 6)
    assert points.shape == (16, 6)
    for column in points.T:
        assert sorted(np.floor(column * 16)) == list(range(16))
    for first, second in itertools.combinations(points.T, 2):  # each quarter of one with each half of another
        assert len({(int(4 * a), int(2 * b)) for a, b in zip(first, second, strict=True)}) >= 7
    assert (points == sobol(16, 6)).all()


def test_the_trials_of_the_smoke_study_are_these() -> None:
    """The sequence of scipy is part of what was named before the runs: another version must give the same trials."""
    trials = [(trial.name, list(trial.recipe.values()), trial.settings) for trial in search(load_preset("smoke"))]
    assert trials == [
        ("standard_trial_0", [0.155, 0.002], {}),
        ("standard_trial_1", [0.0415, 0.000482], {}),
        ("mixup_trial_0", [0.155, 0.002], {"alpha": 0.426}),
        ("mixup_trial_1", [0.0415, 0.000482], {"alpha": 0.672}),
        ("sba_trial_0", [0.155, 0.002], {"p": 0.426, "layers": ["block1"]}),
        ("sba_trial_1", [0.0415, 0.000482], {"p": 0.672, "layers": ["stem", "block1", "block2"]}),
    ]


@pytest.mark.parametrize(
    ("dimension", "u", "expected"),
    [
        (Dimension(min=1.0, max=3.0), 0.25, 1.5),
        (Dimension(min=0.01, max=1.0, scaling="log"), 0.5, 0.1),
        (Dimension(min=0.0, max=1.0), 1 / 3, 0.333),
        (Dimension(feasible_points=("a", "b", "c")), 0.66, "b"),
        (Dimension(feasible_points=("a", "b", "c")), 0.999, "c"),
    ],
)
def test_a_share_becomes_the_value_of_its_dimension(dimension: Dimension, u: float, expected: object) -> None:
    assert value(dimension, u) == expected


def test_own_rate_and_decay_reach_the_optimizer_and_the_schedule() -> None:
    preset = load_preset("smoke", ("data.train_images=128", "recipe.epochs=1", "recipe.final=0.5"))
    trials = [trial for trial in search(preset) if trial.arm == "standard"]
    data = load_data(preset.data, [])
    for run, trial in zip(
        make_plan(trials_preset(preset), [trial.name for trial in trials], None), trials, strict=True
    ):
        state = start(run, data, torch.device("cpu"))
        assert state.optimizer.param_groups[0]["weight_decay"] == trial.recipe["weight_decay"]
        epoch = train_epoch(run, state, data.train)  # two steps: the last is at the end of the schedule
        assert math.isclose(epoch["learning_rate"], 0.5 * trial.recipe["learning_rate"], abs_tol=1e-9)
