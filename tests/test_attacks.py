"""Attacks: the rules that keep torchattacks from corrupting a benchmark, each with a test that fails without it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark import attacks
from benchmark.attacks import (
    attack_copy,
    attack_jointly,
    flags,
    gradient_health,
    gradient_steps,
    make_attack,
    perturb,
    predict,
)
from benchmark.data import Data, load_data
from benchmark.models import weights_hash
from benchmark.plan import Run, make_plan
from benchmark.preset_files import load_preset
from benchmark.records import unpack_bits
from benchmark.settings import Attack, Evaluation
from benchmark.train import start, to_float, train_epoch

NAMES = ("fgsm", "pgd", "apgd_ce", "apgd_dlr")
SUITE = tuple(Attack(name=name, steps=1 if name == "fgsm" else 5) for name in NAMES)


@pytest.fixture(scope="module")
def victim() -> nn.Module:
    """A network trained on all digits (about 95% correct), ready to be attacked."""
    preset = load_preset("smoke", ("recipe.epochs=4",))
    data, run = load_data(preset.data, []), make_plan(preset, ["erm"], [0])[0]
    state = start(run, data, torch.device("cpu"))
    for _ in range(4):
        state.epochs.append(train_epoch(run, state, data.train))
    return attack_copy(state.model)


@pytest.fixture(scope="module")
def images(digits: Data) -> Tensor:
    return to_float(digits.test.images[:48]).contiguous()


@pytest.fixture(scope="module")
def labels(digits: Data) -> Tensor:
    return digits.test.labels[:48]


def suite(**changes: Any) -> Evaluation:
    values: dict[str, Any] = {"images": 48, "batch_size": 16, "eps": (8.0, 32.0), "attacks": SUITE}
    return Evaluation(**values | changes)


@pytest.mark.parametrize("attack", SUITE, ids=NAMES)
def test_adversarial_images_stay_in_the_ball_and_fool_more_images(
    attack: Attack, victim: nn.Module, images: Tensor, labels: Tensor
) -> None:
    eps = 24 / 255
    adversarial = perturb(victim, attack, eps, images, labels, seed=1)
    assert float((adversarial - images).abs().max()) <= eps + 1e-6
    assert 0 <= float(adversarial.min()) <= float(adversarial.max()) <= 1
    assert not adversarial.requires_grad
    clean, robust = ((predict(victim, x, 16) == labels).sum() for x in (images, adversarial))
    assert int(robust) < int(clean) - 10


@pytest.mark.parametrize("attack", SUITE, ids=NAMES)
def test_an_attack_depends_on_its_seed_alone_and_leaves_the_global_generator(
    attack: Attack, victim: nn.Module, images: Tensor, labels: Tensor
) -> None:
    results = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        results.append(perturb(victim, attack, 0.1, images, labels, seed=7))
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(*results)


def test_pgd_takes_steps_in_proportion_to_eps(victim: nn.Module) -> None:
    attack = make_attack(Attack(name="pgd", steps=10), victim, 0.02, seed=0)
    assert attack.alpha == pytest.approx(0.005)
    assert attack.normalization_used is None


def test_the_trained_network_is_not_touched_and_its_copy_is_frozen_in_eval_mode(
    make_run: Callable[..., Run], digits: Data, images: Tensor, labels: Tensor
) -> None:
    model = start(make_run("erm"), digits, torch.device("cpu")).model.train()
    before = weights_hash(model)
    copy = attack_copy(model)
    perturb(copy, SUITE[1], 0.1, images, labels, seed=0)
    assert weights_hash(model) == before
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in copy.modules())
    assert not any(p.requires_grad for p in copy.parameters())
    assert all(p.grad is None for p in model.parameters())
    assert all(p.dtype == torch.float32 and p.is_contiguous() for p in copy.parameters())


class TrainingWrapper(nn.Module):
    """What goes wrong with torchattacks: a fresh wrapper says training=True, and the attack passes that on."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits


def test_an_attack_that_leaves_the_network_in_train_mode_is_void(
    victim: nn.Module, images: Tensor, labels: Tensor
) -> None:
    wrapped = TrainingWrapper(attack_copy(victim))
    with pytest.raises(RuntimeError, match="changed the network's state"):
        perturb(wrapped, SUITE[0], 0.1, images, labels, seed=0)


def test_an_attack_that_leaves_the_ball_is_void(
    victim: nn.Module, images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attacks, "make_attack", lambda *_: lambda x, _y: (x + 0.2).clamp(0, 1))
    with pytest.raises(RuntimeError, match="left the ball"):
        perturb(victim, SUITE[0], 0.1, images, labels, seed=0)


