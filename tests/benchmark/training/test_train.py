"""Training: paired arms, exact degenerate cases, the rate's triangle, divergence, checkpoints."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_study import pixels_of

from benchmark.data.load import Data
from benchmark.data.seeds import stream, stream_seed
from benchmark.networks.build import weights_hash
from benchmark.runtime.errors import UsageError
from benchmark.settings.plan import Run
from benchmark.settings.preset import Recipe
from benchmark.training import checkpoint
from benchmark.training.checkpoint import load_checkpoint, previous, save_checkpoint, snapshot
from benchmark.training.loop import DivergedError, OnStep, order_hash, train_epoch
from benchmark.training.schedule import learning_rate
from benchmark.training.state import State, start

MakeRun = Callable[..., Run]
CPU = torch.device("cpu")


def two_epochs(run: Run, data: Data) -> State:
    state = start(run, data, torch.device("cpu"))
    for _ in range(2):
        state.epochs.append(train_epoch(run, state, data.train))
    return state


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sba_with_p_zero_trains_the_same_weights_as_erm_to_the_last_bit(
    precision: str, make_run: MakeRun, digits: Data
) -> None:
    override = f"recipe.precision='{precision}'"
    plain = two_epochs(make_run("standard", 0, override), digits)
    stochastic = two_epochs(make_run("sba", 0, override, "arms.sba.settings.p=0.0"), digits)
    assert weights_hash(plain.model) == weights_hash(stochastic.model)
    assert [e["train_loss"] for e in plain.epochs] == [e["train_loss"] for e in stochastic.epochs]
    assert stochastic.virtual == {}


def test_the_rate_stays_and_falls_tenfold_at_each_drop() -> None:
    recipe = Recipe(epochs=9, batch_size=1, learning_rate=2.0, initial=0.5, peak=0.1, drops=(1 / 3, 2 / 3))
    rates = [learning_rate(recipe, share) for share in (0.0, 0.05, 0.1, 0.33, 0.34, 0.66, 0.67, 1.0)]
    assert rates == pytest.approx([1.0, 1.5, 2.0, 2.0, 0.2, 0.2, 0.02, 0.02])


def test_accumulated_gradients_are_those_of_the_parts_one_after_the_other(make_run: MakeRun, digits: Data) -> None:
    exact = ("recipe.precision='float32'", "recipe.epochs=1", "recipe.batch_size=60")
    run = make_run("erm", 0, *exact, "recipe.accumulate=3")
    state, by_hand = start(run, digits, torch.device("cpu")), start(make_run("erm", 0, *exact), digits, CPU)
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
    assert epoch["train_loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    for one, other in zip(state.model.parameters(), by_hand.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert state.images == 60 * steps


def test_the_same_seed_trains_the_same_weights_and_another_seed_does_not(make_run: MakeRun, digits: Data) -> None:
    first, second, other = (two_epochs(make_run("sba", seed), digits) for seed in (0, 0, 1))
    assert weights_hash(first.model) == weights_hash(second.model)
    assert weights_hash(first.model) != weights_hash(other.model)


def test_arms_of_a_seed_share_weights_and_order_and_crops(make_run: MakeRun, digits: Data) -> None:
    states = [start(make_run(arm, 1), digits, torch.device("cpu")) for arm in ("standard", "mixup", "sba")]
    assert len({state.weights_hash for state in states}) == 1
    after = []
    for arm, state in zip(("standard", "mixup", "sba"), states, strict=True):
        train_epoch(make_run(arm, 1), state, digits.train)
        after.append({name: state.streams[name].get_state() for name in ("order", "augmentation")})
    assert all(torch.equal(after[0][name], other[name]) for other in after for name in after[0])


def test_the_order_hash_is_that_of_the_permutations_that_training_draws(make_run: MakeRun, digits: Data) -> None:
    run = make_run("erm", 0, "recipe.epochs=1")
    state = start(run, digits, torch.device("cpu"))
    train_epoch(run, state, digits.train)
    replay = stream("digits", 0, "order")
    torch.randperm(256, generator=replay)
    assert torch.equal(state.streams["order"].get_state(), replay.get_state())
    assert order_hash(run, 256) != order_hash(make_run("erm", 1, "recipe.epochs=1"), 256)
    assert order_hash(run, 256) == order_hash(make_run("sba", 0, "recipe.epochs=1"), 256)


def test_training_leaves_the_global_random_state_alone(make_run: MakeRun, digits: Data) -> None:
    before = torch.get_rng_state()
    two_epochs(make_run("sba"), digits)
    assert torch.equal(before, torch.get_rng_state())


def test_streams_differ_by_every_part_of_their_name() -> None:
    names = [("a", 0, "order"), ("b", 0, "order"), ("a", 1, "order"), ("a", 0, "method")]
    assert len({stream_seed(*name) for name in names}) == 4
    assert stream_seed("a", 0, "order") == stream_seed("a", 0, "order") < 2**63


def test_the_learning_rate_is_a_triangle() -> None:
    recipe = Recipe(epochs=1, batch_size=1, learning_rate=2.0, initial=0.25, peak=0.25, final=0.1)
    rates = [learning_rate(recipe, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.5)
    assert rates[25] == pytest.approx(max(rates)) == pytest.approx(2.0)
    assert rates[100] == pytest.approx(0.2)
    assert rates[50] - rates[51] == pytest.approx(rates[99] - rates[100])


def test_an_epoch_reports_rate_share_and_whole_batches(make_run: MakeRun, digits: Data) -> None:
    run = make_run("sba", 0, "recipe.batch_size=100", "arms.sba.settings.p=1.0", "arms.sba.settings.copies=2")
    state = start(run, digits, torch.device("cpu"))
    seen: list[int] = []
    epoch = train_epoch(run, state, digits.train, [OnStep(seen.append)])
    assert seen == [1, 2]
    assert epoch["augmented"] == 1.0
    assert sum(state.virtual.values()) == 2 * 200
    assert epoch["learning_rate"] == pytest.approx(learning_rate(run.preset.recipe, 1 / 3))


def test_a_loss_that_is_not_finite_ends_the_run_with_its_epoch(make_run: MakeRun, digits: Data) -> None:
    run = make_run("erm", 0, "recipe.learning_rate=1e30")
    state = start(run, digits, torch.device("cpu"))
    with pytest.raises(DivergedError, match="epoch 1"):
        train_epoch(run, state, digits.train)


def test_a_layer_that_the_network_lacks_is_refused_before_training(make_run: MakeRun, digits: Data) -> None:
    run = make_run("sba", 0, 'arms.sba.settings.layers=["blok1"]')
    with pytest.raises(UsageError, match=r"arm sba, network small: .*'blok1'.*'block1'.*stem, block1, block2, head"):
        start(run, digits, torch.device("cpu"))


SCHEDULED = ("arms.sba.settings.scheduler=every_nth", "arms.sba.settings.p=0.3", "arms.sba.settings.kl_ramp_steps=5")


@pytest.mark.parametrize("settings", [(), SCHEDULED])
def test_training_goes_on_from_a_checkpoint_as_if_nothing_had_happened(
    settings: tuple[str, ...], make_run: MakeRun, digits: Data, tmp_path: Path
) -> None:
    run, path = make_run("sba", 0, *settings), tmp_path / "run.pt"
    whole = two_epochs(run, digits)
    half = start(run, digits, torch.device("cpu"))
    half.epochs.append(train_epoch(run, half, digits.train))
    save_checkpoint(path, run, run.identity, half)
    resumed = start(run, digits, torch.device("cpu"))
    assert load_checkpoint(path, run.identity, resumed, refuse_to_say)
    resumed.epochs.append(train_epoch(run, resumed, digits.train))
    assert weights_hash(resumed.model) == weights_hash(whole.model)
    assert [e["train_loss"] for e in resumed.epochs] == [e["train_loss"] for e in whole.epochs]
    assert resumed.virtual == whole.virtual


def test_runs_of_one_method_do_not_share_its_state(make_run: MakeRun, digits: Data) -> None:
    run = make_run("sba", 0, *SCHEDULED)
    first, second = two_epochs(run, digits), two_epochs(run, digits)
    assert [e["train_loss"] for e in first.epochs] == [e["train_loss"] for e in second.epochs]
    assert first.method.state_dict()["steps"] == 8
    assert run.method.state_dict()["steps"] == 0


def test_an_arm_with_epochs_of_its_own_follows_the_others_order_at_its_own_rate(
    make_run: MakeRun, digits: Data
) -> None:
    run = make_run("erm", 0, "arms.erm.epochs=3", "recipe.peak=0.0")
    assert (run.epochs, run.preset.recipe.epochs) == (3, 2)
    assert order_hash(run, 256) == order_hash(make_run("sba", 0, "recipe.peak=0.0"), 256)
    assert two_epochs(run, digits).epochs[1]["learning_rate"] > 0
    assert two_epochs(make_run("sba", 0, "recipe.peak=0.0"), digits).epochs[1]["learning_rate"] == 0


def test_a_checkpoint_of_other_settings_is_not_used(make_run: MakeRun, digits: Data, tmp_path: Path) -> None:
    run, path = make_run("erm"), tmp_path / "run.pt"
    save_checkpoint(path, run, "another identity", two_epochs(run, digits))
    state = start(run, digits, torch.device("cpu"))
    before = weights_hash(state.model)
    said = list[str]()
    assert not load_checkpoint(path, run.identity, state, said.append)
    assert weights_hash(state.model) == before
    assert len(said) == 1
    assert "not used" in said[0]


def test_what_a_checkpoint_holds_belongs_to_its_format(
    make_run: MakeRun, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new entry here needs a new number: a version that looks for it must not be given an older checkpoint."""
    run = make_run("erm")
    held = ["model", "optimizer", "method", "streams", "weights_hash", "epochs", "images", "virtual", "skipped"]
    assert (checkpoint.FORMAT, list(snapshot(start(run, digits, CPU)))) == (2, [*held, "position"])
    key = checkpoint.checkpoint_key(run, digits, CPU)
    monkeypatch.setattr(checkpoint, "FORMAT", 3)
    assert checkpoint.checkpoint_key(run, digits, CPU) != key


