"""A method from a package of somebody else: installed, it is listed, trained and recorded like ours."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from studies.saying import Say
from studies.tiny_study import read

from benchmark.settings import methods

METHOD = """
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F


class Step(NamedTuple):
    loss: Any
    logits: Any
    virtual: int = 0
    layer: Any = None


@dataclass(frozen=True)
class Damped:
    penalty: float = 0.01

    def __post_init__(self):
        if self.penalty < 0:
            raise ValueError(f"penalty must be at least 0, got {self.penalty!r}.")

    def __call__(self, model, images, labels, *, generator):
        logits = model(images).float()
        return Step(F.cross_entropy(logits, labels) + self.penalty * logits.square().mean(), logits)
"""
PRESET = """
extends = "smoke"
title = "Somebody's method"
seeds = [0]
analysis.treatment = "damped"
analysis.against = ["standard"]
data.train_images = 200
recipe.epochs = 1
evaluation.images = 16
evaluation.eps = [16.0]
evaluation.attacks = [{ name = "fgsm", steps = 1 }, { name = "apgd_dlr", steps = 1 }]

[arms.damped]
method = "damped"
augmentation = "standard"
settings = { penalty = 0.1 }
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages, as pip fills it, with one of three entry points, two of which are no method."""
    folder = tmp_path_factory.mktemp("site")
    info = "somebodys_methods-1.0.dist-info"
    files = {
        "somebodys_methods.py": METHOD,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: somebodys-methods\nVersion: 1.0\n",
        f"{info}/entry_points.txt": "[sba_benchmark.methods]\ndamped = somebodys_methods:Damped\n"
        "broken = somebodys_methods:Missing\nplain = json:dumps\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)


@pytest.mark.usefixtures("installed")
def test_an_installed_method_is_listed_with_its_package(say: Say) -> None:
    said = say("list", "methods")
    assert said.code == 0
    (line,) = [line for line in said.out.splitlines() if line.startswith("damped")]
    assert line.split(maxsplit=1)[1] == "from package somebodys-methods"


@pytest.mark.usefixtures("installed")
def test_an_installed_method_trains_from_a_preset_beside_ours(fresh: Path, say: Say) -> None:
    Path("mine.toml").write_text(PRESET, encoding="utf-8")
    assert say("run", "mine.toml", "--arms", "damped,standard").code == 0
    damped, standard = (read(fresh / "results" / "mine" / arm / "seed-0.json") for arm in ("damped", "standard"))
    assert damped["settings"]["arm"]["settings"] == {"penalty": 0.1}
    assert damped["weights_hash"] == standard["weights_hash"]
    assert damped["epochs"][0]["train_loss"] != standard["epochs"][0]["train_loss"]


def test_a_package_that_takes_the_name_of_another_method_is_refused(monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    entry = EntryPoint("mixup", "theirs:Mixup", "sba_benchmark.methods")
    monkeypatch.setattr(methods, "declared", lambda _path: (entry,))
    said = say("list", "methods")
    assert said.code == 2
    assert "method 'mixup' from package ? has the name of another (Zhang et al." in said.error


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.1 }", "-1.0 }", "arms.damped.settings: penalty must be at least 0, got -1.0."),
        ("0.1 }", "true }", "arms.damped.settings.penalty = True: Input should be a valid number."),
        ('"damped"\naug', '"broken"\naug', "'broken' (from package somebodys-methods) cannot be imported from somebod"),
        ('"damped"\naug', '"plain"\naug', "arms.damped.method = 'plain': it is no dataclass of settings."),
    ],
)
@pytest.mark.usefixtures("installed", "fresh")
def test_its_settings_are_checked_and_a_broken_entry_point_is_named(say: Say, old: str, new: str, message: str) -> None:
    assert old in PRESET
    Path("wrong.toml").write_text(PRESET.replace(old, new), encoding="utf-8")
    said = say("run", "wrong.toml")
    assert said.code == 2
    assert said.has(message)
