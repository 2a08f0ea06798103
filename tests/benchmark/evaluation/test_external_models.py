"""Networks and checkpoints of other people: evaluated as ours are, or refused in one message with their own words."""

import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks.foreign_networks import NETWORKS, After, Before, in_place, large_offset, plain, sequence
from studies.saying import Said, Say
from studies.tiny_study import read
from torch import Tensor, nn

from benchmark.data.load import Data
from benchmark.evaluation.evaluate import clean_logits
from benchmark.evaluation.external_models import ExternalModel, load_into, load_weights
from benchmark.records.outcomes import unpack_bits
from benchmark.runtime.errors import UsageError
from benchmark.settings.load import load_preset

QUICKLY_TRIED = ("no_state", "returns_nothing", "batch_statistics")  # the other networks that work are slow tests
SETTINGS = (
    "data.train_images=128",
    "evaluation.images=32",
    "evaluation.batch_size=32",
    "evaluation.eps=[4.0, 16.0]",
    'evaluation.attacks=[{name = "apgd_ce", steps = 10}, {name = "apgd_dlr", steps = 10}]',
    "evaluation.checks={images = 32, square_queries = 50, repeated = 16, long_steps = 20, reference_steps = 3, "
    "reference_queries = 20}",
)


def evaluate(name: str, say: Say, *more: str) -> Said:
    """Evaluate a foreign network by the command; warnings of its own code are its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen = ("--preset", "smoke", "--device", "cpu", "--model", f"networks.foreign_networks:{name}")
        return say("evaluate", *chosen, *(f"--set={setting}" for setting in SETTINGS), *more)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("name", [name for name, row in NETWORKS.items() if row.outcome == "refused"])
def test_a_network_that_cannot_be_evaluated_is_refused_in_one_message(name: str, say: Say) -> None:
    said = evaluate(name, say)
    assert said.code in (1, 2)
    assert said.error.startswith("error: ")
    assert said.error.count("\n") == 1
    assert len(said.error) < 2000
    assert said.has(NETWORKS[name].words)
    assert "# " not in said.out


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name not in QUICKLY_TRIED else [])
        for name, row in NETWORKS.items()
        if row.outcome != "refused"
    ],
)
def test_a_network_that_works_is_evaluated_and_flagged_where_it_looks_robust(name: str, say: Say) -> None:
    said, row = evaluate(name, say), NETWORKS[name]
    assert said.code == 0, said.error
    flags = [line for line in said.out.splitlines() if "check " in line and ": " in line]
    assert ("No check raised a flag" in said.out) == (row.outcome == "evaluated"), flags
    assert row.words in " | ".join(flags)


def test_images_are_not_changed_and_double_logits_are_converted() -> None:
    images = torch.rand(2, 1, 8, 8)
    before = images.clone()
    logits = ExternalModel(Before(in_place).double())(images)
    assert torch.equal(images, before)
    assert logits.dtype == torch.float32
    assert ExternalModel(After(lambda logits: logits.double()))(images).dtype == torch.float32


def test_a_foreign_network_is_evaluated_in_float32_whatever_the_presets_precision(
    say: Say, fresh: Path, digits: Data
) -> None:
    """Its logits are about 100, where bfloat16 has steps of 0.5."""
    few = ('--set=evaluation.attacks=[{name="fgsm", steps=1}]', "--set=evaluation.images=8")
    said = evaluate("logits_about_100", say, "--set=recipe.precision=bfloat16", "--output=found.json", *few)
    assert said.code == 0, said.error
    found = read(fresh / "found.json")
    recipes = {kind: load_preset("smoke", (f"recipe.precision={kind}",)).recipe for kind in ("float32", "bfloat16")}
    right = {}
    for kind, recipe in recipes.items():
        logits, labels = clean_logits(recipe, After(large_offset), digits.test)
        right[kind] = (logits.argmax(1) == labels).tolist()
    assert found["settings"]["recipe"]["precision"] == "float32"
    assert unpack_bits(found["clean"]["correct"], found["clean"]["n"]).tolist() == right["float32"] != right["bfloat16"]


# State dicts.


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "net.", "model._orig_mod.", "backbone.net."])
@pytest.mark.parametrize("longer", ["the checkpoint", "the network"])
def test_a_prefix_that_all_names_share_is_left_out_or_added_and_named(
    prefix: str, longer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, fresh = plain(), sequence(nn.BatchNorm2d(8))
    weights, network = trained.state_dict(), nn.Module()
    if longer == "the checkpoint":
        weights, network = OrderedDict((prefix + key, value) for key, value in weights.items()), fresh
    else:
        inner = network
        *above, last = prefix.removesuffix(".").split(".")
        for name in above:
            inner.add_module(name, nn.Module())
            inner = inner.get_submodule(name)
        inner.add_module(last, fresh)
    load_into(network, weights, "mine")
    assert all(
        torch.equal(a, b) for a, b in zip(fresh.state_dict().values(), trained.state_dict().values(), strict=True)
    )
    assert f"differ by the prefix {prefix!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"extra": torch.ones(1)}, ("lacks 0.weight", "The network has 0.weight", "checkpoint has net.0.weight")),
        ({"net.4.bias": None}, ("lacks 0.weight", "The network has 0.weight", "checkpoint has net.0.weight")),
        ({"net.4.bias": torch.ones(9)}, ("has 4.bias as 9, here 10",)),
        ({"net.4.bias": torch.ones(10) * 1j}, ("4.bias in torch.complex64, here torch.float32",)),
        ({"net.4.bias": torch.ones(10, dtype=torch.int8)}, ("4.bias in torch.int8, here torch.float32",)),
    ],
)
def test_weights_of_another_network_are_refused_with_both_sides(
    changes: dict[str, Tensor | None], told: tuple[str, ...]
) -> None:
    weights = {f"net.{key}": value for key, value in plain().state_dict().items()} | changes
    with pytest.raises(UsageError) as caught:
        load_into(plain(), {key: value for key, value in weights.items() if value is not None}, "mine")
    assert all(part in str(caught.value) for part in ("not one of network 'mine'", *told)), caught.value


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("open('pwned', 'w')",)


def test_a_file_of_torch_before_1_6_is_loaded_and_its_code_not_run(fresh: Path) -> None:
    torch.save({"state_dict": plain().state_dict()}, fresh / "old.pth", _use_new_zipfile_serialization=False)
    weights, run = load_weights(fresh / "old.pth")
    assert not run
    assert torch.equal(weights["0.weight"], plain().state_dict()["0.weight"])
    torch.save({"state_dict": Payload()}, fresh / "bad.pth", _use_new_zipfile_serialization=False)
    for path in ("bad.pth", "other.pth"):
        with pytest.raises(UsageError, match=r"would run pickled code|not a whole file"):
            load_weights(fresh / path)
        (fresh / "other.pth").write_bytes(pickle.dumps(Payload()))
    assert not (fresh / "pwned").exists()
    (fresh / "cut.pth").write_bytes((fresh / "old.pth").read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"cut\.pth cannot be loaded"):
        load_weights(fresh / "cut.pth")


def test_an_archive_that_would_take_more_memory_than_its_size_is_not_unpacked(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"weight": torch.zeros(2**20)}, fresh / "whole.pt")
    with (
        zipfile.ZipFile(fresh / "whole.pt") as whole,
        zipfile.ZipFile(fresh / "small.pt", "w", zipfile.ZIP_DEFLATED) as to,
    ):
        for name in whole.namelist():
            to.writestr(name, whole.read(name))
    monkeypatch.setattr(torch, "load", None)  # to call it is an error
    with pytest.raises(
        UsageError, match=r"small.pt cannot be loaded \(it has 5,\d+ bytes and would unpack to 4,1\d+,\d+"
    ):
        load_weights(fresh / "small.pt")


def test_a_file_in_a_folder_that_may_not_be_searched_is_named(
    say: Say, fresh: Path, close: Callable[[Path], None]
) -> None:
    close(fresh / "private")
    said = say("evaluate", "private/trained.pt")
    assert (said.code, said.error) == (2, "error: private/trained.pt may not be used: Permission denied.\n")


RUN: dict[str, Any] = {"preset": "smoke", "arm": "erm", "seed": 0}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"run": RUN | {"seed": "one"}}, "its seed is 'one'"),
        ({"run": RUN | {"seed": -1}}, "its seed is -1"),
        ({"run": RUN | {"seed": 2**70}}, "its seed is 1180591620717411303424"),
        ({"run": RUN | {"seed": torch.ones(2)}}, "its seed is tensor([1., 1.])"),
        ({"run": RUN | {"arm": ["erm"]}}, "its arm is ['erm']"),
        ({"run": RUN | {"arm": "a\nb"}}, r"its arm is 'a\nb'"),
        ({"run": RUN | {"preset": None}}, "its preset is None"),
        ({"run": RUN | {"preset": "../smoke"}}, "../smoke"),
        ({"run": {"name": "wandb"}}, "Name a preset by --preset"),
        ({"run": 5, "key": torch.ones(3)}, "Name a preset by --preset"),
        ({"model": {1: torch.ones(1)}}, "under model, state_dict, model_state_dict: found 1"),
        ({"model": {"a": 1, "b" * 10**6: 2}}, "under model, state_dict, model_state_dict: found a, bbbbb"),
        ({"model": {}}, "under model, state_dict, model_state_dict: found nothing"),
        ({"model": None, "net": {}}, "under model, state_dict, model_state_dict: found model, net"),
    ],
)
def test_odd_metadata_is_one_sentence(changes: dict[str, Any], told: str, say: Say, fresh: Path) -> None:
    torch.save({"model": plain().state_dict()} | changes, fresh / "odd.pt")
    said = say("evaluate", "odd.pt")
    assert said.code == 2
    assert told in said.error
    assert len(said.error) < 1500
    assert said.error.count("\n") == 1
