"""Rules 9 to 12 for attacks: gradients, precision, images that are wrong before, clean images returned."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from attacked import IMAGES, RADIUS, attack_of, attacked, colours, every_attack, jointly, left, subject, suite
from tiny_study import pixels_of
from torch import Tensor, nn

from benchmark.data.images import Split
from benchmark.data.load import Data, to_float
from benchmark.evaluation import attacks, joint
from benchmark.evaluation import sanity_checks as sanity
from benchmark.evaluation.attacks import Norm, Victim, perturb, predict
from benchmark.evaluation.evaluate import make_subject
from benchmark.evaluation.image_draws import draws
from benchmark.evaluation.joint import Radius, Subject
from benchmark.networks.build import weights_hash
from benchmark.settings.load import load_preset
from benchmark.settings.preset import Attack

# 9. Gradients of parameters, and graphs.


@every_attack
def test_parameters_are_frozen_and_no_gradient_or_graph_is_left(name: str, norm: Norm) -> None:
    model, images = colours(12)
    labels = predict(model, images, 12)
    victim = Victim(model)
    moved = attacked(victim, name, norm, images, labels)
    assert not any(parameter.requires_grad for parameter in victim.parameters())
    assert all(parameter.grad is None for net in (model, victim) for parameter in net.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert moved.grad_fn is None
    assert not moved.requires_grad
    assert images.grad is None
    assert not images.requires_grad


# Fooled images are not computed again.


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("name", attacks.ANY_STEP)
@pytest.mark.parametrize("radius", [0.02, 0.08, 0.5])
def test_a_fooled_image_is_not_computed_again_and_every_outcome_is_as_if_it_were(
    name: str, norm: Norm, radius: float, written: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack, n = attack_of(name, 20), 48
    radius *= 1 if norm == "Linf" else 8
    images, labels = written.images[:n], written.labels[:n].clone()
    labels[5] = (labels[5] + 1) % 10  # wrong from the start
    found, spent = [], []
    for names in (attacks.ANY_STEP, ()):
        monkeypatch.setattr(attacks, "ANY_STEP", names)
        model = written.model.in_batches_of(8)
        model.gradients = 0
        found.append(perturb(model, attack, norm, radius, images, labels, draws(3, n), 10))
        spent.append(model.gradients)
    fooled, expected = (predict(written.model, moved, 8) != labels for moved in found)
    assert torch.equal(fooled, expected)
    assert torch.equal(found[0][~fooled], found[1][~fooled])
    assert torch.equal(found[0][5], images[5])
    assert spent[0] < spent[1] if int(fooled.sum()) > 9 else spent[0] <= spent[1]


def test_an_attack_ends_when_every_image_is_fooled(written: Subject) -> None:
    model = written.model.in_batches_of(16)
    model.gradients = 0
    easy = written.clean.nonzero().squeeze(1)[:16]
    x, y = written.images[easy], written.labels[easy]
    moved = perturb(model, attack_of("apgd_dlr", 100), "Linf", 1.0, x, y, draws(3, 16), 10)
    assert not bool((predict(model, moved, 16) == y).any())
    assert model.gradients < 16 * 50


def test_logits_of_an_image_do_not_depend_on_the_others_and_neither_does_their_gradient(written: Subject) -> None:
    model, order = written.model.in_batches_of(16), torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0))

    def both(rows: Tensor) -> tuple[Tensor, Tensor]:
        x = written.images[rows].requires_grad_()
        logits = model(x)
        (gradient,) = torch.autograd.grad(logits.square().sum(), x)
        return logits.detach(), gradient

    logits, gradient = both(torch.arange(IMAGES))
    for rows in (order, order[:37], order[:16], order[:1]):
        some = both(rows)
        assert torch.equal(some[0], logits[rows])
        assert torch.equal(some[1], gradient[rows])


def test_a_network_in_batches_of_another_size_is_the_same_network(written: Subject) -> None:
    other = written.model.in_batches_of(5)
    assert next(other.parameters()) is next(written.model.parameters())
    assert written.model.batch_size == 32
    assert torch.allclose(other(written.images[:12]), written.model(written.images[:12]), atol=1e-4)


# 10. Precision and layout.


@every_attack
def test_a_bfloat16_network_is_attacked_in_float32_and_its_images_stay_in_the_ball(name: str, norm: Norm) -> None:
    model, images = colours(12)
    half = model.to(torch.bfloat16)
    victim = Victim(half)
    assert {value.dtype for value in victim.state_dict().values() if value.is_floating_point()} == {torch.float32}
    assert victim(images).dtype == torch.float32
    moved = attacked(victim, name, norm, images)
    assert moved.dtype == torch.float32
    assert attacks.largest_distance(moved - images, norm) <= RADIUS[norm] * (1 + 1e-5) + 1e-6
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


@every_attack
def test_a_channels_last_network_works_with_every_attack(name: str, norm: Norm) -> None:
    model, images = colours(12)
    trained = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    moved = attacked(Victim(trained), name, norm, images)
    assert moved.is_contiguous()
    assert not torch.equal(moved, images)


def test_gradients_are_contiguous_though_the_network_is_channels_last() -> None:
    model, images = colours(12)
    x = images.clone().requires_grad_()
    victim = Victim(model)
    (gradient,) = torch.autograd.grad(victim(x).sum(), x)
    assert gradient.is_contiguous()
    stem = next(weights for weights in victim.parameters() if weights.dim() == 4 and weights.shape[1] == 3)
    assert stem.is_contiguous(memory_format=torch.channels_last)


def test_images_to_attack_are_contiguous_float32_however_the_split_lies_in_memory(digits: Data) -> None:
    model, images = colours(500)
    bytes_ = (images * 255).round().to(torch.uint8).contiguous(memory_format=torch.channels_last)
    data = replace(digits, test=Split(bytes_, digits.test.labels))
    found, *_ = make_subject(load_preset("smoke", ("evaluation.images=40",)), 0, model, data)
    assert found.images.is_contiguous()
    assert found.images.dtype == torch.float32
    assert 0 <= float(found.images.min()) < float(found.images.max()) <= 1


# 11. Misclassified images.


def test_misclassified_images_are_never_attacked(written: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = torch.zeros(IMAGES, dtype=torch.bool)
    wrong[::3] = True
    labels = torch.where(wrong, (written.labels + 1) % 10, written.labels)
    seen: list[Tensor] = []

    def watched(model: nn.Module, attack: Attack, norm: Norm, radius: float, x: Tensor, *rest: Any) -> Tensor:
        seen.append(x)
        return perturb(model, attack, norm, radius, x, *rest)

    monkeypatch.setattr(joint, "perturb", watched)
    mixed = subject(written.model, written.images, labels)
    outcomes = jointly(mixed, suite("fgsm", "pgd", "apgd_dlr", l2_eps=(0.5,), l2_attacks=(attack_of("apgd_ce"),)))
    given = {row.numpy().tobytes() for batch in seen for row in batch}
    assert given == {row.numpy().tobytes() for row in mixed.images[mixed.clean]}
    assert not given & {row.numpy().tobytes() for row in mixed.images[wrong]}
    assert not any(bool((left(outcome) & wrong).any()) for outcome in outcomes)


def test_an_attack_that_corrects_an_image_makes_nothing_robust(
    written: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attack fools all, the second returns the images as they were, which the network gets right."""

    def planned(_model: nn.Module, attack: Attack, *rest: Any) -> Tensor:
        images: Tensor = rest[2]
        return 1 - images if attack.name == "fgsm" else images

    monkeypatch.setattr(joint, "perturb", planned)
    monkeypatch.setattr(joint, "predict", lambda _model, x, _n: 3 + (x[:, 0, 0, 0] > 0.5).long())
    labels, n = torch.tensor([3, 3, 3, 4, 4, 3]), 6
    plain = Subject(written.model, torch.zeros(n, 1, 8, 8), labels, labels == 3, 10, seed=0)
    outcomes = jointly(plain, suite("fgsm", "pgd"))
    assert [int(left(outcome, n).sum()) for outcome in outcomes] == [0, 0]
    alone = jointly(plain, suite("pgd"))
    assert left(alone[0], n).tolist() == plain.clean.tolist()