def test_joint_outcomes_are_those_of_each_attack_on_its_own(victim: nn.Module, images: Tensor, labels: Tensor) -> None:
    clean = predict(victim, images, 48) == labels
    outcomes = attack_jointly(victim, images, labels, clean, suite(batch_size=48), seed=5)
    for eps in (8.0, 32.0):
        left = clean.nonzero().squeeze(1)
        for attack in SUITE:
            adversarial = perturb(victim, attack, eps / 255, images[left], labels[left], seed=5)
            left = left[predict(victim, adversarial, 48) == labels[left]]
            found = next(o for o in outcomes if (o["attack"], o["eps"]) == (attack.name, eps))
            assert unpack_bits(found["correct"], 48).nonzero()[0].tolist() == left.tolist()


def test_robust_means_correct_without_attack_and_under_every_attack(
    victim: nn.Module, images: Tensor, labels: Tensor
) -> None:
    clean = predict(victim, images, 16) == labels
    clean[:5] = False
    outcomes = attack_jointly(victim, images, labels, clean, suite(), seed=5)
    left = clean.numpy()
    for outcome in outcomes:
        if outcome["attack"] == NAMES[0]:
            left = clean.numpy()
        after = unpack_bits(outcome["correct"], 48)
        assert not (after & ~left).any()
        assert outcome["fooled"] == int(left.sum() - after.sum())
        assert outcome["gradients"] == int(left.sum()) * gradient_steps(
            Attack(name=outcome["attack"], steps=outcome["steps"])
        )
        left = after


@pytest.mark.parametrize("attack", SUITE, ids=NAMES)
def test_gradient_steps_are_the_backward_passes_that_are_made(
    attack: Attack, victim: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, grad = [0], torch.autograd.grad

    def counted(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        return grad(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    perturb(victim, attack, 0.01, images[:4], predict(victim, images[:4], 4), seed=0)
    assert calls[0] == gradient_steps(attack)


class Scaled(nn.Module):
    def __init__(self, inner: nn.Module, scale: float) -> None:
        super().__init__()
        self.inner, self.scale = inner, scale

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x) * self.scale
        return logits


def test_a_masked_gradient_is_flagged_and_the_scale_free_attack_sees_through_it(
    victim: nn.Module, images: Tensor, labels: Tensor
) -> None:
    masked = attack_copy(Scaled(victim, 1e4))
    clean = predict(victim, images, 16) == labels
    robust = {
        (name, scale): perturb(model, SUITE[NAMES.index(name)], 16 / 255, images, labels, 3)
        for name in ("pgd", "apgd_dlr")
        for scale, model in ((1, victim), (10_000, masked))
    }
    accuracy = {key: float((predict(victim, x, 16) == labels).float().mean()) for key, x in robust.items()}
    assert accuracy["pgd", 10_000] > accuracy["pgd", 1] + 0.2
    assert accuracy["apgd_dlr", 10_000] == pytest.approx(accuracy["apgd_dlr", 1], abs=0.03)
    health, honest = (gradient_health(model, images, labels, 16) for model in (masked, victim))
    assert health.zero_share > 0.5 > 0.01 >= honest.zero_share
    assert health.median_margin == pytest.approx(1e4 * honest.median_margin, rel=1e-3)
    outcomes = attack_jointly(victim, images, labels, clean, suite(attacks=SUITE[:1]), 0)
    assert any("exactly 0" in flag for flag in flags(0.9, outcomes, health, [0.1, 0.0]))
    assert flags(0.9, outcomes, honest, [0.1, 0.0]) == []


def test_flags_name_an_accuracy_that_rises_or_stays_high(victim: nn.Module, images: Tensor, labels: Tensor) -> None:
    clean = predict(victim, images, 16) == labels
    outcomes = attack_jointly(victim, images, labels, clean, suite(attacks=SUITE[:1]), 0)
    honest = gradient_health(victim, images, labels, 16)
    found = flags(0.9, outcomes, honest, [0.1, 0.2])
    assert any("rises with eps" in flag for flag in found)
    assert any("20.0% at 32/255" in flag for flag in found)


def test_evaluation_in_the_middle_of_training_changes_nothing(make_run: Callable[..., Run], digits: Data) -> None:
    from benchmark.evaluate import evaluate

    hashes = []
    for look in (False, True):
        run = make_run("sba")
        state = start(run, digits, torch.device("cpu"))
        train_epoch(run, state, digits.train)
        if look:
            evaluate(run, state.model, digits, lambda _text: None)
        train_epoch(run, state, digits.train)
        hashes.append(weights_hash(state.model))
    assert hashes[0] == hashes[1]
