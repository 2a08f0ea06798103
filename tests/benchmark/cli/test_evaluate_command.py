"""`evaluate`: the report of anyone's network, and a clear message where it cannot be made."""

import sys
from pathlib import Path

import pytest
import torch
from studies.saying import Said, Say
from studies.tiny_study import TINY, change_weights, read
from torch import nn

from benchmark.records.outcomes import unpack_bits

SMALL = ("--set=evaluation.images=24", "--set=evaluation.batch_size=24", "--set=evaluation.eps=[16.0]", *TINY[-1:])
MODULES = {
    "mine": "from networks.foreign_networks import linear\ninstance = linear()",
    "leaves": "import sys\nsys.exit()",
    "misspelt": "def network(:\n    pass",
    "cluttered": "raise RuntimeError('a long story\\n' * 1000)",
}


@pytest.fixture
def modules(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with modules of networks, as a user would have it."""
    for name, text in MODULES.items():
        (fresh / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return fresh


def evaluated(say: Say, *arguments: str) -> Said:
    return say("evaluate", "--preset", "smoke", *SMALL, *arguments)


def test_a_checkpoint_of_a_run_is_evaluated_as_in_its_record(say: Say, finished: Path) -> None:
    checkpoint = next((finished / "runs/smoke/sba").glob("seed-1-*.pt"))
    said = say("evaluate", str(checkpoint), *TINY, "--output", "found.json")
    assert said.code == 0, said.error
    record, found = read(finished / "results/smoke/sba/seed-1.json"), read(finished / "found.json")
    for part in ("clean", "robustness", "calibration", "checks", "flags", "final_weights_hash"):
        assert found[part] == record[part]
    assert "sba" in said.out
    assert "No check raised a flag" in said.out


def test_a_checkpoint_of_another_epoch_than_its_record_is_refused(say: Say, finished: Path) -> None:
    checkpoint = next((finished / "runs/smoke/erm").glob("seed-0-*.pt"))
    change_weights(checkpoint)
    said = say("evaluate", str(checkpoint), *SMALL)
    assert said.code == 2
    assert "erm seed 0: the checkpoint" in said.error
    assert f"than the record's ({read(finished / 'results/smoke/erm/seed-0.json')['final_weights_hash']})" in said.error
    assert say("evaluate", str(checkpoint), *SMALL, "--results", "elsewhere").code == 0


def test_a_checkpoint_of_a_preset_of_ones_own_asks_for_its_file(say: Say, finished: Path) -> None:
    """Of its variants, too; by the file's path it is evaluated as in its record."""
    Path("mine.toml").write_text('extends = "smoke"\n', encoding="utf-8")
    (checkpoint,) = (finished / "runs/smoke/erm").glob("seed-0-*.pt")
    for name, precision in (("mine", "bfloat16"), ("mine-smoke_compute", "bfloat16"), ("other", "float32")):
        values = torch.load(checkpoint, weights_only=True)
        values["run"]["preset"] = name
        torch.save(values, checkpoint)
        said = say("evaluate", str(checkpoint), *SMALL)
        assert said.code == 2
        assert said.has(f"from a run of '{name}'", f"--preset path/to/{name.removesuffix('-smoke_compute')}.toml")
        bf16 = ("--set", "recipe.precision='bfloat16'")
        said = say("evaluate", str(checkpoint), "--preset", "mine.toml", *bf16, *SMALL, "--output", f"{name}.json")
        assert said.code == 0, said.error
        assert read(Path(f"{name}.json"))["settings"]["recipe"]["precision"] == precision


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("name", ["linear", "instance"])  # a function, a network
def test_a_network_of_ones_own_gets_the_same_report(say: Say, name: str) -> None:
    said = evaluated(say, "--model", f"mine:{name}")
    assert said.code == 0, said.error
    for text in (f"# {name}: ", "median minimal eps", "apgd_dlr (2)", " mean (sd) ", "ECE, %"):
        assert text in said.out


def test_weights_are_loaded_into_the_callables_network(say: Say, modules: Path) -> None:
    always_nine = {"1.weight": torch.zeros(10, 64), "1.bias": torch.arange(10.0)}
    torch.save(always_nine, modules / "weights.pt")
    assert evaluated(say, "weights.pt", "--model", "mine:linear", "--output", "found.json").code == 0
    clean = read(modules / "found.json")["clean"]
    assert 0.05 < unpack_bits(clean["correct"], clean["n"]).mean() < 0.15


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "needs a CHECKPOINT, or --model"),
        (("nothing.pt",), "there is no file nothing.pt"),
        (("nothing.pt", "--output", "./nothing.pt"), "is the checkpoint, which the record would replace"),
        (("mine.py",), "not a whole file of torch.save"),
        (("--model", "mine:linear"), "Name a preset by --preset"),
        (("--model", "mine:linear", "--preset", "smoke", "--set", "evaluation.eps=[-1.0]"), "evaluation.eps"),
        (("--model", "mine:linear", "--preset", "smok"), "did you mean 'smoke'"),
        (
            ("--model", "mine:linear", "--preset", "cifar10", "--device", "cpu", "--set", "recipe.epoch=1"),
            "cifar10_cpu",
        ),
        (
            ("--model", "mine:linear", "--preset", "smoke", "--set", 'evaluation.attacks=[{name = "pgdd", steps = 1}]'),
            "there is no such attack; did you mean",
        ),
        (("--preset", "smoke", "--model", "mine:nowhere"), "has no attribute 'nowhere'"),
        (("--preset", "smoke", "--model", "theirs:linear"), "No module named 'theirs'"),
        (("--preset", "smoke", "--model", "mine"), "package.module:callable"),
        (("--preset", "smoke", "--model", "leaves:network"), "SystemExit ("),
        (("--preset", "smoke", "--model", "misspelt:network"), "SyntaxError: invalid syntax"),
        (("--preset", "smoke", "--model", "cluttered:network"), "RuntimeError: a long story a long story"),
    ],
)
def test_what_is_missing_or_wrong_is_named(say: Say, arguments: tuple[str, ...], told: str) -> None:
    said = say("evaluate", *arguments)
    assert said.code == 2
    assert told in said.error
    assert len(said.error) < 1500


@pytest.mark.usefixtures("modules")
def test_a_file_that_needs_pickled_code_is_refused(say: Say) -> None:
    torch.save(nn.Linear(3, 4), "pickled.pt")
    said = evaluated(say, "pickled.pt")
    assert said.code == 2
    assert "pickled code" in said.error
    assert "state_dict" in said.error
