"""Joint over separate attacks with the same outcomes; evaluation over training."""

from pathlib import Path

import pytest
import torch

from benchmark.data.load import load_data
from benchmark.settings.load import load_preset
from benchmark.settings.plan import make_plan
from benchmark.settings.preset import Preset
from benchmark.speed import evaluation_cost
from benchmark.speed.evaluation_cost import evaluation_lines
from benchmark.training.checkpoint import save_checkpoint
from benchmark.training.state import start

CPU = torch.device("cpu")
SMALL = (
    "seeds=[0, 1, 2, 3]",
    "recipe.epochs=2",
    "evaluation.images=16",
    "evaluation.eps=[16.0]",
    'evaluation.attacks=[{name = "fgsm", steps = 1}, {name = "apgd_dlr", steps = 2}]',
    "evaluation.checks={images = 8, square_queries = 2, repeated = 4, long_steps = 2, reference_steps = 1, "
    "reference_queries = 1, seeds = [2]}",
)


def checkpoint(preset: Preset, folder: Path) -> Path:
    run = make_plan(preset, ["erm"], [0])[0]
    path = folder / "network.pt"
    save_checkpoint(path, run, "key", start(run, load_data(preset.data, []), CPU))
    return path


def test_the_costly_checks_count_with_the_share_of_seeds_that_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = load_preset("smoke", SMALL)
    monkeypatch.setattr(evaluation_cost, "load_preset", lambda _name: preset)
    (line,) = evaluation_lines(CPU, checkpoint(preset, tmp_path), None)
    training, evaluation, costly = line["figures"].values()
    assert min(training, evaluation, costly) > 0
    assert line["ratio"] is not None
    assert line["ratio"] == pytest.approx((evaluation + costly / 4) / training)
    assert line["what"].startswith("erm seed 0 of smoke: ")
    assert line["verdict"] == ("met" if line["ratio"] <= 0.6 else "missed")
    assert line["target"] == "at most 0.60"


def test_without_a_network_nothing_is_measured() -> None:
    (line,) = evaluation_lines(CPU, None, None)
    assert (line["ratio"], line["verdict"]) == (None, "not judged here")


def test_joint_attacks_cost_less_and_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    small = (
        "recipe.epochs=3",
        "evaluation.images=32",
        "evaluation.batch_size=32",
        "evaluation.eps=[16.0, 64.0]",
        "evaluation.l2_eps=[0.4]",
        "evaluation.checks={images = 16, square_queries = 10, repeated = 8, long_steps = 4}",
    )
    monkeypatch.setattr(evaluation_cost, "DIGITS", evaluation_cost.DIGITS + small)
    suite, square, both, differing = evaluation_cost.attack_lines(CPU, None, None)
    assert suite["what"].startswith("suite of 8 attacks, erm on digits")
    assert square["what"].startswith("Square at Linf ")
    for line in (suite, square, both):
        seconds, gradients = (
            [line["figures"][f"{way}, {unit}"] for way in ("joint", "separate")] for unit in ("s", "gradients")
        )
        assert line["ratio"] == seconds[0] / seconds[1]
        assert gradients[0] <= gradients[1]
    assert suite["figures"]["joint, gradients"] < suite["figures"]["separate, gradients"]
    assert both["figures"]["joint, s"] == suite["figures"]["joint, s"] + square["figures"]["joint, s"]
    assert differing["figures"]["outcomes"] == 256
    assert differing["figures"]["that differ"] <= 3  # images on the boundary
    assert differing["ratio"] == differing["figures"]["that differ"] / 256
