"""`crosscheck`: other packages' attacks find the same on a trained run; golden pages show its table."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from studies.saying import Say
from studies.tiny_study import change_weights, work_in
from torch import Tensor

from benchmark.cli import main
from benchmark.evaluation import crosscheck
from benchmark.evaluation.attacks import Radius
from benchmark.evaluation.joint import AttackedSet, Batch
from benchmark.settings.preset import Attack

ONE = (
    "smoke",
    "--set=data.train_images=640",
    "--set=recipe.epochs=4",
    "--set=evaluation.images=16",
    "--set=evaluation.batch_size=16",
    "--set=evaluation.eps=[8.0, 16.0]",
    '--set=evaluation.attacks=[{name = "apgd_dlr", steps = 3}]',
    "--set=evaluation.l2_eps=[0.5, 1.0]",
    '--set=evaluation.l2_attacks=[{name = "apgd_dlr", steps = 3}]',
    "--set=evaluation.checks={images = 8, square_queries = 10, repeated = 8, long_steps = 4, "
    "reference_steps = 3, reference_queries = 10, seeds = [1]}",
    "--arms=erm",
    "--seeds=0",
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crosscheck")
    with pytest.MonkeyPatch.context() as patch:
        work_in(folder, folder / "cache", patch)
        assert main(["run", *ONE]) == 0
    return folder


@pytest.fixture
def finished(ran: Path, fresh: Path) -> Path:
    """The record and checkpoint of a run, in a folder that a test may change."""
    for name in ("results", "runs"):
        shutil.copytree(ran / name, fresh / name)
    return fresh


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same attacks with fewer steps."""
    steps = {"square": 40, "fab_t": 2, "apgd_t": 2}
    few = tuple((name, steps.get(name, 4)) for name, _ in crosscheck.REFERENCE)
    monkeypatch.setattr(crosscheck, "REFERENCE", few)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "results" / "smoke" / "crosscheck.json").read_text())["rows"])


def test_torchattacks_pyautoattack_and_foolbox_agree_image_by_image(say: Say, finished: Path) -> None:
    said, rows = say("crosscheck", *ONE), rows_of(finished)
    made = {(row["package"], row["attack"], row["norm"]) for row in rows}
    linf = {("pyautoattack", name, "Linf") for name in ("apgd_ce", "apgd_dlr", "apgd_t", "fab_t", "square")}
    l2 = {("pyautoattack", name, "L2") for name in ("apgd_ce", "apgd_dlr", "fab_t")}
    assert made == linf | l2 | {("foolbox", "fgsm", "Linf"), ("foolbox", "pgd", "Linf")}
    differing = [row["disagreements"] for row in rows]
    assert max(differing) <= 1  # an image on the boundary, of 16
    assert sum(differing) <= 3
    assert all(row["ours"] < row["images"] for row in rows if row["attack"] != "square")
    assert said.code == (1 if any(differing) else 0)


def test_an_attack_that_finds_something_else_is_counted_and_ends_with_1(
    say: Say, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clean(_attacked: AttackedSet, _ball: Radius, _attack: Attack, batch: Batch) -> Tensor:
        return batch.images

    monkeypatch.setitem(crosscheck.PACKAGES, "foolbox", clean)
    monkeypatch.setattr(crosscheck, "REFERENCE", ())
    assert say("crosscheck", *ONE).code == 1
    assert all(row["disagreements"] > 0 for row in rows_of(finished))


def test_without_foolbox_nothing_is_attacked(say: Say, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "foolbox", None)
    said = say("crosscheck", *ONE)
    assert said.code == 2
    assert "crosscheck needs foolbox: python -m pip install foolbox." in said.error
    assert not list((finished / "results").rglob("crosscheck.json"))


def test_another_checkpoint_or_none_or_no_record_is_one_message(say: Say, finished: Path) -> None:
    change_weights(next((finished / "runs").rglob("seed-0-*.pt")))
    said = say("crosscheck", *ONE)
    assert said.code == 2
    assert "has other weights" in said.error
    for folder, pattern, words in (
        ("runs", "seed-0-*.pt", "has no checkpoint"),
        ("results", "seed-0.json", "no finished record of these settings"),
    ):
        for path in (finished / folder).rglob(pattern):
            path.unlink()
        said = say("crosscheck", *ONE)
        assert said.code == 2
        assert words in said.error
