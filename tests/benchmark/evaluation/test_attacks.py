"""Attacks: the rules that keep torchattacks from corrupting a benchmark, each with a test that fails without it."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from networks.around import Around
from networks.attacked import (
    RADIUS,
    SCALE_FREE,
    attack_of,
    attacked,
    attacked_set,
    colours,
    every_attack,
    jointly,
    left,
    made_of,
    suite,
)
from networks.foreign_networks import After
from networks.sanity_nets import case
from studies.tiny_study import pixels_of, random_states
from torch import Tensor, nn

from benchmark.data.images import Split
from benchmark.data.load import Data, to_float
from benchmark.evaluation import attacks
from benchmark.evaluation.attacks import FrozenModel, Radius, largest_distance, make_attack, perturb, predict
from benchmark.evaluation.autoattack import autoattack
from benchmark.evaluation.catalogue import ATTACKS, Norm
from benchmark.evaluation.evaluate import make_attacked_set
from benchmark.evaluation.image_draws import draws
from benchmark.evaluation.joint import AttackedSet, survivors
from benchmark.evaluation.sanity_checks import PGD, Scaled, run_check
from benchmark.networks.build import weights_hash
from benchmark.runtime.errors import UsageError
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.load import load_preset, preset_names

FAR = Radius("Linf", 24.0)

# 1. Modes and state; 9. Gradients of parameters, and graphs.


@every_attack
def test_an_attack_leaves_modes_weights_gradients_and_graphs_as_they_were(name: str, norm: Norm) -> None:
    model, images = colours(12)
    wrapped = Around(model)  # a fresh wrapper's own flag says training
    modes, frozen = [module.training for module in wrapped.modules()], FrozenModel(wrapped, 12)
    weights = weights_hash(frozen)
    moved = attacked(frozen, name, norm, images)
    assert weights_hash(frozen) == weights
    assert not any(module.training for module in frozen.modules())
    assert [module.training for module in wrapped.modules()] == modes == [True, *[False] * (len(modes) - 1)]
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for net in (model, frozen) for parameter in net.parameters())
    assert not moved.requires_grad
    assert moved.grad_fn is None
    assert images.grad is None
    assert not images.requires_grad


def moved_statistics(frozen: nn.Module) -> None:
    frozen.train()(torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    frozen.eval()


@pytest.mark.parametrize("change", [nn.Module.train, moved_statistics])
def test_an_attack_that_changes_the_network_is_void(
    change: Callable[[nn.Module], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(_attack: object, frozen: nn.Module, *_: object) -> Callable[[Tensor, Tensor], Tensor]:
        def attack(x: Tensor, _y: Tensor) -> Tensor:
            change(frozen)
            return x

        return attack

    model, images = colours(12)
    monkeypatch.setattr(attacks, "make_attack", make)
    with pytest.raises(RuntimeError, match="changed the network's state"):
        attacked(FrozenModel(model), "fgsm", "Linf", images)


@pytest.mark.parametrize(
    ("change", "norm", "message"),
    [
        (lambda x: (x + 0.2).clamp(0, 1), "Linf", r"left the ball Linf .*: \|delta\| = 0\.\d+\.$"),
        (lambda x: 1 - x, "L2", r"left the ball L2 .*: \|delta\| = [\d.]+\. .* has linf_only=True"),
        (lambda x: x * float("nan"), "Linf", r"attack fgsm failed: ValueError: it returned values that are not finite"),
        (lambda x: x - x.amin() - 0.001, "Linf", r"returned pixels from -0\.001\d* to [\d.]+, outside of \[0, 1\]\.$"),
        (lambda x: x - x.amax() + 1.001, "L2", r"returned pixels from [\d.]+ to 1\.00\d+, outside of \[0, 1\]\.$"),
    ],
    ids=["Linf", "L2", "nan", "below 0", "above 1"],
)
def test_an_attack_that_leaves_the_ball_or_the_range_of_images_is_void(
    change: Callable[[Tensor], Tensor], norm: Norm, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = colours(12)
    images[:, :, 0, 0], images[:, :, 0, 1] = 0, 1
    monkeypatch.setattr(attacks, "make_attack", lambda *_: lambda x, _y: change(x))
    with pytest.raises(RuntimeError, match=message):
        attacked(FrozenModel(model), "fgsm", norm, images)


# 2. Logit scale.


def scaled(written: AttackedSet, scale: float) -> AttackedSet:
    return written._replace(model=FrozenModel(Scaled(written.model.model, scale), 32))


def test_louder_logits_hide_from_pgd_and_not_from_a_joint_suite_with_a_scale_free_loss(written: AttackedSet) -> None:
    """The joint outcome is at most that of the scale-free attack, which loudness does not change.

    Untargeted DLR leaves a gap: what only cross-entropy had fooled survives again. Targeted DLR closes it, but for a
    few images whose draws differ: it draws anew for the survivors of PGD, which are others.
    """
    found: dict[str, list[int]] = {"pgd": [], "apgd_dlr": [], "apgd_t": []}
    for scale in (1.0, 100.0):
        for name, steps in (("apgd_dlr", 20), ("apgd_t", 8)):
            tried = (attack_of("pgd", 20), attack_of(name, steps))
            before, after = jointly(scaled(written, scale), suite(eps=(24.0,), attacks=tried))
            found["pgd"].append(int(left(before).sum()))
            found[name].append(int(left(after).sum()))
    hidden = found["pgd"][2] - found["pgd"][0]
    assert hidden > 25
    dlr = int(survivors(written, written.clean, FAR, attack_of("apgd_dlr", 20)).sum())
    assert found["apgd_dlr"][1] <= dlr + 3 < found["pgd"][2] - hidden / 3
    assert abs(found["apgd_t"][1] - found["apgd_t"][0]) <= hidden / 3


@pytest.mark.parametrize("name", sorted(SCALE_FREE))
def test_a_scale_free_attack_finds_the_same_whatever_the_scale(name: str, written: AttackedSet) -> None:
    one, loud = (survivors(scaled(written, scale), written.clean, FAR, attack_of(name)) for scale in (1.0, 1024.0))
    assert int((one != loud).sum()) <= 3  # the loss is equal but for rounding


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_attacks_with_a_scale_free_loss_in_each_norm(name: str) -> None:
    preset = load_preset(name)
    suites = [preset.evaluation.attacks, preset.evaluation.l2_attacks or preset.evaluation.attacks]
    for tried in suites + ([preset.ablation.attacks] if preset.ablation else []):
        assert {"apgd_dlr", "apgd_t"} & {attack.name for attack in tried}


# 3. Undefended networks.


@pytest.mark.parametrize("name", preset_names())
def test_no_preset_compares_its_arms_at_the_largest_eps_which_is_the_floor(name: str) -> None:
    preset = load_preset(name)
    assert len(preset.evaluation.eps) >= 3
    assert preset.analysis.eps < max(preset.evaluation.eps)


def test_pgd_takes_steps_in_proportion_to_eps() -> None:
    attack = made_of(attack_of("pgd", 10), FrozenModel(colours(2)[0]), "Linf")
    assert attack.alpha == pytest.approx(2.5 * 16 / 255 / 10)


# 5. Seeds.


@every_attack
def test_outcomes_depend_on_the_seed_alone_and_no_generator_is_moved(
    name: str, norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = colours(12)
    frozen, found = FrozenModel(model, 12), []
    for noise in (1, 2):
        torch.manual_seed(noise)
        np.random.seed(noise)
        random.seed(noise)
        monkeypatch.setattr(time, "time", lambda noise=noise: 1e9 * noise)
        before = random_states()
        found.append(attacked(frozen, name, norm, images))
        assert random_states() == before
    assert torch.equal(*found)


def test_draws_that_all_images_share_come_from_the_seed_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = colours(12)
    monkeypatch.setattr(attacks, "make_attack", lambda *_: lambda x, _y: (x + 0.05 * torch.rand(1)).clamp(0, 1))
    found = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        found.append(attacked(FrozenModel(model, 12), "pgd", "Linf", images))
    assert torch.equal(*found)


@pytest.mark.parametrize("name", ["pgd", "apgd_ce", "apgd_dlr", "square"])
def test_attacks_with_random_starts_depend_on_the_seed_of_the_evaluation(name: str, written: AttackedSet) -> None:
    of_32 = written.images[:32], written.labels[:32]
    one, two = (
        perturb(written.model, attack_of(name), Radius("Linf", 48.0), *of_32, draws(seed, 32), 10) for seed in (1, 2)
    )
    assert not torch.equal(one, two)


OWN_DRAWS: list[tuple[str, Norm]] = [
    ("pgd", "Linf"),
    ("apgd_ce", "Linf"),
    ("apgd_dlr", "Linf"),
    ("apgd_ce", "L2"),
    ("apgd_dlr", "L2"),
]


@pytest.mark.parametrize(("name", "norm"), OWN_DRAWS)
def test_the_start_of_an_image_is_its_own_whatever_else_is_in_the_batch(
    name: str, norm: Norm, written: AttackedSet
) -> None:
    right = written.part(written.clean.nonzero().squeeze(1)[:32])  # what is attacked: APGD draws for no other image
    far = Radius(norm, 64.0 if norm == "Linf" else 1.0)  # a moved image shows its start, one not fooled is returned
    seeds, found, some = draws(11, 32), [], list(range(1, 32, 2))
    for rows in (list(range(32)), some):
        x, y = right.images[rows], right.labels[rows]
        found.append(perturb(written.model, attack_of(name), far, x, y, seeds.rows(rows), 10))
    moved = (found[1] - right.images[some]).flatten(1).any(1)
    assert int(moved.sum()) >= 12
    close = (found[0][some] - found[1]).abs().amax((1, 2, 3)) < 1e-3
    assert int(close.sum()) >= 12  # of 16: a sign may flip where a gradient is all but zero


# 6. L2.


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_l2_has_no_pgd_and_says_what_to_take(name: str) -> None:
    with pytest.raises(UsageError, match=f"attack {name} is for Linf only; in L2 take apgd_ce or apgd_dlr"):
        make_attack(attack_of(name), nn.Identity(), RADIUS["L2"], 10, seed=0)
    assert not [row.target for row in ATTACKS.values() if "PGDL2" in row.target]


@pytest.mark.parametrize("name", ["apgd_ce", "apgd_dlr", "square"])
def test_the_l2_ball_is_used_by_l2_attacks(name: str, written: AttackedSet) -> None:
    moved = attacked(written.model, name, "L2", written.images, written.labels)
    assert 0.45 < largest_distance(moved - written.images, "L2") <= 0.5 + 1e-5


# 7. Normalisation, which is every network's first layer (test_build.py).


class RobModel(Around):
    """A class of this name and these attributes makes the package normalise the images of its own accord."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.mean, self.std = torch.full((3,), 0.5), torch.full((3,), 0.25)


