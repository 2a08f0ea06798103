"""Checkpoints: training resumes to the last bit, in the middle of an epoch too; damaged or other ones are not used."""

import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from networks.trained import CPU, MakeRun, epochs_of, whole
from torch import Tensor, nn

from benchmark.data.load import Data
from benchmark.networks.build import weights_hash
from benchmark.networks.catalogue import NETWORKS
from benchmark.runtime.errors import RunError, UsageError
from benchmark.settings.names import Row
from benchmark.settings.plan import Run
from benchmark.training import checkpoint
from benchmark.training.checkpoint import load_checkpoint, previous, save_checkpoint, snapshot
from benchmark.training.loop import OnStep, train_epoch
from benchmark.training.schedule import budget
from benchmark.training.state import State, start

SCHEDULED = ("arms.sba.settings.scheduler=every_nth", "arms.sba.settings.p=0.3", "arms.sba.settings.kl_ramp_steps=5")


def resumed(path: Path, run: Run, data: Data) -> State:
    """The state of a checkpoint about which there is nothing to log."""

    def refuse_to_log(text: str) -> None:
        raise AssertionError(text)

    state = start(run, data, CPU)
    assert load_checkpoint(path, run, run.identity, state, refuse_to_log)
    return state


@pytest.mark.parametrize("settings", [(), SCHEDULED, ("compute=true",)])
def test_training_resumes_after_every_step_to_the_last_bit(
    settings: tuple[str, ...], make_run: MakeRun, digits: Data, tmp_path: Path
) -> None:
    run, path = make_run("sba", 0, *settings), tmp_path / "run.pt"
    uncut, state = whole(run, digits), start(run, digits, CPU)
    allowed = budget(run, state, digits.train)

    def after_step(_steps: int) -> None:
        save_checkpoint(path, run, run.identity, state)
        raise KeyboardInterrupt

    interruptions = 0
    while state.position or not allowed.is_spent(state):
        try:
            state.epochs.append(train_epoch(run, state, digits.train, [OnStep(after_step)]))
        except KeyboardInterrupt:
            interruptions += 1
            state = resumed(path, run, digits)
    assert interruptions == state.images // run.recipe.batch_size  # every step
    assert weights_hash(state.model) == weights_hash(uncut.model)
    times = ("seconds", "images_per_second")
    for one, other in zip(state.epochs, uncut.epochs, strict=True):
        assert {k: v for k, v in one.items() if k not in times} == {k: v for k, v in other.items() if k not in times}
    assert (state.images, state.virtual, state.position) == (uncut.images, uncut.virtual, None)


def test_a_checkpoint_of_other_settings_is_not_used(make_run: MakeRun, digits: Data, tmp_path: Path) -> None:
    run, path, said = make_run("erm"), tmp_path / "run.pt", list[str]()
    save_checkpoint(path, run, "another identity", epochs_of(run, digits, 1))
    state = start(run, digits, CPU)
    before = weights_hash(state.model)
    assert not load_checkpoint(path, run, run.identity, state, said.append)
    assert weights_hash(state.model) == before
    assert len(said) == 1
    assert "not used" in said[0]