class EnoughError(Exception):
    """Raised after a step."""


def test_training_goes_on_in_the_middle_of_an_epoch_to_the_last_bit(
    make_run: MakeRun, digits: Data, tmp_path: Path
) -> None:
    run, path = make_run("sba", 0, *SCHEDULED), tmp_path / "run.pt"
    whole, state = two_epochs(run, digits), start(run, digits, torch.device("cpu"))

    def after_step(_steps: int) -> None:
        save_checkpoint(path, run, run.identity, state)
        raise EnoughError

    interruptions = 0
    while len(state.epochs) < 2:
        try:
            state.epochs.append(train_epoch(run, state, digits.train, [OnStep(after_step)]))
        except EnoughError:
            interruptions += 1
            state = start(run, digits, torch.device("cpu"))
            assert load_checkpoint(path, run.identity, state, refuse_to_say)
    assert interruptions == 8  # every step of both epochs
    assert weights_hash(state.model) == weights_hash(whole.model)
    times = ("seconds", "images_per_second")
    for one, other in zip(state.epochs, whole.epochs, strict=True):
        assert {k: v for k, v in one.items() if k not in times} == {k: v for k, v in other.items() if k not in times}
    assert (state.images, state.virtual, state.position) == (whole.images, whole.virtual, None)


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[: len(whole) // 2], lambda whole: flipped(whole), lambda _: b""]
)
def test_after_a_damaged_checkpoint_comes_the_one_before(
    damage: Callable[[bytes], bytes], make_run: MakeRun, digits: Data, tmp_path: Path
) -> None:
    run, path, said = make_run("erm"), tmp_path / "run.pt", list[str]()
    state = start(run, digits, torch.device("cpu"))
    for _ in range(2):
        state.epochs.append(train_epoch(run, state, digits.train))
        save_checkpoint(path, run, run.identity, state)
    path.write_bytes(damage(path.read_bytes()))
    resumed = start(run, digits, torch.device("cpu"))
    assert load_checkpoint(path, run.identity, resumed, said.append)
    assert len(resumed.epochs) == 1
    assert "run.pt is damaged" in said[0]
    assert "run.damaged" in said[0]
    resumed.epochs.append(train_epoch(run, resumed, digits.train))
    assert weights_hash(resumed.model) == weights_hash(state.model)
    save_checkpoint(path, run, run.identity, resumed)
    assert load_checkpoint(path, run.identity, start(run, digits, torch.device("cpu")), refuse_to_say)


def test_where_every_checkpoint_is_damaged_training_starts_anew(
    make_run: MakeRun, digits: Data, tmp_path: Path
) -> None:
    run, path, said = make_run("erm"), tmp_path / "run.pt", list[str]()
    for damaged in (path, previous(path)):
        damaged.write_bytes(b"not a checkpoint")
    state = start(run, digits, torch.device("cpu"))
    assert not load_checkpoint(path, run.identity, state, said.append)
    assert len(said) == 2
    assert state.epochs == []


def flipped(whole: bytes) -> bytes:
    """The bytes with one bit in the middle turned."""
    turned = bytearray(whole)
    turned[len(whole) // 2] ^= 1
    return bytes(turned)


def refuse_to_say(text: str) -> None:
    """Stands where nothing should be said."""
    raise AssertionError(text)
