"""`autoattack`: AutoAttack standard on trained runs, image by image beside the study's own attacks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies.saying import Say
from studies.tiny_study import ATTACKED, ATTACKS, TINY, read
from torch import Tensor, nn

from benchmark.evaluation import crosscheck
from benchmark.evaluation.attacks import Radius
from benchmark.evaluation.joint import AttackedSet, survivors
from benchmark.networks import small
from benchmark.records.outcomes import unpack_bits
from benchmark.settings.preset import Attack

ONE = ("smoke", *TINY, "--arms", "erm", "--seeds", "1")
FEW = ("--images", "16")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoAttack cut short."""
    monkeypatch.setattr(crosscheck, "STANDARD_STEPS", 3)
    monkeypatch.setattr(crosscheck, "STANDARD_QUERIES", 10)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows as another program sees them."""
    return list(json.loads((folder / "results" / "smoke" / "autoattack.json").read_text())["rows"])


@pytest.mark.usefixtures("short")
def test_the_first_of_the_attacked_images_meet_autoattack_at_the_named_eps(say: Say, finished: Path) -> None:
    said = say("autoattack", *ONE, *FEW)
    assert said.code == 0, said.error
    record = read(finished / "results/smoke/erm/seed-1.json")
    (row,) = rows_of(finished)
    assert (row["arm"], row["seed"], row["eps"], row["images"]) == ("erm", 1, 16.0, 16)
    assert row["weights"] == record["final_weights_hash"]
    assert 16 >= row["clean"] >= row["suite"] >= 0
    assert row["clean"] > row["robust"] == unpack_bits(row["correct"], 16).sum()

    # All images at another eps: what survives the study's attacks is what its record has.
    assert say("autoattack", *ONE, "--eps", "4").code == 0
    small, large = rows_of(finished)
    assert (small["eps"], large["eps"], small["images"]) == (4.0, 16.0, ATTACKED)
    outcomes = [a for a in record["robustness"]["attacks"] if a["norm"] == "Linf" and a["eps"] == 4.0]
    assert small["suite"] == np.logical_and.reduce([unpack_bits(a["correct"], ATTACKED) for a in outcomes]).sum()
    assert small["clean"] == unpack_bits(record["robustness"]["clean"], ATTACKED).sum()
    assert small["clean"] >= large["clean"]


@pytest.mark.usefixtures("short")
def test_what_was_attacked_is_not_attacked_again(say: Say, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert say("autoattack", *ONE, *FEW).code == 0
    before = rows_of(finished)
    monkeypatch.setattr(crosscheck, "reference_survivors", None)  # to call it is an error
    said = say("autoattack", *ONE, *FEW)
    assert said.code == 0
    assert rows_of(finished) == before


def test_the_suites_survivors_are_those_of_the_same_images(
    say: Say, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image is matched with itself: attacked again by the suite, as many stand as the record says."""

    def suite(attacked: AttackedSet, left: Tensor, radius: Radius, *_: int) -> Tensor:
        attacked = attacked._replace(model=attacked.model.in_batches_of(64))
        for name, steps in ATTACKS.items():
            left = survivors(attacked, left, radius, Attack(name=name, steps=steps))
        return left

    monkeypatch.setattr(crosscheck, "reference_survivors", suite)
    assert say("autoattack", *ONE, "--images", "13", "--eps", "4,16").code == 0
    for row in rows_of(finished):
        assert row["robust"] == row["suite"]


def test_another_record_or_eps_is_one_message(say: Say, finished: Path) -> None:
    assert "made no attack at eps = 3/255" in say("autoattack", *ONE, "--eps", "3").error
    assert "no finished record of these settings" in say("autoattack", *ONE, "--set=recipe.epochs=4").error
    assert "results/smoke holds records of the preset smoke" in say("autoattack", *ONE, "--results=results/smoke").error
    assert not (finished / "results/smoke/autoattack.json").exists()


def test_a_network_that_has_changed_since_the_run_is_one_message(
    say: Say, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = next((finished / "runs/smoke/erm").glob("seed-1-*.pt")).relative_to(finished)
    monkeypatch.setattr(
        small, "small_net", lambda normalize, *_: nn.Sequential(normalize, nn.Flatten(), nn.Linear(64, 10))
    )
    said = say("autoattack", *ONE)
    assert said.code == 2
    assert said.has(f"the checkpoint {checkpoint} no longer fits the network 'small'", "It lacks 0.mean;", "--force")
    said = say("evaluate", str(checkpoint), *TINY)
    assert said.code == 2
    assert said.has("the checkpoint is not one of network 'small': it lacks 0.mean;", "as it was then, by --model")
    (finished / "results/smoke/erm/seed-1.json").unlink()
    said = say("run", *ONE)
    assert said.code == 2
    assert said.has("weights of the network: 24058 -> 650", "--force")
