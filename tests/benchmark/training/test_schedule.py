"""The schedule: learning rates; in compute mode every arm spends the FLOPs of plain training, the rate follows them."""

from unittest.mock import Mock

import pytest
from networks.trained import CPU, MakeRun, epochs_of, whole
from studies.tiny_study import pixels_of

from benchmark.data.load import Data, to_float
from benchmark.execution.record import training_cost
from benchmark.networks.build import weights_hash
from benchmark.networks.flops import training_flops
from benchmark.settings.load import load_preset
from benchmark.settings.plan import Run, make_plan
from benchmark.settings.preset import Recipe
from benchmark.settings.variants import at_equal_compute
from benchmark.training import schedule
from benchmark.training.loop import order_hash, train_epoch
from benchmark.training.schedule import learning_rate


def at_compute(run: Run) -> Run:
    """The same arm and seed in compute mode."""
    return make_plan(at_equal_compute(run.preset), [run.arm], [run.seed])[0]


def test_the_learning_rate_is_a_triangle() -> None:
    recipe = Recipe(epochs=1, batch_size=1, learning_rate=2.0, initial=0.25, peak=0.25, final=0.1)
    rates = [learning_rate(recipe, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.5)
    assert rates[25] == pytest.approx(max(rates)) == pytest.approx(2.0)
    assert rates[100] == pytest.approx(0.2)
    assert rates[50] - rates[51] == pytest.approx(rates[99] - rates[100])


def test_the_rate_stays_and_falls_tenfold_at_each_drop() -> None:
    recipe = Recipe(epochs=9, batch_size=1, learning_rate=2.0, initial=0.5, peak=0.1, drops=(1 / 3, 2 / 3))
    rates = [learning_rate(recipe, share) for share in (0.0, 0.05, 0.1, 0.33, 0.34, 0.66, 0.67, 1.0)]
    assert rates == pytest.approx([1.0, 1.5, 2.0, 2.0, 0.2, 0.2, 0.02, 0.02])


def test_an_arm_with_epochs_of_its_own_follows_the_others_order_at_its_own_rate(
    make_run: MakeRun, digits: Data
) -> None:
    run = make_run("erm", 0, "arms.erm.epochs=3", "recipe.peak=0.0")
    assert (run.epochs, run.preset.recipe.epochs) == (3, 2)
    assert order_hash(run, 256) == order_hash(make_run("sba", 0, "recipe.peak=0.0"), 256)
    assert epochs_of(run, digits).epochs[1]["learning_rate"] > 0
    assert epochs_of(make_run("sba", 0, "recipe.peak=0.0"), digits).epochs[1]["learning_rate"] == 0


def test_plain_training_is_the_same_to_the_last_bit_in_both_modes(make_run: MakeRun, digits: Data) -> None:
    run = make_run("erm", 0, "recipe.epochs=2")
    by_epochs, by_compute = whole(run, digits), whole(at_compute(run), digits)
    assert weights_hash(by_epochs.model) == weights_hash(by_compute.model)
    assert [e["learning_rate"] for e in by_epochs.epochs] == [e["learning_rate"] for e in by_compute.epochs]
    assert "images" not in by_compute.epochs[-1]


@pytest.mark.parametrize("arm", ["sba", "mixup"])
def test_no_arm_spends_more_than_plain_training_but_for_its_last_step(
    arm: str, make_run: MakeRun, digits: Data
) -> None:
    plain = whole(make_run("erm", 0, "recipe.epochs=3"), digits)
    run = at_compute(make_run(arm, 0, "recipe.epochs=3"))
    state = whole(run, digits)
    allowed, ours = (training_cost(s, digits, CPU)["train_flops"] for s in (plain, state))
    image = to_float(pixels_of(digits.train)[:1])
    batch = run.preset.recipe.batch_size
    step = batch * (training_flops(state.model, image)[None] * 2)  # an augmented step costs at most twice a plain one
    assert allowed - step < ours < allowed + step
    assert (state.images < plain.images) == (arm == "sba")


def test_the_flops_of_a_layer_are_counted_once_in_a_training(
    make_run: MakeRun, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = Mock(side_effect=training_flops)
    monkeypatch.setattr(schedule, "training_flops", count)
    state = whole(at_compute(make_run("sba", 0, "recipe.epochs=3")), digits)
    training_cost(state, digits, CPU)
    counted = [layer for call in count.call_args_list for layer in call.args[2]]
    assert len(counted) == len({*counted}) == len({None, *state.virtual}) > 2


def test_an_arm_that_costs_twice_as_much_trains_half_as_long_at_the_whole_schedule(
    make_run: MakeRun, digits: Data
) -> None:
    twice = ("arms.sba.settings.p=1.0", 'arms.sba.settings.layers=["input"]', "recipe.epochs=4")
    run = at_compute(make_run("sba", 0, *twice))
    state = whole(run, digits)
    plain = whole(make_run("erm", 0, "recipe.epochs=4"), digits)
    assert state.images == pytest.approx(plain.images / 2, abs=run.preset.recipe.batch_size)
    assert len(state.epochs) == 2
    peak = max(e["learning_rate"] for e in plain.epochs)
    assert state.epochs[-1]["learning_rate"] < 0.5 * peak  # it has come down with the budget


def test_a_training_that_is_over_is_not_gone_on_with(make_run: MakeRun, digits: Data) -> None:
    run = make_run("erm", 0, "recipe.epochs=1")
    state = whole(run, digits)
    with pytest.raises(ValueError, match="the training of erm seed 0 is over"):
        train_epoch(run, state, digits.train)


def test_an_epoch_that_is_cut_short_says_so(make_run: MakeRun, digits: Data) -> None:
    run = at_compute(make_run("sba", 0, "recipe.epochs=3", "recipe.batch_size=20"))
    state = whole(run, digits)
    all_images = len(digits.train.labels) // 20 * 20
    counted = [e.get("images", all_images) for e in state.epochs]
    assert sum(counted) == state.images
    assert counted[-1] < all_images
    assert all("images" not in epoch for epoch in state.epochs[:-1])


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
