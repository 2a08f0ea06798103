"""mixup and the batched augmentation, example by example against plain re-computation and torchvision."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.augment import crop_and_flip
from baselines.mixup import Mixup
from benchmark.torchvision_ops import ensure_importable


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mixup_is_its_formula_example_by_example() -> None:
    torch.manual_seed(0)
    model, images, labels = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), torch.rand(6, 3, 2, 2), torch.arange(6) % 3
    step = Mixup(alpha=0.4)(model, images, labels, generator=generator(9))
    replay = generator(9)
    lam = random.Random(int(torch.randint(2**62, (), generator=replay))).betavariate(0.4, 0.4)
    partners = torch.randperm(6, generator=replay).tolist()
    total = 0.0
    for i, j in enumerate(partners):
        z = model((lam * images[i] + (1 - lam) * images[j])[None])
        target = lam * F.one_hot(labels[i], 3) + (1 - lam) * F.one_hot(labels[j], 3)
        total += float(-(target * F.log_softmax(z[0].detach(), dim=0)).sum())
    assert float(step.loss.detach()) == pytest.approx(total / 6, rel=1e-5)


def test_mixup_agrees_with_torchvision_given_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_importable()
    from torchvision.transforms.v2 import MixUp

    images, labels, seen = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 1]), list[Tensor]()

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x.flatten(1)[:, :3]

    transform = MixUp(num_classes=3)
    monkeypatch.setattr(transform._dist, "sample", lambda _shape: torch.tensor(0.3))
    monkeypatch.setattr(random.Random, "betavariate", lambda *_: float(torch.tensor(0.3)))
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n).roll(1))  # torchvision pairs by roll
    step = Mixup()(Spy(), images, labels, generator=generator())
    mixed, targets = transform(images, labels)
    torch.testing.assert_close(seen[0], mixed)
    torch.testing.assert_close(step.loss, F.cross_entropy(mixed.flatten(1)[:, :3], targets))


def test_mixup_draws_lambda_from_the_beta_distribution() -> None:
    draws, mixture = generator(), list[float]()

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mixture.append(float(x.amax()))
            return torch.zeros(2, 2, requires_grad=True)

    images = torch.stack([torch.zeros(1, 1, 1), torch.ones(1, 1, 1)])
    for _ in range(2000):
        Mixup(alpha=1.0)(Spy(), images, torch.tensor([0, 1]), generator=draws)
    mixed = torch.tensor([value for value in mixture if value < 1])  # without the pairs of an image with itself
    assert float(mixed.mean()) == pytest.approx(0.75, abs=0.02)  # max(lam, 1 - lam) of a uniform lam


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("inf"), float("nan")])
def test_mixup_refuses_an_impossible_alpha(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must be"):
        Mixup(alpha)


def test_every_augmented_image_is_a_crop_of_the_padded_original_mirrored_or_not() -> None:
    images = torch.randint(1, 256, (40, 3, 6, 5), dtype=torch.uint8, generator=generator())
    augmented = crop_and_flip(images, padding=2, flip=True, generator=generator(4))
    assert augmented.shape == images.shape
    assert augmented.dtype == torch.uint8
    for image, result in zip(images, augmented, strict=True):
        padded = F.pad(image, (2, 2, 2, 2))
        crops = [padded[:, r : r + 6, c : c + 5] for r in range(5) for c in range(5)]
        assert any(torch.equal(result, crop) or torch.equal(result, crop.flip(2)) for crop in crops)


def test_offsets_and_mirroring_are_uniform() -> None:
    marker = torch.zeros(6000, 1, 5, 5, dtype=torch.uint8)
    marker[:, :, 2, 1] = 1
    augmented = crop_and_flip(marker, padding=1, flip=True, generator=generator())
    places = augmented.flatten(1).argmax(1)
    rows = torch.bincount(places // 5, minlength=5)
    columns = torch.bincount(places % 5, minlength=5)
    assert rows[[0, 4]].tolist() == [0, 0]
    assert all(int(n) == pytest.approx(2000, abs=150) for n in rows[1:4])
    expected = [1000, 1000, 2000, 1000, 1000]  # column 1 shifted to 0..2, or mirrored to 2..4
    assert all(int(n) == pytest.approx(e, abs=150) for n, e in zip(columns, expected, strict=True))


def test_without_padding_and_flip_nothing_changes_and_the_draws_are_the_same() -> None:
    images = torch.randint(256, (8, 3, 4, 4), dtype=torch.uint8)
    still, moving = generator(), generator()
    assert torch.equal(crop_and_flip(images, padding=0, flip=False, generator=still), images)
    crop_and_flip(images, padding=0, flip=True, generator=moving)
    assert torch.equal(still.get_state(), moving.get_state())
