"""The worker: errors that would end a study late are raised before the first run, and nothing finished is lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks.around import Around
from networks.few_attacks import NO_CHECKS
from studies.tiny_study import recorded, worker
from torch import Tensor, nn

from benchmark.cli import main
from benchmark.data.load import Data
from benchmark.data.synthetic import write_image_folder
from benchmark.evaluation.catalogue import ATTACKS, AttackRow
from benchmark.execution import run as one_run
from benchmark.execution import worker as workers
from benchmark.execution.files import Folders, mark
from benchmark.records.store import read_record, write_record
from benchmark.runtime.errors import UsageError
from benchmark.settings.plan import Run
from benchmark.training.state import start

pytestmark = pytest.mark.usefixtures("fresh")
MakeRun = Callable[..., Run]
ONE = ["run", "smoke", "--arms", "erm", "--seeds", "0", "--set=recipe.epochs=1", "--set=evaluation.images=16"]
FEW = (*NO_CHECKS, "--set=analysis.eps=1.0", "--set=data.train_images=128")
SEED_1 = [*ONE[:5], "1", *ONE[6:]]
RECORD = Path("results/smoke/erm/seed-0.json")


def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("training began")

    monkeypatch.setattr(one_run, "execute_run", fail)


def test_records_made_under_other_conditions_are_refused_before_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ONE, *FEW]) == 0
    no_training(monkeypatch)
    for part, key, value in (
        ("data", "fingerprint", "other-pixels"),
        ("model", "parameters", 54321),
        ("environment", "torch", "1.0.0"),
        ("environment", "device", "cuda"),
    ):
        record = read_record(RECORD)
        before = record[part][key]  # type: ignore[literal-required]
        record[part][key] = value  # type: ignore[literal-required]
        write_record(RECORD, record)
        assert main([*SEED_1, *FEW]) == 2
        said = capsys.readouterr().err
        assert str(value).removesuffix(".0") in said
        assert "--results DIR" in said
        record[part][key] = before  # type: ignore[literal-required]
        write_record(RECORD, record)
    assert main([*SEED_1, *FEW, "--set", "analysis.margin=9.0"]) == 2
    assert "analysis.margin: 1.0 -> 9.0" in capsys.readouterr().err


def test_records_that_stay_bind_runs_that_are_repeated(make_run: MakeRun, digits: Data, folders: Folders) -> None:
    one, other = recorded(make_run("erm"), folders), recorded(make_run("mixup"), folders)  # on other data
    mark(one)
    with pytest.raises(UsageError, match="were made under other conditions"):
        workers.refuse_before([make_run("erm")], worker(digits, folders))
    mark(other)
    workers.refuse_before([make_run("erm")], worker(digits, folders))


def test_all_settings_that_do_not_fit_the_data_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = write_image_folder(tmp_path / "two" / "classes", 2, train=80, test=20, pixels=8)
    no_training(monkeypatch)
    line = [*ONE, "--set", f"data.dataset={folder}", "--set", "recipe.batch_size=100", "--set", "evaluation.images=30"]
    assert main(line) == 2
    out, said = capsys.readouterr()
    assert "scale-free" not in out
    assert "preset smoke cannot be run on " in said
    for part in (
        "evaluation.images = 30",
        "recipe.batch_size = 100",
        "attack apgd_dlr compares the 3 largest logits, but there are only 2 classes",
        "attack apgd_t compares",
    ):
        assert said.count(part) == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (AttackRow("torchattacks:MIFGSN", "x", linf_only=True), "MIFGSN"),
        (AttackRow("torchattacks:MIFGSM", "x", lambda s: {"step": s.steps}, linf_only=True), "keyword argument 'step'"),
    ],
    ids=["class", "option"],
)
def test_a_wrong_row_of_an_attack_is_refused_before_training(
    row: AttackRow, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ATTACKS, "mifgsm", row)
    no_training(monkeypatch)
    assert main([*ONE, "--set", 'evaluation.attacks=[{name="mifgsm", steps=2}]']) == 2
    out, said = capsys.readouterr()
    assert "Warning: No scale-free attack in Linf:" in out
    for part in ("preset smoke", "attack mifgsm cannot be made", reason, "ATTACKS['mifgsm']"):
        assert part in said


def test_a_layer_inside_a_skip_connection_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no_training(monkeypatch)
    network = ["--set", "model.name=preact_resnet18", "--set", 'arms.sba.settings.layers=["block1.0.conv1"]']
    assert main(["run", "smoke", "--arms", "sba", "--seeds", "0", *network]) == 2
    assert "skip connection" in capsys.readouterr().err


class TwoOutputs(Around):
    """Returns auxiliary logits too while it is trained."""

    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return (logits, logits) if self.training else logits


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
    network: Callable[..., nn.Module],
    part: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("benchmark.networks.build.look_up", lambda *_: lambda normalize, *_: network(normalize))
    no_training(monkeypatch)
    assert main([*ONE, *FEW]) == 2
    said = capsys.readouterr().err
    assert said.count("network 'small'") == said.count("error: ") == 1
    assert part in said


def test_momentum_may_be_zero(make_run: MakeRun, digits: Data, cpu: torch.device) -> None:
    assert start(make_run("erm", 0, "recipe.momentum=0.0"), digits, cpu).optimizer.defaults["momentum"] == 0
