"""The training loop: paired arms, exact degenerate cases, accumulated gradients, divergence."""

import pytest
import torch
from networks.trained import CPU, MakeRun, epochs_of
from studies.tiny_study import pixels_of

from benchmark.data.load import Data
from benchmark.data.seeds import stream, stream_seed
from benchmark.networks.build import weights_hash
from benchmark.runtime.errors import UsageError
from benchmark.training.loop import DivergedError, OnStep, order_hash, train_epoch
from benchmark.training.schedule import learning_rate
from benchmark.training.state import start

SCHEDULED = ("arms.sba.settings.scheduler=every_nth", "arms.sba.settings.p=0.3", "arms.sba.settings.kl_ramp_steps=5")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sba_with_p_zero_trains_the_same_weights_as_erm_to_the_last_bit(
    precision: str, make_run: MakeRun, digits: Data
) -> None:
    override = f"recipe.precision='{precision}'"
    plain = epochs_of(make_run("standard", 0, override), digits)
    stochastic = epochs_of(make_run("sba", 0, override, "arms.sba.settings.p=0.0"), digits)
    assert weights_hash(plain.model) == weights_hash(stochastic.model)
    assert [e["train_loss"] for e in plain.epochs] == [e["train_loss"] for e in stochastic.epochs]
    assert stochastic.virtual == {}


def test_accumulated_gradients_are_those_of_the_parts_one_after_the_other(make_run: MakeRun, digits: Data) -> None:
    exact = ("recipe.precision='float32'", "recipe.epochs=1", "recipe.batch_size=60")
    run = make_run("erm", 0, *exact, "recipe.accumulate=3")
    state, by_hand = start(run, digits, CPU), start(make_run("erm", 0, *exact), digits, CPU)
    epoch = train_epoch(run, state, digits.train)
    order = torch.randperm(len(digits.train.labels), generator=by_hand.streams["order"])
    losses, steps = [], len(order) // 60
    for step in range(steps):
        by_hand.optimizer.param_groups[0]["lr"] = learning_rate(run.preset.recipe, step / (steps - 1))
        by_hand.optimizer.zero_grad()
        for part in order[60 * step : 60 * step + 60].split(20):
            images = pixels_of(digits.train)[part].float().div(255)
            loss = torch.nn.functional.cross_entropy(by_hand.model(images), digits.train.labels[part])
            (loss / 3).backward()
            losses.append(loss.item())
        by_hand.optimizer.step()
    assert epoch["train_loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)
    for one, other in zip(state.model.parameters(), by_hand.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert state.images == 60 * steps


def test_the_same_seed_trains_the_same_weights_and_another_seed_does_not(make_run: MakeRun, digits: Data) -> None:
    before = torch.get_rng_state()
    first, second, other = (epochs_of(make_run("sba", seed), digits) for seed in (0, 0, 1))
    assert weights_hash(first.model) == weights_hash(second.model)
    assert weights_hash(first.model) != weights_hash(other.model)
    assert torch.equal(before, torch.get_rng_state())


def test_arms_of_a_seed_share_weights_and_order_and_crops(make_run: MakeRun, digits: Data) -> None:
    arms = ("standard", "mixup", "sba")
    states = [start(make_run(arm, 1), digits, CPU) for arm in arms]
    assert len({state.weights_hash for state in states}) == 1
    after = []
    for arm, state in zip(arms, states, strict=True):
        train_epoch(make_run(arm, 1), state, digits.train)
        after.append({name: state.streams[name].get_state() for name in ("order", "augmentation")})
    assert all(torch.equal(after[0][name], other[name]) for other in after for name in after[0])


def test_the_order_hash_is_that_of_the_permutations_that_training_draws(make_run: MakeRun, digits: Data) -> None:
    run = make_run("erm", 0, "recipe.epochs=1")
    state = start(run, digits, CPU)
    train_epoch(run, state, digits.train)
    replay = stream("digits", 0, "order")
    torch.randperm(256, generator=replay)
    assert torch.equal(state.streams["order"].get_state(), replay.get_state())
    assert order_hash(run, 256) != order_hash(make_run("erm", 1, "recipe.epochs=1"), 256)
    assert order_hash(run, 256) == order_hash(make_run("sba", 0, "recipe.epochs=1"), 256)


def test_streams_differ_by_every_part_of_their_name() -> None:
    names = [("a", 0, "order"), ("b", 0, "order"), ("a", 1, "order"), ("a", 0, "method")]
    assert len({stream_seed(*name) for name in names}) == 4
    assert stream_seed("a", 0, "order") == stream_seed("a", 0, "order") < 2**63


def test_an_epoch_reports_rate_share_and_whole_batches(make_run: MakeRun, digits: Data) -> None:
    run = make_run("sba", 0, "recipe.batch_size=100", "arms.sba.settings.p=1.0", "arms.sba.settings.copies=2")
    state = start(run, digits, CPU)
    seen: list[int] = []
    epoch = train_epoch(run, state, digits.train, [OnStep(seen.append)])
    assert seen == [1, 2]
    assert epoch["augmented"] == 1.0
    assert sum(state.virtual.values()) == 2 * 200
    assert epoch["learning_rate"] == pytest.approx(learning_rate(run.preset.recipe, 1 / 3))


def test_a_loss_that_is_not_finite_ends_the_run_with_its_epoch(make_run: MakeRun, digits: Data) -> None:
    run = make_run("erm", 0, "recipe.learning_rate=1e30")
    with pytest.raises(DivergedError, match="epoch 1"):
        train_epoch(run, start(run, digits, CPU), digits.train)


def test_a_layer_that_the_network_lacks_is_refused_before_training(make_run: MakeRun, digits: Data) -> None:
    run = make_run("sba", 0, 'arms.sba.settings.layers=["blok1"]')
    with pytest.raises(UsageError, match=r"arm sba, network small: .*'blok1'.*'block1'.*stem, block1, block2, head"):
        start(run, digits, CPU)


def test_runs_of_one_method_do_not_share_its_state(make_run: MakeRun, digits: Data) -> None:
    run = make_run("sba", 0, *SCHEDULED)
    first, second = epochs_of(run, digits), epochs_of(run, digits)
    assert [e["train_loss"] for e in first.epochs] == [e["train_loss"] for e in second.epochs]
    assert first.method.state_dict()["steps"] == 8
    assert run.method.state_dict()["steps"] == 0
