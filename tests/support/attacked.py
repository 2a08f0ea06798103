"""What the tests of the rules for attacks share: networks and images to attack, and short attacks."""

from typing import Any

import pytest
import torch
from tiny_study import pixels_of
from torch import Tensor, nn

from benchmark.data.load import Data, to_float
from benchmark.evaluation.attacks import Norm, Victim, make_attack, perturb, predict
from benchmark.evaluation.image_draws import draws
from benchmark.evaluation.joint import Subject, attack_jointly
from benchmark.networks.build import build_model
from benchmark.records.outcomes import unpack_bits
from benchmark.records.schema import AttackOutcome
from benchmark.settings.preset import Attack, Evaluation

STEPS = {"fgsm": 1, "pgd": 3, "apgd_ce": 3, "apgd_dlr": 3, "apgd_t": 2, "fab_t": 2, "square": 10}
LINF: list[tuple[str, Norm]] = [(name, "Linf") for name in STEPS]
EVERY: list[tuple[str, Norm]] = [*LINF, *[(name, "L2") for name in list(STEPS)[2:]]]
RADIUS: dict[Norm, float] = {"Linf": 16 / 255, "L2": 0.5}
SHARED_DRAWS = [("apgd_t", "Linf"), ("apgd_t", "L2"), ("square", "L2")]
SCALE_FREE = {"apgd_dlr", "apgd_t"}
IMAGES = 96
every_attack = pytest.mark.parametrize(("name", "norm"), EVERY, ids=[f"{name}-{norm}" for name, norm in EVERY])


def colours(images: int, classes: int = 10, pixels: int = 8) -> tuple[nn.Module, Tensor]:
    """An untrained network and images of three channels: with one, channels_last is the same as contiguous."""
    generator = torch.Generator().manual_seed(images)
    bytes_ = torch.randint(256, (images, 3, pixels, pixels), generator=generator, dtype=torch.uint8)
    return build_model("small", bytes_, classes, seed=1).eval(), to_float(bytes_).contiguous()


def written_digits(network: nn.Module, digits: Data) -> Subject:
    """96 handwritten digits and the network that is attacked with them."""
    return subject(Victim(network), to_float(pixels_of(digits.test)[:IMAGES]).contiguous(), digits.test.labels[:IMAGES])


def subject(model: Victim, images: Tensor, labels: Tensor, batch_size: int = 32, classes: int = 10) -> Subject:
    model = model.in_batches_of(batch_size)
    clean = predict(model, images, batch_size) == labels
    return Subject(model, images, labels, clean, classes, seed=5)


def attack_of(name: str, steps: int | None = None) -> Attack:
    return Attack(name=name, steps=steps or STEPS[name])


def made_of(attack: Attack, model: nn.Module, norm: Norm, classes: int = 10) -> Any:
    """The attack that is made: of torchattacks, or of the reference where it is called by its method."""
    made = make_attack(attack, model, norm, RADIUS[norm], classes, seed=3)
    return getattr(made, "__self__", made)


def attacked(
    model: nn.Module, name: str, norm: Norm, images: Tensor, labels: Tensor | None = None, classes: int = 10
) -> Tensor:
    labels = predict(model, images, len(images)) if labels is None else labels
    return perturb(model, attack_of(name), norm, RADIUS[norm], images, labels, draws(7, len(images)), classes)


def suite(*names: str, **changes: Any) -> Evaluation:
    values: dict[str, Any] = {"images": IMAGES, "batch_size": 32, "eps": (16.0,)}
    return Evaluation(**values | {"attacks": tuple(attack_of(name) for name in names)} | changes)


def jointly(of: Subject, settings: Evaluation) -> list[AttackOutcome]:
    return attack_jointly(of, settings, lambda _text, _share: None)


def left(outcome: AttackOutcome, images: int = IMAGES) -> Tensor:
    return torch.from_numpy(unpack_bits(outcome["correct"], images))
