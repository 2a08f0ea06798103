"""The cost tables: what they predict is the formula, and what they measure is SBA's step over a plain one."""

import re

import pytest
import torch

from benchmark import sba_cost
from benchmark.preset_files import load_preset


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step take as long as its rows above the layer say, and overhead of a tenth: no clock, no noise."""
    monkeypatch.setattr(sba_cost, "TURNS", 1)
    monkeypatch.setattr(sba_cost, "STEPS", 2)
    seconds = iter([2.0, 4.4] * 2)
    monkeypatch.setattr(sba_cost, "timed", lambda work, _device: (work(), next(seconds))[1])


@pytest.mark.usefixtures("clock")
def test_a_step_with_every_layer_above_costs_twice_and_ten_percent() -> None:
    preset = load_preset("cifar10_cpu", ("recipe.batch_size=8",))
    cost = sba_cost.cost(preset, torch.device("cpu"), {"layers": ["input"], "p": 1.0})
    assert cost == ["2.00", "2.20", "1.10"]


@pytest.mark.parametrize(("changes", "predicted"), [({"p": 0.0}, 1.0), ({"layers": ["block2"], "copies": 4}, 2.12)])
def test_the_prediction_is_the_formula(
    changes: dict[str, object], predicted: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sba_cost, "TURNS", 1)
    preset = load_preset("cifar10_cpu", ("recipe.batch_size=8",))
    cost = sba_cost.cost(preset, torch.device("cpu"), {"p": 1.0, **changes})
    assert float(cost[0]) == pytest.approx(predicted, abs=0.006)  # 1 + 4 x 0.279 of the FLOPs above block2
    assert float(cost[2]) == pytest.approx(float(cost[1]) / float(cost[0]), abs=0.02)


def test_the_tables_have_a_row_for_every_layer_copies_and_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sba_cost, "cost", lambda *_: ["1.00", "1.00", "1.00"])
    text = sba_cost.cost_tables(torch.device("cpu"))
    rows = re.findall(r"^\| (\S+) +\| +(\d) \| +1.00 \|", text, re.MULTILINE)
    assert rows == [(layer, str(m)) for layer in ("input", "stem", "block1", "block2", "block3") for m in (1, 2, 4)]
    assert re.findall(r"^\| (0\.\d+|1\.0) ", text, re.MULTILINE) == ["0.0", "0.25", "0.5", "1.0"]
