"""The batched augmentation and the baselines without mixing against plain recomputation; ranges of settings."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks.sba_cases import colour_network as network
from networks.sba_cases import generator, train
from torch import Tensor, nn

from baselines.adversarial import Adversarial
from baselines.augment import crop_and_flip
from baselines.batch_augmentation import BatchAugmentation
from baselines.cutmix import CutMix
from baselines.erm import ERM
from baselines.label_smoothing import LabelSmoothing
from baselines.manifold_mixup import ManifoldMixup
from baselines.mixup import Mixup
from baselines.sba_mixup import SBAMixup
from baselines.stability import Stability


def images(n: int = 5) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 3, 6, 6, generator=generator(3)).to(memory_format=torch.channels_last), torch.arange(n) % 3


def seen_by(model: nn.Module) -> list[Tensor]:
    seen = list[Tensor]()
    model.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach()))
    return seen


def log_p(logits: Tensor) -> list[list[float]]:
    rows: list[list[float]] = F.log_softmax(logits.detach().double(), dim=1).tolist()
    return rows


@pytest.mark.parametrize(
    "method",
    [
        LabelSmoothing(0.0),
        CutMix(p=0.0),
        Stability(weight=0.0),
        Adversarial(eps=0.0),
        BatchAugmentation(copies=1, padding=0, flip=False),
    ],
    ids=lambda method: type(method).__name__,
)
def test_the_degenerate_case_is_plain_training_to_the_last_bit(method: Any) -> None:
    def trained(step_of: Any) -> list[Tensor]:
        model, draws = network(), generator()
        return train(model, lambda: step_of(model, *images(), generator=draws).loss)

    assert all(map(torch.equal, trained(ERM()), trained(method)))


def test_label_smoothing_is_its_formula_example_by_example() -> None:
    model, (x, y) = network(), images()
    step = LabelSmoothing(0.3)(model, x, y, generator=generator())
    rows = log_p(step.logits)
    total = 0.0
    for row, label in zip(rows, y.tolist(), strict=True):
        total -= sum((0.7 * (k == label) + 0.3 / 3) * row[k] for k in range(3))
    assert float(step.loss.detach()) == pytest.approx(total / 5, rel=1e-5)


def test_batch_augmentation_is_its_formula_example_by_example() -> None:
    model, (x, y) = network().eval(), images()  # without BatchNorm's coupling, each copy can be computed alone
    seen = seen_by(model)
    step = BatchAugmentation(copies=3, padding=2)(model, x, y, generator=generator(4))
    assert [len(rows) for rows in seen] == [15]
    replay, total = generator(4), 0.0
    copies = [crop_and_flip(x, padding=2, flip=True, generator=replay) for _ in range(3)]
    for copy in copies:
        for image, label in zip(copy, y.tolist(), strict=True):
            total -= log_p(model(image[None]))[0][label]
    assert float(step.loss.detach()) == pytest.approx(total / 15, rel=1e-5)
    torch.testing.assert_close(step.logits, model(copies[0]))
    assert not torch.equal(copies[0], copies[1])
    assert (step.virtual, step.layer) == (10, "input")


def test_one_copy_is_the_standard_augmentation_to_the_last_bit() -> None:
    x, y = images()
    step = BatchAugmentation(copies=1, padding=1)(network(), x, y, generator=generator(6))
    cropped = crop_and_flip(x, padding=1, flip=True, generator=generator(6))
    assert torch.equal(step.loss, ERM()(network(), cropped, y, generator=generator()).loss)
    assert (step.virtual, step.layer) == (0, None)


def test_stability_is_its_formula_example_by_example() -> None:
    model, (x, y) = network().eval(), images()
    seen = seen_by(model)
    step = Stability(noise=0.2, weight=0.6)(model, x, y, generator=generator())
    assert torch.equal(seen[0][:5], x)
    clean, noisy, total = log_p(model(x)), log_p(model(seen[0][5:])), 0.0
    for p, q, label in zip(clean, noisy, y.tolist(), strict=True):
        total += -p[label] + 0.6 * sum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True))
    assert float(step.loss.detach()) == pytest.approx(total / 5, rel=1e-5)
    torch.testing.assert_close(step.logits, model(x))
    assert (step.virtual, step.layer) == (5, "input")


def test_stabilitys_noise_is_gaussian_with_the_given_deviation() -> None:
    model = network()
    seen = seen_by(model)
    x, y = images(400)
    Stability(noise=0.04)(model, x, y, generator=generator())
    noise = seen[0][400:] - x
    assert float(noise.mean()) == pytest.approx(0, abs=1e-3)
    assert float(noise.std()) == pytest.approx(0.04, rel=0.02)
    assert float((noise.abs() < 0.04).float().mean()) == pytest.approx(0.683, abs=0.01)


def test_stabilitys_noise_is_the_same_in_every_memory_format_and_for_vectors() -> None:
    model, (x, y) = network(), images()
    seen = seen_by(model)
    for form in (torch.channels_last, torch.contiguous_format):
        Stability(noise=0.04)(model, x.contiguous(memory_format=form), y, generator=generator())
    torch.testing.assert_close(seen[0], seen[1], atol=1e-6, rtol=0)  # a fused product and sum may round otherwise
    vectors, linear = torch.rand(5, 4, generator=generator(1)), nn.Linear(4, 3)
    seen = seen_by(linear)
    Stability(noise=0.04)(linear, vectors, y, generator=generator())
    assert seen[0].shape == (10, 4)
    assert bool((seen[0][5:] != vectors).all())


def test_stabilitys_gradient_flows_through_both_outputs() -> None:
    logits = torch.randn(4, 3, generator=generator(), requires_grad=True)

    class Fixed(nn.Module):
        def forward(self, _x: Tensor) -> Tensor:
            return logits

    step = Stability(weight=1e6)(Fixed(), *images(2), generator=generator())
    (gradient,) = torch.autograd.grad(step.loss, logits)
    assert bool((gradient.norm(dim=1) > 1).all())


REFUSED: list[tuple[type, str, Any]] = [
    *[(kind, "alpha", value) for kind in (Mixup, CutMix) for value in (0, -1.0, math.inf, math.nan, "1", True)],
    *[(CutMix, "p", value) for value in (-0.1, 1.1, math.nan, None)],
    *[(LabelSmoothing, "smoothing", value) for value in (-0.1, 1.1, math.nan, "0.1")],
    *[(BatchAugmentation, "copies", value) for value in (0, 1.5, True, "2")],
    *[(BatchAugmentation, "padding", value) for value in (-1, 0.5, False)],
    *[(BatchAugmentation, "flip", value) for value in (1, "yes", None)],
    *[(Stability, name, value) for name in ("noise", "weight") for value in (-0.1, math.inf, math.nan, "0")],
    *[(Adversarial, "eps", value) for value in (-1, math.inf, math.nan, "8")],
    *[(Adversarial, "steps", value) for value in (0, 1.5, True)],
    *[(Adversarial, "step_size", value) for value in (0, -2.0, math.inf, math.nan)],
    *[(ManifoldMixup, "layers", value) for value in ((), "stem", ("",), (1,), ("a", "a"), ["a"])],
    *[(ManifoldMixup, "alpha", value) for value in (0, math.nan, math.inf)],
    *[(SBAMixup, "mixing", value) for value in ("manifold", None)],
    *[(SBAMixup, "mixing_alpha", value) for value in (0, math.nan, "1")],
    *[(SBAMixup, "mixing_p", value) for value in (-0.1, 1.1, math.nan, 0.5)],
    (SBAMixup, "label_mix", 0.5),
    (SBAMixup, "soft_label", "dark_knowledge"),
    (SBAMixup, "noise", -1.0),
]


@pytest.mark.parametrize(("kind", "name", "value"), REFUSED)
def test_a_setting_out_of_range_names_itself_and_its_value(kind: Any, name: str, value: object) -> None:
    others: dict[str, Any] = {"layers": ("input",)} if kind in (ManifoldMixup, SBAMixup) else {}
    with pytest.raises(ValueError, match=f"^{name} must be ") as refusal:
        kind(**others | {name: value})
    assert f"got {value!r}." in str(refusal.value)


def test_every_augmented_image_is_a_crop_of_the_padded_original_mirrored_or_not() -> None:
    images = torch.randint(1, 256, (40, 3, 6, 5), dtype=torch.uint8, generator=generator())
    augmented = crop_and_flip(images, padding=2, flip=True, generator=generator(4))
    assert augmented.shape == images.shape
    assert augmented.dtype == torch.uint8
    for image, result in zip(images, augmented, strict=True):
        padded = F.pad(image, (2, 2, 2, 2))
        crops = [padded[:, r : r + 6, c : c + 5] for r in range(5) for c in range(5)]
        assert any(torch.equal(result, crop) or torch.equal(result, crop.flip(2)) for crop in crops)


def test_float_images_are_augmented_as_their_bytes_are() -> None:
    images = torch.randint(256, (8, 3, 6, 5), dtype=torch.uint8, generator=generator())
    whole = crop_and_flip(images, padding=2, flip=True, generator=generator(4))
    assert torch.equal(crop_and_flip(images / 255, padding=2, flip=True, generator=generator(4)), whole / 255)


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
