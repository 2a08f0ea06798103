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
    plain = Subject(written.model, torch.zeros(n, 1, 8, 8), labels, labels == 3, 10, batch_size=4, seed=0)
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
