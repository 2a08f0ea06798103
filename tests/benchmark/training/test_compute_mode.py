"""Compute mode: every arm trains until it has spent what plain training spends, with the rate over that budget."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from tiny_study import pixels_of, worker

from benchmark.data.load import Data, to_float
from benchmark.execution.paths import Folders
from benchmark.execution.progress import Progress
from benchmark.execution.record import training_cost
from benchmark.execution.worker import execute
from benchmark.networks.build import weights_hash
from benchmark.networks.flops import training_flops
from benchmark.records.store import read_record, record_path
from benchmark.runtime.errors import UsageError
from benchmark.settings.load import load_preset
from benchmark.settings.plan import Run, at_equal_compute, make_plan
from benchmark.training.loop import train_epoch
from benchmark.training.schedule import budget
from benchmark.training.state import State, start

MakeRun = Callable[..., Run]
CPU = torch.device("cpu")


def at_compute(run: Run) -> Run:
    """The same arm and seed in compute mode."""
    return make_plan(at_equal_compute(run.preset), [run.arm], [run.seed])[0]


def trained(run: Run, data: Data) -> State:
    state = start(run, data, CPU)
    allowed = budget(run, state, data.train)
    while not allowed.is_spent(state):
        state.epochs.append(train_epoch(run, state, data.train))
    return state


def test_plain_training_is_the_same_to_the_last_bit_in_both_modes(make_run: MakeRun, digits: Data) -> None:
    run = make_run("erm", 0, "recipe.epochs=2")
    by_epochs, by_compute = trained(run, digits), trained(at_compute(run), digits)
    assert weights_hash(by_epochs.model) == weights_hash(by_compute.model)
    assert [e["learning_rate"] for e in by_epochs.epochs] == [e["learning_rate"] for e in by_compute.epochs]
    assert "images" not in by_compute.epochs[-1]


@pytest.mark.parametrize("arm", ["sba", "mixup"])
def test_no_arm_spends_more_than_plain_training_but_for_its_last_step(
    arm: str, make_run: MakeRun, digits: Data
) -> None:
    plain = trained(make_run("erm", 0, "recipe.epochs=4"), digits)
    run = at_compute(make_run(arm, 0, "recipe.epochs=4"))
    state = trained(run, digits)
    allowed, ours = (training_cost(s, digits, CPU)["train_flops"] for s in (plain, state))
    image = to_float(pixels_of(digits.train)[:1])
    batch = run.preset.recipe.batch_size
    step = batch * (training_flops(state.model, image) * 2)  # an augmented step costs at most twice a plain one
    assert allowed - step < ours < allowed + step
    assert (state.images < plain.images) == (arm == "sba")


def test_an_arm_that_costs_twice_as_much_trains_half_as_long_at_the_whole_schedule(
    make_run: MakeRun, digits: Data
) -> None:
    twice = ("arms.sba.settings.p=1.0", 'arms.sba.settings.layers=["input"]', "recipe.epochs=4")
    run = at_compute(make_run("sba", 0, *twice))
    state = trained(run, digits)
    plain = trained(make_run("erm", 0, "recipe.epochs=4"), digits)
    assert state.images == pytest.approx(plain.images / 2, abs=run.preset.recipe.batch_size)
    assert len(state.epochs) == 2
    peak = max(e["learning_rate"] for e in plain.epochs)
    assert state.epochs[-1]["learning_rate"] < 0.5 * peak  # it has come down with the budget


def test_a_training_that_is_over_is_not_gone_on_with(make_run: MakeRun, digits: Data) -> None:
    run = make_run("erm", 0, "recipe.epochs=1")
    state = trained(run, digits)
    with pytest.raises(ValueError, match="the training of erm seed 0 is over"):
        train_epoch(run, state, digits.train)


def test_an_epoch_that_is_cut_short_says_so(make_run: MakeRun, digits: Data) -> None:
    run = at_compute(make_run("sba", 0, "recipe.epochs=3", "recipe.batch_size=20"))
    state = trained(run, digits)
    whole = len(digits.train.labels) // 20 * 20
    counted = [e.get("images", whole) for e in state.epochs]
    assert sum(counted) == state.images
    assert counted[-1] < whole
    assert all("images" not in epoch for epoch in state.epochs[:-1])


def test_going_on_from_a_checkpoint_ends_where_the_whole_training_does(
    make_run: MakeRun, digits: Data, tmp_path: Path
) -> None:
    run = at_compute(make_run("sba", 0, "recipe.epochs=4"))
    whole, cut = Folders(tmp_path / "a", tmp_path / "a"), Folders(tmp_path / "b", tmp_path / "b")
    execute([run], worker(digits, whole))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "on_epoch", Mock(side_effect=KeyboardInterrupt))  # after the first epoch's checkpoint
        with pytest.raises(KeyboardInterrupt):
            execute([run], worker(digits, cut))
    execute([run], worker(digits, cut))
    first, second = (read_record(record_path(p.results, run.preset.name, "sba", 0)) for p in (whole, cut))
    assert first["clean"] == second["clean"]
    assert [e["train_loss"] for e in first["epochs"]] == [e["train_loss"] for e in second["epochs"]]


def test_the_mode_is_part_of_a_runs_identity_and_its_records_lie_apart(make_run: MakeRun) -> None:
    run = make_run("sba")
    other = at_compute(run)
    assert other.identity != run.identity
    assert "compute" not in run.settings
    assert other.settings["compute"] is True
    assert other.preset.name == f"{run.preset.name}_compute"


def test_the_arms_that_are_named_for_it_run_in_compute_mode_and_are_compared_there(make_run: MakeRun) -> None:
    preset = load_preset("cifar10_10k_cpu")
    compute = at_equal_compute(preset)
    assert set(compute.arms) == set(preset.compute_arms) == {"standard", "mixup", "sba", "hard_labels_mean"}
    assert compute.analysis.against == ("standard", "mixup", "hard_labels_mean")
    assert (compute.analysis.relatives, compute.analysis.positive_control) == ((), None)
    assert len(make_plan(compute, None, None)) == 4 * 8
    every = at_equal_compute(make_run("erm").preset)  # names none: all run
    assert every.arms == make_run("erm").preset.arms
    assert every.analysis == make_run("erm").preset.analysis


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["standard", "mixpu", "sba"], "compute_arms: there is no arm 'mixpu'; did you mean 'mixup'?"),
        (["standard", "mixup"], "must name analysis.treatment = 'sba' and an arm of analysis.against"),
        (["sba"], "must name analysis.treatment = 'sba' and an arm of analysis.against"),
        (["sba", "erm", "sba"], "each one once"),
    ],
)
def test_wrong_arms_of_compute_mode_are_refused(named: list[str], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_preset("smoke", (f"compute_arms={named}",))
    assert message in str(refused.value)
