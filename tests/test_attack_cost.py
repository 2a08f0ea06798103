"""The table of what joint evaluation saves: both ways in one run, with the same outcomes."""

import re

import pytest
import torch

from benchmark import attack_cost


def test_joint_attacks_cost_less_and_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    small = (
        "recipe.epochs=3",
        "evaluation.images=64",
        "evaluation.batch_size=32",
        "evaluation.checks={images = 16, square_queries = 10, repeated = 8, long_steps = 4}",
    )
    monkeypatch.setattr(attack_cost, "DIGITS", attack_cost.DIGITS + small)
    text = attack_cost.attack_cost_table(torch.device("cpu"), None, None)
    assert "0 of 1,664 outcomes differ between joint and separate attacks" in text
    (suite,) = re.findall(r"suite \(26 attacks\) .*", text)
    joint, separate = (int(cell.replace(",", "")) for cell in re.findall(r"[\d,]+ (?=\|)", suite)[-2:])
    assert joint < separate
