"""What is tried before the first run: methods that do not keep their contract are refused, our own rows are not."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks.few_attacks import NO_CHECKS
from studies.saying import Say
from torch import nn

from benchmark.cli import main
from benchmark.data.images import Split
from benchmark.data.load import Data
from benchmark.data.synthetic import make_images
from benchmark.evaluation import joint
from benchmark.evaluation.attacks import Radius, perturb
from benchmark.evaluation.catalogue import ATTACKS
from benchmark.execution import run as one_run
from benchmark.execution.preflight import refuse_early
from benchmark.settings.load import load_preset
from benchmark.settings.methods import METHODS
from benchmark.settings.names import Row
from benchmark.settings.plan import make_plan
from benchmark.settings.preset import Attack
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
        ("returned a loss (a single number, without a gradient)",),
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


@dataclass(frozen=True)
class Keeping:
    """A method with a state between steps: a number of NumPy."""

    def __call__(self, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, **_: Any) -> Step:
        logits = model(images).float()
        return Step(F.cross_entropy(logits, labels), logits)

    def state_dict(self) -> dict[str, Any]:
        return {"mean": np.float64(0.5)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise ValueError(f"{state} is not mine")


class Changing(Keeping):
    def state_dict(self) -> dict[str, Any]:
        return {"mean": 0.5}


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("method", "told"), [("Keeping", "something else than tensors and plain values"), ("Changing", "is not mine")]
)
def test_a_method_whose_state_no_checkpoint_could_restore_is_refused_before_training(
    method: str, told: str, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_run, "execute_run", None)  # to call it is an error
    monkeypatch.setitem(METHODS, "mine", Row(f"{__name__}:{method}", "x"))
    Path("mine.toml").write_text(PRESET, encoding="utf-8")
    said = say("run", "mine.toml", "--arms", "mine", *NO_CHECKS)
    assert said.code == 2
    assert said.has("arm mine: the state of network 'small' or method 'mine'", told)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_attack_of_the_table_passes_its_trial(
    channels: int, cpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = set[tuple[str, str]]()

    def noted(model: nn.Module, attack: Attack, radius: Radius, *rest: Any) -> torch.Tensor:
        found = perturb(model, attack, radius, *rest)
        tried.add((radius.norm, attack.name))
        return found

    monkeypatch.setattr(joint, "perturb", noted)
    labels = np.arange(12) % 4
    images = torch.from_numpy(make_images(labels, 4, 32, np.random.default_rng(0))).permute(0, 3, 1, 2)[:, :channels]
    split = Split(images.contiguous(), torch.from_numpy(labels))
    data = Data("cifar10", 4, "made-up", True, split, split, split.subset(slice(0)))
    linf = [f'{{name = "{name}", steps = 1}}' for name in ATTACKS]
    l2 = [attack for attack, row in zip(linf, ATTACKS.values(), strict=True) if not row.linf_only]
    suite = (f"evaluation.attacks=[{', '.join(linf)}]", f"evaluation.l2_attacks=[{', '.join(l2)}]")
    few = ("recipe.batch_size=4", "evaluation.images=4", "evaluation.eps=[4.0]", "evaluation.l2_eps=[0.5]")
    preset = load_preset("cifar10_cpu", (*few, *suite, "analysis.eps=4.0", "data.train_images=0"))
    refuse_early(make_plan(preset, ["sba"], [0]), data, cpu)
    in_l2 = {("L2", name) for name, row in ATTACKS.items() if not row.linf_only}
    assert tried == {("Linf", name) for name in ATTACKS} | in_l2
