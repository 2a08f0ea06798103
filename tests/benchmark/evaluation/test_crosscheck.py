"""`crosscheck`: other packages' attacks find the same on trained runs, and the report says so."""

import json
from pathlib import Path

import pytest
import torch
from saying import Say
from torch import Tensor

from benchmark.evaluation import crosscheck
from benchmark.evaluation.joint import AttackedSet

CHECKED = (
    "smoke",
    "--set=recipe.epochs=3",
    "--set=evaluation.images=48",
    "--set=evaluation.batch_size=16",
    "--set=evaluation.eps=[8.0, 16.0]",
    '--set=evaluation.attacks=[{name = "apgd_dlr", steps = 3}]',
    "--set=evaluation.l2_eps=[0.5, 1.0]",
    '--set=evaluation.l2_attacks=[{name = "apgd_dlr", steps = 3}]',
    "--set=evaluation.checks={images = 16, square_queries = 10, repeated = 32, long_steps = 4, "
    "reference_steps = 3, reference_queries = 10}",
)
ONE = ("--arms", "erm", "--seeds", "0")


def test_torchattacks_pyautoattack_and_foolbox_agree_image_by_image(say: Say, fresh: Path) -> None:
    assert say("run", *CHECKED, *ONE).code == 0
    said = say("crosscheck", *CHECKED, *ONE)
    assert said.code == 0, said.out
    rows = json.loads((fresh / "results" / "smoke" / "crosscheck.json").read_text())["rows"]
    made = {(row["package"], row["attack"], row["norm"]) for row in rows}
    linf = {("pyautoattack", name, "Linf") for name in ("apgd_ce", "apgd_dlr", "apgd_t", "fab_t", "square")}
    l2 = {("pyautoattack", name, "L2") for name in ("apgd_ce", "apgd_dlr", "fab_t")}
    assert made == linf | l2 | {("foolbox", "fgsm", "Linf"), ("foolbox", "pgd", "Linf")}
    assert all(row["disagreements"] == 0 and row["ours"] == row["theirs"] < row["images"] for row in rows)
    assert say("report").code == 0
    report = (fresh / "results" / "checks.md").read_text()
    assert "No image has another outcome." in report
    assert "| foolbox      | `pgd`" in report


def test_an_attack_that_finds_something_else_is_counted_and_ends_with_1(
    say: Say, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody_falls(subject: AttackedSet, *_: object) -> Tensor:
        return torch.ones_like(subject.clean)

    assert say("run", *CHECKED, *ONE).code == 0
    monkeypatch.setattr(crosscheck, "foolbox_survivors", nobody_falls)
    monkeypatch.setattr(crosscheck, "REFERENCE", ())
    said = say("crosscheck", *CHECKED, *ONE)
    assert said.code == 1
    rows = json.loads((fresh / "results" / "smoke" / "crosscheck.json").read_text())["rows"]
    assert all(row["disagreements"] > 0 for row in rows)
    assert say("report").code == 0
    assert "outcomes differ.**" in (fresh / "results" / "checks.md").read_text()


def test_a_run_without_record_or_checkpoint_is_one_message(say: Say, fresh: Path) -> None:
    assert "no finished record of these settings" in say("crosscheck", *CHECKED, *ONE).error
    assert say("run", *CHECKED, *ONE).code == 0
    next((fresh / "runs").rglob("seed-0-*.pt")).unlink()
    said = say("crosscheck", *CHECKED, *ONE)
    assert said.code == 2
    assert "has no checkpoint" in said.error


def test_a_damaged_file_is_named(say: Say, fresh: Path) -> None:
    (fresh / "results" / "smoke").mkdir(parents=True)
    (fresh / "results" / "smoke" / "crosscheck.json").write_text("{")
    said = say("report")
    assert said.code == 1
    assert "crosscheck.json cannot be read" in said.error