# 12. Attacks that return the clean image.


class Biased(nn.Module):
    """A network that is nearly always sure of one class, yet has useful gradients."""

    def __init__(self, inner: nn.Module, favourite: int, bias: float) -> None:
        super().__init__()
        self.inner, self.favourite, self.bias = inner, favourite, bias

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits + self.bias * (torch.arange(logits.shape[1]) == self.favourite)


def test_a_transfer_attack_moves_images_even_where_it_does_not_fool_its_own_network(
    written: Subject, digits: Data
) -> None:
    zeros = digits.test.labels == 0
    images, labels = to_float(pixels_of(digits.test)[zeros]).contiguous(), digits.test.labels[zeros]
    of_zeros, surrogate, radius = subject(written.model, images, labels), Biased(written.model, 0, 12.0), 40 / 255
    victim = Victim(surrogate)
    moved, kept = (
        perturb(victim, attack_of(name, 20), "Linf", radius, images, labels, draws(0, len(images)), 10)
        for name in ("pgd", "apgd_ce")
    )
    stood = predict(victim, kept, 32) == labels
    assert int(stood.sum()) > 5
    assert torch.equal(kept[stood], images[stood])  # so it would look as if nothing transferred
    assert float((moved - images).abs().amax((1, 2, 3)).min()) > 0.9 * radius
    assert sanity.PGD.name == "pgd"
    found = sanity.transfer(of_zeros, of_zeros.clean, Radius("Linf", 40.0), lambda: surrogate)
    assert found["figures"]["transfer"] < found["figures"]["white box"] - 0.2


def test_every_attack_starts_from_the_clean_image_and_not_from_what_another_returned(
    written: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Tensor] = []

    def watched(model: nn.Module, attack: Attack, norm: Norm, radius: float, x: Tensor, *rest: Any) -> Tensor:
        given.append(x.clone())
        return perturb(model, attack, norm, radius, x, *rest)

    monkeypatch.setattr(joint, "perturb", watched)
    originals, before = {row.numpy().tobytes() for row in written.images}, weights_hash(written.model)
    jointly(written, suite("apgd_ce", "fab_t", "square", eps=(8.0, 16.0)))
    assert len(given) >= 12
    assert all(row.numpy().tobytes() in originals for batch in given for row in batch)
    assert weights_hash(written.model) == before
