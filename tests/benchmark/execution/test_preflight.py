"""Methods that do not keep their contract are refused before the first run, in one message that names them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from few_attacks import NO_CHECKS
from torch import nn

from benchmark.cli import main
from benchmark.execution import run as one_run
from benchmark.settings.methods import METHODS
from benchmark.settings.names import Row
from sba import Step

PRESET = """
extends = "smoke"
title = "A method of somebody"
seeds = [0]
analysis.eps = 1.0
data.train_images = 64
recipe.batch_size = 16
recipe.epochs = 1
[arms.mine]
method = "mine"
augmentation = "none"
"""


def called(of: Callable[..., Any]) -> type:
    """A method that returns something of (logits, labels, generator)."""

    @dataclass(frozen=True)
    class Mine:
        def __call__(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, **given: Any) -> Any:
            return of(model(images).float(), labels, **given)

    return Mine


def noisy(logits: torch.Tensor, labels: torch.Tensor, **_: Any) -> Step:
    return Step(F.cross_entropy(logits + torch.randn_like(logits), labels), logits)


WRONG: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "bare loss": (lambda z, y, **_: F.cross_entropy(z, y), ("returned a Tensor; it must return a Step",)),
    "vector": (
        lambda z, y, **_: Step(F.cross_entropy(z, y, reduction="none"), z),
        ("returned a loss (4, with a gradient); it must be a scalar tensor",),
    ),
    "number": (lambda z, _y, **_: Step(1.0, z), ("returned a loss (float); it must be a scalar tensor",)),  # type: ignore[arg-type]
    "detached": (
        lambda z, y, **_: Step(F.cross_entropy(z, y).detach(), z),
        ("returned a loss (scalar, without a gradient)",),
    ),
    "no logits": (
        lambda z, y, **_: Step(F.cross_entropy(z, y), None),  # type: ignore[arg-type]
        ("returned logits (NoneType) for 4 images",),
    ),
    "few logits": (
        lambda z, y, **_: Step(F.cross_entropy(z, y), z[:1]),
        ("returned logits (1 x 10, with a gradient) for 4 images; they must have one row for each image",),
    ),
    "no layer": (
        lambda z, y, **_: Step(F.cross_entropy(z, y), z, 4),
        ("returned virtual = 4 and layer = None",),
    ),
    "other layer": (
        lambda z, y, **_: Step(F.cross_entropy(z, y), z, 4, "blocc1"),
        ("block1",),
    ),
    "no generator": (
        lambda z, y: Step(F.cross_entropy(z, y), z),
        ("fails on 4 training images: TypeError", "generator"),
    ),
    "an error": (
        lambda z, y, **_: Step(loss=F.cross_entropy(z, y), outputs=z),  # type: ignore[call-arg]
        ("TypeError", "outputs", "test_preflight.py, line"),
    ),
    "global generator": (noisy, ("draws from torch's global generator", "generator=generator")),
}


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(("of", "parts"), WRONG.values(), ids=WRONG)
def test_a_method_that_does_not_keep_its_contract_is_refused_before_training(
    of: Callable[..., Any],
    parts: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(one_run, "execute_run", None)  # to call it is an error
    monkeypatch.setattr(f"{__name__}.Mine", called(of), raising=False)
    monkeypatch.setitem(METHODS, "mine", Row(f"{__name__}:Mine", "x"))
    Path("mine.toml").write_text(PRESET, encoding="utf-8")
    assert main(["run", "mine.toml", "--arms", "mine", *NO_CHECKS]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    for part in ("arm mine", "mine", *parts):
        assert part in said
