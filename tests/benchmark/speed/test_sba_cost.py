"""SBA's cost: what is predicted is the formula, and what is measured is SBA's step over a plain one."""

import pytest
import torch

from benchmark.settings.load import load_preset
from benchmark.speed import sba_cost, throughput
from benchmark.speed.sba_cost import Turn

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let plain steps take 2 seconds and SBA's 4.4, in whichever order: no clock, no noise."""
    monkeypatch.setattr(sba_cost, "TURNS", 2)
    monkeypatch.setattr(sba_cost, "STEPS", 2)
    seconds = iter([2.0, 4.4, 4.4, 2.0, 2.0, 4.4])
    monkeypatch.setattr(throughput, "timed", lambda work, _device: (work(), next(seconds))[1])


@pytest.mark.parametrize(
    ("changes", "predicted"),
    [
        ({"layers": ["input"]}, 2.0),
        ({"p": 0.0}, 1.0),
        ({"p": 0.5, "scheduler": "every_nth", "layers": ["input"]}, 1.5),
        ({"layers": ["block2"], "copies": 4}, 2.12),  # 1 + 4 x 0.279 of the FLOPs above block2
    ],
)
def test_the_prediction_is_the_formula_and_a_turn_is_sba_over_plain(
    changes: dict[str, object], predicted: float
) -> None:
    preset = load_preset("cifar10_cpu", ("recipe.batch_size=8", "recipe.precision='float32'"))
    turns = sba_cost.cost(sba_cost.begin_pair(preset, CPU), {"p": 1.0, **changes})
    assert [turn.predicted for turn in turns] == pytest.approx([predicted] * 2, abs=0.006)
    assert [turn.measured for turn in turns] == pytest.approx([2.2, 2.2])
    assert [turn.plain_seconds for turn in turns] == [1.0, 1.0]


def test_there_is_a_line_for_every_layer_copies_and_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sba_cost, "cost", lambda *_: [Turn(2.2, 2.0, 0.5), Turn(2.4, 2.0, 0.5), Turn(1.0, 1.0, 0.1)])
    lines = list(sba_cost.cost_lines(CPU))
    assert [line["what"] for line in lines] == [
        *(
            f"fast, every step, behind {layer}, {copies} {'copy' if copies == 1 else 'copies'}"
            for layer in ("input", "stem", "block1", "block2", "block3")
            for copies in (1, 2, 4)
        ),
        *(f"fast, a share of {p} of the steps, behind one of stem, block1, block2" for p in (0.25, 0.5, 1.0)),
    ]
    assert lines[0]["judged"] == pytest.approx([1.1, 1.0, 1.2])
    assert (lines[0]["ratio"], lines[0]["predicted"], lines[0]["target"]) == (2.2, 2.0, "at most 1.10")
    assert lines[0]["figures"] == {"plain step, ms": 500.0}


def test_a_compiled_network_is_measured_where_the_arm_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sba_cost, "cost", lambda *_: [Turn(1.0, 1.0, 0.1)])
    monkeypatch.setattr(sba_cost, "compiles", lambda _recipe, _device: True)
    monkeypatch.setattr(sba_cost, "begin_pair", lambda *_: None)
    assert [line["what"].removeprefix("fast, ") for line in sba_cost.cost_lines(CPU)] == [
        *(f"every step, behind {layer}, 1 copy" for layer in ("stem", "block1", "block2")),
        *(f"a share of {p} of the steps, behind one of stem, block1, block2" for p in (0.25, 0.5, 1.0)),
    ]
