"""Attacks: the rules that keep torchattacks from corrupting a benchmark, each with a test that fails without it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from around import Around
from tiny_study import pixels_of
from torch import Tensor, nn

from benchmark.data.load import Data, load_data, to_float
from benchmark.evaluation import attacks
from benchmark.evaluation.attacks import Victim, make_attack, perturb, predict
from benchmark.evaluation.evaluate import evaluate
from benchmark.evaluation.image_draws import Draws, draws
from benchmark.evaluation.joint import Subject, attack_jointly
from benchmark.networks.build import weights_hash
from benchmark.records.outcomes import unpack_bits
from benchmark.records.schema import AttackOutcome
from benchmark.settings.load import load_preset
from benchmark.settings.plan import Run, make_plan
from benchmark.settings.preset import Attack, Evaluation
from benchmark.training.loop import train_epoch
from benchmark.training.state import start

NAMES = ("fgsm", "pgd", "apgd_ce", "apgd_dlr")
SUITE = tuple(Attack(name=name, steps=1 if name == "fgsm" else 5) for name in NAMES)
IMAGES = 48


@pytest.fixture(scope="module")
def victim() -> Victim:
    """A network trained on all digits (about 95% correct), ready to be attacked."""
    preset = load_preset("smoke", ("recipe.epochs=4",))
    data, run = load_data(preset.data, []), make_plan(preset, ["erm"], [0])[0]
    state = start(run, data, torch.device("cpu"))
    for _ in range(4):
        state.epochs.append(train_epoch(run, state, data.train))
    return Victim(state.model)


@pytest.fixture(scope="module")
def images(digits: Data) -> Tensor:
    return to_float(pixels_of(digits.test)[:IMAGES]).contiguous()


@pytest.fixture(scope="module")
def labels(digits: Data) -> Tensor:
    return digits.test.labels[:IMAGES]


def suite(**changes: Any) -> Evaluation:
    values: dict[str, Any] = {"images": IMAGES, "batch_size": 16, "eps": (8.0, 32.0), "attacks": SUITE}
    return Evaluation(**values | changes)


def subject(model: Victim, images: Tensor, labels: Tensor, batch_size: int = 16) -> Subject:
    clean = predict(model, images, batch_size) == labels
    return Subject(model.in_batches_of(batch_size), images, labels, clean, 10, seed=5)


def jointly(attacked: Subject, settings: Evaluation) -> list[AttackOutcome]:
    return attack_jointly(attacked, settings, lambda _text, _share: None)


def perturbed(model: nn.Module, attack: Attack, radius: float, images: Tensor, labels: Tensor, seed: int = 1) -> Tensor:
    return perturb(model, attack, "Linf", radius, images, labels, draws(seed, len(images)), 10)


@pytest.mark.parametrize("attack", SUITE, ids=NAMES)
def test_adversarial_images_stay_in_the_ball_and_fool_more_images(
    attack: Attack, victim: Victim, images: Tensor, labels: Tensor
) -> None:
    eps = 24 / 255
    adversarial = perturbed(victim, attack, eps, images, labels)
    assert float((adversarial - images).abs().max()) <= eps + 1e-6
    assert 0 <= float(adversarial.min()) <= float(adversarial.max()) <= 1
    assert not adversarial.requires_grad
    clean, robust = ((predict(victim, x, 16) == labels).sum() for x in (images, adversarial))
    assert int(robust) < int(clean) - 10


@pytest.mark.parametrize("attack", SUITE, ids=NAMES)
def test_an_attack_depends_on_its_seed_alone_and_leaves_the_global_generator(
    attack: Attack, victim: Victim, images: Tensor, labels: Tensor
) -> None:
    results = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        results.append(perturbed(victim, attack, 0.1, images, labels, seed=7))
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(*results)


def test_pgd_takes_steps_in_proportion_to_eps(victim: Victim) -> None:
    attack = make_attack(Attack(name="pgd", steps=10), victim, "Linf", 0.02, 10, seed=0)
    assert attack.alpha == pytest.approx(0.005)
    assert attack.normalization_used is None


def test_the_trained_network_is_not_touched_and_its_copy_is_frozen_in_eval_mode(
    make_run: Callable[..., Run], digits: Data, images: Tensor, labels: Tensor
) -> None:
    model = start(make_run("erm"), digits, torch.device("cpu")).model.train()
    before = weights_hash(model)
    copy = Victim(model)
    perturbed(copy, SUITE[1], 0.1, images, labels)
    assert weights_hash(model) == before
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in copy.modules())
    assert not any(p.requires_grad for p in copy.parameters())
    assert all(p.grad is None for p in model.parameters())
    assert all(p.dtype == torch.float32 for p in copy.parameters())


def test_an_attack_that_leaves_the_network_in_train_mode_is_void(
    victim: Victim, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(RuntimeError, match="changed the network's state"):
        perturbed(Around(Victim(victim)), SUITE[0], 0.1, images, labels)


def test_an_attack_that_leaves_the_ball_is_void(
    victim: Victim, images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attacks, "make_attack", lambda *_: lambda x, _y: (x + 0.2).clamp(0, 1))
    with pytest.raises(RuntimeError, match="left the ball"):
        perturbed(victim, SUITE[0], 0.1, images, labels)


def test_joint_outcomes_are_those_of_each_attack_on_its_own(victim: Victim, images: Tensor, labels: Tensor) -> None:
    whole = subject(victim, images, labels, batch_size=IMAGES)
    outcomes = jointly(whole, suite(batch_size=IMAGES))
    for eps in (8.0, 32.0):
        left = whole.clean.numpy()
        for attack in SUITE:
            alone = jointly(whole, suite(batch_size=IMAGES, eps=(eps,), attacks=(attack,)))[0]
            left = left & unpack_bits(alone["correct"], IMAGES)
            found = next(o for o in outcomes if (o["attack"], o["eps"]) == (attack.name, eps))
            assert unpack_bits(found["correct"], IMAGES).tolist() == left.tolist()


def test_robust_means_correct_without_attack_and_under_every_attack(
    victim: Victim, images: Tensor, labels: Tensor
) -> None:
    clean = predict(victim, images, 16) == labels
    clean[:5] = False
    left = clean.numpy()
    for outcome in jointly(subject(victim, images, labels)._replace(clean=clean), suite()):
        if outcome["attack"] == NAMES[0]:
            left = clean.numpy()
        after = unpack_bits(outcome["correct"], IMAGES)
        assert not (after & ~left).any()
        assert outcome["fooled"] == int(left.sum() - after.sum())
        left = after


@pytest.mark.parametrize(("attack", "passes"), [*zip(SUITE, (1, 5, 6, 6), strict=True)], ids=NAMES)
def test_gradient_samples_are_images_times_backward_passes(
    attack: Attack, passes: int, victim: Victim, images: Tensor
) -> None:
    few = subject(victim, images[:4], predict(victim, images[:4], 4), batch_size=4)
    assert jointly(few, suite(eps=(1.0,), attacks=(attack,)))[0]["gradients"] == 4 * passes


def test_evaluation_in_the_middle_of_training_changes_nothing(make_run: Callable[..., Run], digits: Data) -> None:
    hashes = []
    for look in (False, True):
        run = make_run("sba")
        state = start(run, digits, torch.device("cpu"))
        train_epoch(run, state, digits.train)
        if look:
            evaluate(run.preset, 0, state.model, digits, nn.Identity, lambda _text, _share: None)
        train_epoch(run, state, digits.train)
        hashes.append(weights_hash(state.model))
    assert hashes[0] == hashes[1]


def test_draws_of_an_image_do_not_depend_on_the_others() -> None:
    many, few = draws(3, 10), draws(3, 4)
    assert many.rows([0, 1, 2, 3]) == few == Draws(few.shared, few.images)
    assert len(set(many.images)) == 10
