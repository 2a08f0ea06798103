"""`evaluate`: the report of anyone's network, and a clear message where it cannot be made."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from saying import Said, Say
from tiny_study import TINY
from torch import nn

from benchmark.records.store import read_record

NETWORKS = '''
import torch
from torch import nn


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def probabilities():
    return nn.Sequential(linear(), nn.Softmax(1))


def five_classes():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))


def colour_only():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 10))


def not_finite():
    network = linear()
    nn.init.constant_(network[1].weight, float("nan"))
    return network


def needs_an_argument(width):
    return linear()


def no_network():
    return 3


class Counting(nn.Module):
    """Counts its calls in a buffer, as a defence that changes while it is attacked would."""

    def __init__(self):
        super().__init__()
        self.inner = linear()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images):
        self.calls += 1
        return self.inner(images)
'''
SMALL = ("--set=evaluation.images=24", "--set=evaluation.batch_size=24", "--set=evaluation.eps=[16.0]", *TINY[-1:])


@pytest.fixture
def networks(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a module of networks, as a user would have it."""
    (fresh / "mine.py").write_text(NETWORKS)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return fresh


def evaluated(say: Say, *arguments: str) -> Said:
    return say("evaluate", "--preset", "smoke", *SMALL, *arguments)


def test_a_checkpoint_of_a_run_is_evaluated_as_in_its_record(say: Say, fresh: Path) -> None:
    assert say("run", "smoke", "--arms", "sba", "--seeds", "1", *TINY).code == 0
    (checkpoint,) = (fresh / "runs").rglob("*.pt")
    said = say("evaluate", str(checkpoint), *TINY, "--output", "found.json")
    assert said.code == 0, said.error
    (record,) = map(read_record, (fresh / "results").rglob("seed-1.json"))
    found: Any = json.loads((fresh / "found.json").read_text(encoding="utf-8"))
    for part in ("clean", "robustness", "calibration", "checks", "flags"):
        assert found[part] == dict(record)[part]
    assert "sba" in said.out
    assert "No check raised a flag" in said.out


def test_a_network_of_ones_own_gets_the_same_report(say: Say, networks: Path) -> None:  # noqa: ARG001
    said = evaluated(say, "--model", "mine:linear")
    assert said.code == 0, said.error
    for text in ("# linear: ", "median minimal eps", "apgd_dlr (2)", " mean (sd) ", "ECE, %"):
        assert text in said.out


def test_weights_are_loaded_into_the_callables_network(say: Say, networks: Path) -> None:
    always_nine = {"1.weight": torch.zeros(10, 64), "1.bias": torch.arange(10.0)}
    torch.save(always_nine, networks / "weights.pt")
    assert evaluated(say, "weights.pt", "--model", "mine:linear", "--output", "found.json").code == 0
    nines = json.loads((networks / "found.json").read_text())
    assert 0.05 < read_share(nines) < 0.15


def read_share(record: dict[str, Any]) -> float:
    """The share of all test images that are right."""
    from benchmark.records.outcomes import unpack_bits

    return float(unpack_bits(record["clean"]["correct"], record["clean"]["n"]).mean())


def test_probabilities_raise_a_flag_that_says_what_to_do(say: Say, networks: Path) -> None:  # noqa: ARG001
    said = evaluated(say, "--model", "mine:probabilities")
    assert said.code == 0
    assert "check 2: it returns probabilities; leave out the softmax and return logits" in said.out


@pytest.mark.parametrize(
    ("model", "code", "told"),
    [
        ("mine:five_classes", 2, "returns 2 x 5 for 2 images; digits has 10 classes"),
        ("mine:colour_only", 2, "fails on images of 1 x 8 x 8"),
        ("mine:not_finite", 1, "logits are not finite"),
        ("mine:Counting", 1, "changed the network's state"),
        ("mine:needs_an_argument", 2, "needs_an_argument() missing 1 required positional argument"),
        ("mine:no_network", 2, "returned int; it must return a torch.nn.Module"),
        ("mine:nowhere", 2, "has no attribute 'nowhere'"),
        ("theirs:linear", 2, "No module named 'theirs'"),
        ("mine", 2, "package.module:callable"),
    ],
)
def test_a_network_that_does_not_fit_is_one_message(
    say: Say,
    networks: Path,  # noqa: ARG001
    model: str,
    code: int,
    told: str,
) -> None:
    said = evaluated(say, "--model", model)
    assert said.code == code
    assert told in said.error


def test_a_checkpoint_of_another_architecture_is_refused_with_what_differs(say: Say, networks: Path) -> None:
    torch.save(nn.Linear(3, 4).state_dict(), networks / "other.pt")
    said = evaluated(say, "other.pt")
    assert said.code == 2
    assert "not one of network 'small': it lacks normalize.mean" in said.error
    torch.save({"1.weight": torch.zeros(7, 64), "1.bias": torch.zeros(10)}, networks / "narrow.pt")
    assert "1.weight is 7 x 64, here 10 x 64" in evaluated(say, "narrow.pt", "--model", "mine:linear").error


def test_a_file_that_needs_pickled_code_is_refused_and_its_code_not_run(say: Say, networks: Path) -> None:
    torch.save(nn.Linear(3, 4), networks / "pickled.pt")
    said = evaluated(say, "pickled.pt")
    assert said.code == 2
    assert "pickled code" in said.error
    assert "state_dict" in said.error


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "needs a CHECKPOINT, or --model"),
        (("nothing.pt",), "there is no file nothing.pt"),
        (("mine.py",), "not a whole file of torch.save"),
        (("--model", "mine:linear"), "Name a preset by --preset"),
        (("--model", "mine:linear", "--preset", "smoke", "--set", "evaluation.eps=[-1.0]"), "evaluation.eps"),
        (("--model", "mine:linear", "--preset", "smok"), "did you mean 'smoke'"),
        (
            ("--model", "mine:linear", "--preset", "smoke", "--set", 'evaluation.attacks=[{name = "pgdd", steps = 1}]'),
            "there is no such attack; did you mean",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    say: Say,
    networks: Path,  # noqa: ARG001
    arguments: tuple[str, ...],
    told: str,
) -> None:
    said = say("evaluate", *arguments)
    assert said.code == 2
    assert told in said.error