@every_attack
def test_no_attack_normalises_whatever_the_name_of_the_network(
    name: str, norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_importable()
    import torchattacks

    def never(*_: Any) -> None:
        raise AssertionError("set_normalization_used was called")

    monkeypatch.setattr(torchattacks.attack.Attack, "set_normalization_used", never)
    model, images = colours(4)
    plain, named = (attacked(FrozenModel(net, 4), name, norm, images) for net in (model, RobModel(model)))
    assert torch.equal(plain, named)


# 8. The number of classes.


@pytest.mark.parametrize(("classes", "targets"), [(4, 3), (10, 9), (100, 9)])
def test_targeted_attacks_try_nine_classes_or_as_many_as_there_are(classes: int, targets: int) -> None:
    model, images = colours(4, classes)
    frozen = FrozenModel(model, 4)
    reference = autoattack(attacked_set(frozen, images, predict(frozen, images), classes=classes), FAR, 0)
    assert reference.apgd_targeted.n_target_classes == reference.fab.n_target_classes == targets
    for name in ("apgd_t", "fab_t"):
        for norm in RADIUS:
            assert made_of(attack_of(name), frozen, norm, classes).n_target_classes == targets
            attacked(frozen, name, norm, images, classes=classes)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd_ce", "fab_t", "square"])
def test_two_classes_can_be_attacked(name: str) -> None:
    model, images = colours(32, classes=2)
    frozen = FrozenModel(model, 32)
    moved = attacked(frozen, name, "Linf", images, classes=2)
    before, after = (predict(frozen, x) for x in (images, moved))
    assert before.max() == 1
    assert (after != before).any()


# 10. Precision and layout.


@every_attack
def test_a_bfloat16_channels_last_network_is_attacked_in_float32_and_contiguous_images(name: str, norm: Norm) -> None:
    model, images = colours(12)
    half = model.to(dtype=torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
    frozen = FrozenModel(half, 12)
    assert {value.dtype for value in frozen.state_dict().values() if value.is_floating_point()} == {torch.float32}
    assert frozen(images).dtype == torch.float32
    moved = attacked(frozen, name, norm, images)
    assert moved.dtype == torch.float32
    assert moved.is_contiguous()
    assert not torch.equal(moved, images)
    assert largest_distance(moved - images, norm) <= RADIUS[norm].pixels * (1 + 1e-5) + 1e-6
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


def test_gradients_are_contiguous_though_the_network_is_channels_last() -> None:
    model, images = colours(12)
    x, frozen = images.clone().requires_grad_(), FrozenModel(model)
    (gradient,) = torch.autograd.grad(frozen(x).sum(), x)
    assert gradient.is_contiguous()
    stem = next(weights for weights in frozen.parameters() if weights.dim() == 4 and weights.shape[1] == 3)
    assert stem.is_contiguous(memory_format=torch.channels_last)


def test_images_to_attack_are_contiguous_float32_however_the_split_lies_in_memory(digits: Data) -> None:
    model, images = colours(500)
    bytes_ = (images * 255).round().to(torch.uint8).contiguous(memory_format=torch.channels_last)
    data = replace(digits, test=Split(bytes_, digits.test.labels))
    found = make_attacked_set(load_preset("smoke", ("evaluation.images=40",)), 0, model, data)
    assert found.images.is_contiguous()
    assert found.images.dtype == torch.float32
    assert 0 <= float(found.images.min()) < float(found.images.max()) <= 1


class OfTheBatch(nn.Module):
    """Logits that depend on the number of images, as sums of floats do; the shapes that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(len(x))
        return torch.stack([x.sum((1, 2, 3)), (len(x) * x).amax((1, 2, 3))], 1)


def test_a_network_always_gets_batches_of_one_size_so_that_logits_do_not_depend_on_the_other_images() -> None:
    inner, images = OfTheBatch(), torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    model = FrozenModel(inner, 16)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))

    def both(rows: Tensor) -> tuple[Tensor, Tensor]:
        x = images[rows].requires_grad_()
        logits = model(x)
        (gradient,) = torch.autograd.grad(logits.square().sum(), x)
        return logits.detach(), gradient

    logits, gradient = both(torch.arange(40))
    for rows in (order, order[:37], order[:16], order[:1]):
        some = both(rows)
        assert torch.equal(some[0], logits[rows])
        assert torch.equal(some[1], gradient[rows])
    frozen_inner = model.model
    assert isinstance(frozen_inner, OfTheBatch)
    assert set(frozen_inner.shapes) == {16}
    assert model.gradients == 16 * len(frozen_inner.shapes)
    other = model.in_batches_of(5)
    assert other.model is frozen_inner
    assert model.batch_size == 16


# Fooled images are not computed again.


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("name", [name for name, row in ATTACKS.items() if row.any_step])
@pytest.mark.parametrize("eps", [24.0, 127.0])
def test_a_fooled_image_is_not_computed_again_and_every_outcome_is_as_if_it_were(
    name: str, norm: Norm, eps: float, written: AttackedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack, n, radius = attack_of(name, 20), 24, Radius(norm, eps if norm == "Linf" else eps * 8 / 255)
    images, labels = written.images[:n], written.labels[:n].clone()
    labels[5] = (labels[5] + 1) % 10  # wrong from the start
    found, spent = [], []
    for any_step in (True, False):
        monkeypatch.setitem(ATTACKS, name, ATTACKS[name]._replace(any_step=any_step))
        model = written.model.in_batches_of(8)
        model.gradients = 0
        found.append(perturb(model, attack, radius, images, labels, draws(3, n), 10))
        spent.append(model.gradients)
    fooled, expected = (predict(written.model, moved) != labels for moved in found)
    assert int((fooled != expected).sum()) <= 1  # an image on the boundary
    both = ~fooled & ~expected
    same = (found[0][both] - found[1][both]).abs().amax((1, 2, 3)) < 1e-5
    assert int((~same).sum()) <= 1 + len(same) // 20
    assert torch.equal(found[0][5], images[5])
    assert spent[0] < spent[1] if int(fooled.sum()) > 9 else spent[0] <= spent[1]


def test_an_attack_ends_when_every_image_is_fooled(written: AttackedSet) -> None:
    model = written.model.in_batches_of(16)
    model.gradients = 0
    easy = written.clean.nonzero().squeeze(1)[:16]
    x, y = written.images[easy], written.labels[easy]
    moved = perturb(model, attack_of("apgd_dlr", 100), Radius("Linf", 255.0), x, y, draws(3, 16), 10)
    assert not bool((predict(model, moved) == y).any())
    assert model.gradients < 16 * 50


# 12. Attacks that return the clean image.


def test_a_transfer_attack_moves_images_even_where_it_does_not_fool_its_own_network(
    written: AttackedSet, digits: Data
) -> None:
    """The surrogate is nearly always sure of one class, yet has useful gradients."""
    zeros, radius = digits.test.labels == 0, Radius("Linf", 40.0)
    images, labels = to_float(pixels_of(digits.test)[zeros]).contiguous(), digits.test.labels[zeros]
    of_zeros = attacked_set(written.model, images, labels)
    surrogate = After(lambda logits: logits + 12 * (torch.arange(10) == 0), written.model.model)
    frozen = FrozenModel(surrogate, 32)
    moved, returned = (
        perturb(frozen, attack_of(name, 20), radius, images, labels, draws(0, len(images)), 10)
        for name in ("pgd", "apgd_ce")
    )
    stood = predict(frozen, returned) == labels
    assert int(stood.sum()) > 5
    assert torch.equal(returned[stood], images[stood])  # so it would look as if nothing transferred
    assert float((moved - images).abs().amax((1, 2, 3)).min()) > 0.9 * radius.pixels
    assert PGD.name == "pgd"
    found = run_check("transfer", case(of_zeros, radius=radius, surrogate=lambda: surrogate))
    assert found["figures"]["transfer"] < found["figures"]["white box"] - 0.2