def test_the_entries_of_a_checkpoint_belong_to_its_format(
    make_run: MakeRun, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new entry here needs a new number: a version that looks for it must not be given an older checkpoint."""
    run = make_run("erm")
    held = ["model", "optimizer", "method", "streams", "weights_hash", "epochs", "images", "virtual", "skipped"]
    assert (checkpoint.FORMAT, list(snapshot(start(run, digits, CPU)))) == (2, [*held, "position"])
    key = checkpoint.checkpoint_key(run, digits, CPU)
    monkeypatch.setattr(checkpoint, "FORMAT", 3)
    assert checkpoint.checkpoint_key(run, digits, CPU) != key


def flipped(whole: bytes) -> bytes:
    """The bytes with one bit in the middle turned."""
    turned = bytearray(whole)
    turned[len(whole) // 2] ^= 1
    return bytes(turned)


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], flipped, lambda _: b""])
def test_after_a_damaged_checkpoint_comes_the_one_before(
    damage: Callable[[bytes], bytes], make_run: MakeRun, digits: Data, tmp_path: Path
) -> None:
    run, path, said = make_run("erm"), tmp_path / "run.pt", list[str]()
    state = start(run, digits, CPU)
    for _ in range(2):
        state.epochs.append(train_epoch(run, state, digits.train))
        save_checkpoint(path, run, run.identity, state)
    path.write_bytes(damage(path.read_bytes()))
    again = start(run, digits, CPU)
    assert load_checkpoint(path, run, run.identity, again, said.append)
    assert len(again.epochs) == 1
    assert "run.pt is damaged" in said[0]
    assert "run.damaged" in said[0]
    again.epochs.append(train_epoch(run, again, digits.train))
    assert weights_hash(again.model) == weights_hash(state.model)
    save_checkpoint(path, run, run.identity, again)
    resumed(path, run, digits)


def test_a_checkpoint_that_the_system_does_not_let_be_read_stays(
    make_run: MakeRun, digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, path = make_run("erm"), tmp_path / "run.pt"
    state = start(run, digits, CPU)
    save_checkpoint(path, run, "key", state)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", fail)
        with pytest.raises(RunError, match=r"run\.pt cannot be read: Input/output error"):
            load_checkpoint(path, run, "key", state, print)
    assert load_checkpoint(path, run, "key", state, print)


def test_where_every_checkpoint_is_damaged_training_starts_anew(
    make_run: MakeRun, digits: Data, tmp_path: Path
) -> None:
    run, path, said = make_run("erm"), tmp_path / "run.pt", list[str]()
    for damaged in (path, previous(path)):
        damaged.write_bytes(b"not a checkpoint")
    state = start(run, digits, CPU)
    assert not load_checkpoint(path, run, run.identity, state, said.append)
    assert len(said) == 2
    assert state.epochs == []


# A network or a method whose code has changed under the same name

LAYERS, FROZEN = {"a": 64, "b": 64, "c": 8}, "c"  # name -> outputs; the layer that is not trained


def network(normalize: nn.Module, classes: int, images: Tensor) -> nn.Module:
    stages, width = {"normalize": normalize, "flat": nn.Flatten()}, images[0].numel()
    for name, outputs in (LAYERS | {"out": classes}).items():
        stages[name], width = nn.Linear(width, outputs).requires_grad_(name != FROZEN), outputs
    return nn.Sequential(OrderedDict(stages))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"LAYERS": {"a": 64, "x": 64, "c": 8}}, "It lacks x.weight; lacks x.bias; has b.weight, unknown here;"),
        ({"LAYERS": {"a": 64, "b": 64, "c": 4}}, "It has c.weight as 8 x 64, here 4 x 64;"),
        ({"LAYERS": {"b": 64, "a": 64, "c": 8}}, "a.weight was in the place of b.weight"),
        ({"FROZEN": "a"}, "c.weight was not a trainable weight in its place"),
        ({"FROZEN": ""}, "doesn't match the size of optimizer's group"),
    ],
)
def test_a_checkpoint_of_an_earlier_network_of_the_same_name_is_one_message(
    change: Mapping[str, Any],
    told: str,
    make_run: MakeRun,
    digits: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(NETWORKS, "mine", Row(f"{__name__}:network", "three layers"))
    run, path = make_run("erm", 0, "model.name=mine"), tmp_path / "run.pt"
    save_checkpoint(path, run, "key", epochs_of(run, digits, 1))
    assert load_checkpoint(path, run, "key", start(run, digits, CPU), print)
    for name, value in change.items():
        monkeypatch.setitem(globals(), name, value)
    with pytest.raises(UsageError, match=r"run\.pt no longer fits") as caught:
        load_checkpoint(path, run, "key", start(run, digits, CPU), print)
    assert told in str(caught.value)
    assert "`run --force`" in str(caught.value)


def test_a_checkpoint_of_an_earlier_method_of_the_same_name_is_one_message(
    make_run: MakeRun, digits: Data, tmp_path: Path
) -> None:
    run, path = make_run("sba"), tmp_path / "run.pt"
    state = start(run, digits, CPU)
    state.method = SimpleNamespace(state_dict=lambda: {"calls": 3})
    save_checkpoint(path, run, "key", state)
    with pytest.raises(UsageError, match=r"(?s)run\.pt no longer fits.*method of arm sba.*--force.*'calls': 3"):
        load_checkpoint(path, run, "key", start(run, digits, CPU), print)
