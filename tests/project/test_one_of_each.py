"""One row adds a data set, network, attack, sanity check, method, endpoint or launcher, as CONTRIBUTING.md says."""

import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from studies.saying import PROJECT, Say
from studies.tiny_study import read
from torch import Tensor, nn

from benchmark.analysis.endpoints import ENDPOINTS, Measure
from benchmark.analysis.study import load_study
from benchmark.data.catalogue import DATASETS, Dataset
from benchmark.data.images import Source, Split
from benchmark.evaluation.catalogue import ATTACKS, SANITY_CHECKS, AttackRow, Column, SanityCheck
from benchmark.evaluation.sanity_checks import Case, Found
from benchmark.execution.launchers import LAUNCHERS, Launcher
from benchmark.networks.catalogue import NETWORKS
from benchmark.records.store import read_study
from benchmark.settings.methods import METHODS
from benchmark.settings.names import TABLES, Row
from sba import Step

PRESET = """
extends = "smoke"
title = "One of each"
seeds = [0]
data.dataset = "stripes"
data.test_images = 40
model.name = "tiny"
recipe.epochs = 1
recipe.batch_size = 20
evaluation.images = 20
evaluation.batch_size = 20
evaluation.eps = [16.0]
evaluation.attacks = [{ name = "darken", steps = 1 }, { name = "apgd_dlr", steps = 2 }]
analysis.treatment = "calm"
analysis.against = ["standard"]
analysis.endpoints = ["clean", "loss"]

[arms.calm]
method = "calm"
augmentation = "standard"
"""


def stripes(_roots: object, _pixels: int) -> Source:
    """Horizontal, vertical or no stripes, 8 x 8, with noise."""
    draws = np.random.default_rng(0)
    labels = np.arange(160) % 3
    patterns = np.stack([np.indices((8, 8))[0] % 2, np.indices((8, 8))[1] % 2, np.zeros((8, 8))])
    images = (200 * patterns[labels] + draws.integers(0, 50, (160, 8, 8))).astype(np.uint8)
    pixels, classes = torch.from_numpy(images)[:, None], torch.from_numpy(labels)
    train, test = Split(pixels[:120], classes[:120]), Split(pixels[120:], classes[120:])
    return Source(None, ["rows", "columns", "none"], lambda: (train, test))


def tiny(normalize: nn.Module, classes: int, images: Tensor) -> nn.Module:
    stages = {
        "normalize": normalize,
        "stem": nn.Sequential(nn.Conv2d(images.shape[1], 4, 3), nn.ReLU()),
        "head": nn.Sequential(nn.Flatten(), nn.Linear(144, classes)),
    }
    return nn.Sequential(OrderedDict(stages))


class Darken:
    """The darkest image in the ball."""

    def __init__(self, _model: nn.Module, eps: float) -> None:
        self.eps = eps

    def __call__(self, images: Tensor, _labels: Tensor) -> Tensor:
        return (images - self.eps).clamp(0, 1)


def grey(case: Case, dark: float) -> Found:
    """The images' mean value."""
    mean = float(case.attacked.images.mean())
    return Found({"mean": mean}, {f"the {len(case.left)} images are dark": mean < dark})


@dataclass(frozen=True)
class Calm:
    """Cross-entropy of logits divided by a temperature."""

    temperature: float = 2.0

    def __call__(self, model: Any, images: Tensor, labels: Tensor, *, generator: torch.Generator) -> Step:  # noqa: ARG002
        logits = model(images).float()
        return Step(F.cross_entropy(logits / self.temperature, labels), logits)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "stripes", Dataset(f"{__name__}:stripes", "made up", train_images=120))
    monkeypatch.setitem(NETWORKS, "tiny", Row(f"{__name__}:tiny", "one convolution"))
    monkeypatch.setitem(ATTACKS, "darken", AttackRow(f"{__name__}:Darken", "no gradient"))
    columns = (Column("mean", "mean, %"),)
    check = SanityCheck(
        99, f"{__name__}:grey", "images are not dark", "a mean below {dark}", {"dark": 0.9}, columns=columns
    )
    monkeypatch.setitem(SANITY_CHECKS, "grey", check)
    monkeypatch.setitem(METHODS, "calm", Row(f"{__name__}:Calm", "a temperature"))
    losses = Measure(
        "training loss of the last epoch",
        "nats",
        lambda study: np.array([[run["epochs"][-1]["train_loss"] for run in study.done(arm)] for arm in study.arms]),
        "loss ({split})",
        more_is_better=False,
    )
    monkeypatch.setitem(ENDPOINTS, "loss", losses)


@pytest.mark.usefixtures("rows")
def test_a_study_of_new_rows_runs_and_is_reported(fresh: Path, say: Say) -> None:
    Path("mine.toml").write_text(PRESET, encoding="utf-8")
    said = say("run", "mine.toml", "--arms", "calm,standard")
    assert said.code == 0, said.error
    record = read(fresh / "results" / "mine" / "calm" / "seed-0.json")
    assert record["data"]["name"] == "stripes"
    assert record["settings"]["model"]["name"] == "tiny"
    assert record["settings"]["arm"]["settings"] == {"temperature": 2.0}
    assert {attack["attack"] for attack in record["robustness"]["attacks"]} == {"darken", "apgd_dlr"}
    assert record["checks"][-1]["figures"].keys() == {"mean"}
    assert record["flags"][-1] == "check 99: the 20 images are dark"
    study = load_study("mine", read_study(fresh / "results", "mine"))
    values = dict(zip(study.arms, study.values("loss"), strict=True))
    assert values["calm"].tolist() == [record["epochs"][-1]["train_loss"]]
    assert say("report").code == 0
    page = (fresh / "results" / "mine" / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^\| against +\| accuracy +\| loss \(test\), lower is better +\|$", page, re.MULTILINE)
    figure = (fresh / "results" / "mine" / "figures" / "differences.svg").read_text(encoding="utf-8")
    assert "loss (test), nats," in figure
    assert "lower is better" in figure
    assert "robust area" not in figure
    page = (fresh / "results" / "checks.md").read_text(encoding="utf-8")
    assert "a mean below 0.9" in page
    assert "check 99: the 20 images are dark" in page
    kinds = {"datasets": "stripes", "models": "tiny", "attacks": "darken", "methods": "calm"}
    for kind, name in (kinds | {"endpoints": "loss", "checks": "grey"}).items():
        assert re.search(rf"^{name} ", say("list", kind).out, re.MULTILINE)


def test_a_launcher_is_one_row(fresh: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    row = Launcher(lambda _options: asked.append("checked"), lambda todo, _context: asked.append(len(todo)), "counts")
    monkeypatch.setitem(LAUNCHERS, "counting", row)
    assert re.search(r"^counting +counts$", say("list", "launchers").out, re.MULTILINE)
    say("run", "smoke", "--launcher", "counting", "--arms", "erm", "--seeds", "0,1")
    assert asked == ["checked", 2]
    assert not list(fresh.rglob("seed-*.json"))


def test_contributing_names_the_table_of_every_kind() -> None:
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for target in (*TABLES.values(), "benchmark.evaluation.catalogue:SANITY_CHECKS"):
        module, _, table = target.partition(":")
        assert f"[{table.upper()}]({module.replace('.', '/')}.py)" in text
