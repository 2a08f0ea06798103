"""SBA on mixed images: mixup or CutMix where nothing is augmented, the formula with mixed labels where it is."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks.sba_cases import divergence, generator, image_network, images
from torch import Tensor, nn

from baselines.cutmix import CutMix
from baselines.mixup import Mixup
from baselines.sba_mixup import SBAMixup
from sba import SBA
from sba.processes import Processes

MIXINGS: dict[str, Any] = {"mixup": Mixup(0.7), "cutmix": CutMix(0.7, p=1.0)}


def method(mixing: str, **settings: Any) -> SBAMixup:
    defaults: dict[str, Any] = {"layers": ("2",), "p": 1.0, "mixing": mixing, "mixing_alpha": 0.7}
    return SBAMixup(**defaults | settings)


@pytest.mark.parametrize("mixing", MIXINGS)
def test_a_step_that_is_not_augmented_is_one_of_the_mixing_to_the_last_bit(mixing: str) -> None:
    model = image_network()
    for seed in range(3):
        ours = method(mixing, p=0.0)(model, *images(), generator=generator(seed))
        theirs = MIXINGS[mixing](model, *images(), generator=generator(seed))
        assert torch.equal(ours.loss, theirs.loss)
        assert torch.equal(ours.logits, theirs.logits)


@pytest.mark.parametrize("mixing", MIXINGS)
def test_an_augmented_step_is_the_formula_with_mixed_labels(mixing: str) -> None:
    (x, y), seen = images(), list[Tensor]()
    model = image_network()
    model.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    step = method(mixing, alpha=0.6, copies=2)(model, x, y, generator=generator())
    mixed = MIXINGS[mixing].mix(x, y, Processes(), generator())
    assert 0 < mixed.lam < 1
    z, *copies = seen[0].chunk(3)

    def hard(logits: Tensor) -> Tensor:
        labels = mixed.lam * F.one_hot(mixed.labels[0], 4) + (1 - mixed.lam) * F.one_hot(mixed.labels[1], 4)
        return F.cross_entropy(logits, labels)

    expected = hard(z)
    for z_m in copies:
        expected = expected + (0.6 * hard(z_m) + divergence(z, z_m, y).mean()) / 2
    torch.testing.assert_close(step.loss, expected, atol=1e-6, rtol=1e-5)
    assert (step.virtual, step.layer) == (16, "2")


def test_a_batch_that_cutmix_leaves_as_it_is_takes_a_plain_sba_step() -> None:
    draws = generator()
    torch.rand((), generator=draws)  # CutMix's decision
    ours = method("cutmix", mixing_p=0.0)(image_network(), *images(), generator=generator())
    assert torch.equal(ours.loss, SBA(layers=("2",), p=1.0)(image_network(), *images(), generator=draws).loss)


def test_the_callers_criterion_is_mixed() -> None:
    (x, y), model = images(), image_network()
    smoothed = nn.CrossEntropyLoss(label_smoothing=0.2)
    step = method("mixup", p=0.0)(model, x, y, generator=generator(), criterion=smoothed)
    mixed = MIXINGS["mixup"].mix(x, y, Processes(), generator())
    first, second = (smoothed(step.logits, labels) for labels in mixed.labels)
    torch.testing.assert_close(step.loss, mixed.lam * first + (1 - mixed.lam) * second)


def test_several_tensors_are_refused() -> None:
    x, y = images()
    with pytest.raises(ValueError, match="must be one tensor each"):
        method("mixup")(image_network(), (x, x), y, generator=generator())
