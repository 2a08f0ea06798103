"""What joint evaluation saves: both ways in one run, with the same outcomes."""

import pytest
import torch

from benchmark.speed import attack_cost


def test_joint_attacks_cost_less_and_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    small = (
        "recipe.epochs=3",
        "evaluation.images=64",
        "evaluation.batch_size=32",
        "evaluation.checks={images = 16, square_queries = 10, repeated = 8, long_steps = 4}",
    )
    monkeypatch.setattr(attack_cost, "DIGITS", attack_cost.DIGITS + small)
    suite, square, both, differing = attack_cost.attack_lines(torch.device("cpu"), None, None)
    assert suite["what"].startswith("suite of 26 attacks, erm on digits")
    assert square["what"].startswith("Square at Linf ")
    for line in (suite, square, both):
        seconds, gradients = (
            [line["figures"][f"{way}, {unit}"] for way in ("joint", "separate")] for unit in ("s", "gradients")
        )
        assert line["ratio"] == seconds[0] / seconds[1]
        assert gradients[0] <= gradients[1]
    assert suite["figures"]["joint, gradients"] < suite["figures"]["separate, gradients"]
    assert both["figures"]["joint, s"] == suite["figures"]["joint, s"] + square["figures"]["joint, s"]
    assert differing["figures"]["outcomes"] == 1664
    assert (differing["ratio"], differing["figures"]["that differ"], differing["verdict"]) == (0.0, 0.0, "met")
