"""What is tried before the first run: what would end a study late is refused, all at once; our own rows are not."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks.around import Around
from networks.few_attacks import NO_CHECKS
from studies.saying import Said, Say
from studies.tiny_study import recorded, worker
from torch import Tensor, nn

from benchmark.data.images import Split
from benchmark.data.load import Data
from benchmark.data.synthetic import make_images, write_image_folder
from benchmark.evaluation import joint
from benchmark.evaluation.attacks import Radius, perturb
from benchmark.evaluation.catalogue import ATTACKS, AttackRow
from benchmark.execution import run as one_run
from benchmark.execution.files import Folders, mark
from benchmark.execution.preflight import refuse_early
from benchmark.execution.worker import refuse_before
from benchmark.records.store import read_record, write_record
from benchmark.runtime.errors import UsageError
from benchmark.settings.load import load_preset
from benchmark.settings.methods import METHODS
from benchmark.settings.names import Row
from benchmark.settings.plan import Run, make_plan
from benchmark.settings.preset import Attack
from benchmark.training.state import start
from sba import Step

MakeRun = Callable[..., Run]
ONE = ["run", "smoke", "--arms", "erm", "--seeds", "0", "--set=recipe.epochs=1", "--set=evaluation.images=16"]
FEW = (*NO_CHECKS, "--set=analysis.eps=1.0", "--set=data.train_images=128")
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


@pytest.fixture
def no_training(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in, where no run is begun."""
    del fresh
    monkeypatch.setattr(one_run, "execute_run", None)  # to call it is an error


# Methods


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


def tried(method: str, say: Say, monkeypatch: pytest.MonkeyPatch) -> Said:
    """Run an arm of a method of this module."""
    monkeypatch.setitem(METHODS, "mine", Row(f"{__name__}:{method}", "x"))
    Path("mine.toml").write_text(PRESET, encoding="utf-8")
    return say("run", "mine.toml", "--arms", "mine", *NO_CHECKS)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("of", "parts"), WRONG.values(), ids=WRONG)
def test_a_method_that_does_not_keep_its_contract_is_refused_before_training(
    of: Callable[..., Any], parts: tuple[str, ...], say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.Mine", called(of), raising=False)
    said = tried("Mine", say, monkeypatch)
    assert said.code == 2
    assert said.has("arm mine", *parts)
    assert "Traceback" not in said.error


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


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("method", "told"), [("Keeping", "something else than tensors and plain values"), ("Changing", "is not mine")]
)
def test_a_method_whose_state_no_checkpoint_could_restore_is_refused_before_training(
    method: str, told: str, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tried(method, say, monkeypatch)
    assert said.code == 2
    assert said.has("arm mine: the state of network 'small' or method 'mine'", told)


# Attacks


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


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (AttackRow("torchattacks:MIFGSN", "x", linf_only=True), "MIFGSN"),
        (AttackRow("torchattacks:MIFGSM", "x", lambda s: {"step": s.steps}, linf_only=True), "keyword argument 'step'"),
    ],
    ids=["class", "option"],
)
@pytest.mark.usefixtures("no_training")
def test_a_wrong_row_of_an_attack_is_refused_before_training(
    row: AttackRow, reason: str, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ATTACKS, "mifgsm", row)
    said = say(*ONE, "--set", 'evaluation.attacks=[{name="mifgsm", steps=2}]')
    assert said.code == 2
    assert "Warning: No scale-free attack in Linf:" in said.out
    assert said.has("preset smoke", "attack mifgsm cannot be made", reason, "ATTACKS['mifgsm']")


# Data and networks


@pytest.mark.usefixtures("no_training")
def test_all_settings_that_do_not_fit_the_data_are_refused_at_once(say: Say, tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path / "two" / "classes", 2, train=80, test=20, pixels=8)
    said = say(*ONE, f"--set=data.dataset={folder}", "--set=recipe.batch_size=100", "--set=evaluation.images=30")
    assert said.code == 2
    assert "scale-free" not in said.out
    assert said.has("preset smoke cannot be run on ")
    for part in (
        "evaluation.images = 30",
        "recipe.batch_size = 100",
        "attack apgd_dlr compares the 3 largest logits, but there are only 2 classes",
        "attack apgd_t compares",
    ):
        assert said.error.count(part) == 1


@pytest.mark.usefixtures("no_training")
def test_a_layer_inside_a_skip_connection_is_refused_before_training(say: Say) -> None:
    network = ["--set", "model.name=preact_resnet18", "--set", 'arms.sba.settings.layers=["block1.0.conv1"]']
    said = say("run", "smoke", "--arms", "sba", "--seeds", "0", *network)
    assert said.code == 2
    assert said.has("skip connection")


class TwoOutputs(Around):
    """Returns auxiliary logits too while it is trained."""

    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return (logits, logits) if self.training else logits


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("network", "part"),
    [
        (
            lambda normalize: TwoOutputs(nn.Sequential(normalize, nn.Flatten(), nn.Linear(64, 10))),
            "mode returns tuple for 4",
        ),
        (lambda normalize: nn.Sequential(normalize, nn.Flatten(), nn.Linear(64, 11)), "returns 2 x 11 for 2 images"),
    ],
)
def test_a_network_of_other_outputs_is_refused_before_training(
    network: Callable[..., nn.Module], part: str, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.networks.build.look_up", lambda *_: lambda normalize, *_: network(normalize))
    said = say(*ONE, *FEW)
    assert said.code == 2
    assert said.has(part)
    assert said.error.count("network 'small'") == said.error.count("error: ") == 1


def test_momentum_may_be_zero(make_run: MakeRun, digits: Data, cpu: torch.device) -> None:
    assert start(make_run("erm", 0, "recipe.momentum=0.0"), digits, cpu).optimizer.defaults["momentum"] == 0


# Records that are there


@pytest.mark.usefixtures("fresh")
def test_records_made_under_other_conditions_are_refused_before_training(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert say(*ONE, *FEW).code == 0
    monkeypatch.setattr(one_run, "execute_run", None)
    path, another = Path("results/smoke/erm/seed-0.json"), [*ONE, *FEW, "--seeds", "1"]
    whole: Any = read_record(path)
    for part, key, value in (
        ("data", "fingerprint", "other-pixels"),
        ("model", "parameters", 54321),
        ("environment", "torch", "1.0.0"),
        ("environment", "device", "cuda"),
    ):
        write_record(path, whole | {part: whole[part] | {key: value}})
        said = say(*another)
        assert said.code == 2
        assert said.has(str(value).removesuffix(".0"), "--results DIR")
    write_record(path, whole)
    said = say(*another, "--set", "analysis.margin=9.0")
    assert said.code == 2
    assert said.has("analysis.margin: 1.0 -> 9.0")


def test_records_that_stay_bind_runs_that_are_repeated(make_run: MakeRun, digits: Data, folders: Folders) -> None:
    one, other = recorded(make_run("erm"), folders), recorded(make_run("mixup"), folders)  # on other data
    mark(one)
    with pytest.raises(UsageError, match="were made under other conditions"):
        refuse_before([make_run("erm")], worker(digits, folders))
    mark(other)
    refuse_before([make_run("erm")], worker(digits, folders))
