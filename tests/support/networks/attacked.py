"""Shared by the tests of attacks: networks that compute the same on every processor, images, short attacks."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks.around import Around
from studies.tiny_study import pixels_of
from torch import Tensor, nn

from benchmark.data.load import Data, load_data, to_float
from benchmark.evaluation.attacks import FrozenModel, Radius, make_attack, perturb, predict
from benchmark.evaluation.catalogue import ATTACKS, Norm
from benchmark.evaluation.image_draws import draws
from benchmark.evaluation.joint import AttackedSet, attack_jointly
from benchmark.networks.build import build_model
from benchmark.records.outcomes import unpack_bits
from benchmark.records.schema import AttackOutcome
from benchmark.settings.load import load_preset
from benchmark.settings.preset import Attack, Evaluation

FEW_STEPS = 3  # of an attack that has no other number in STEPS
STEPS = {"fgsm": 1, "apgd_t": 2, "fab_t": 2, "square": 10}
LINF: list[tuple[str, Norm]] = [(name, "Linf") for name in ATTACKS]
EVERY: list[tuple[str, Norm]] = [*LINF, *[(name, "L2") for name, row in ATTACKS.items() if not row.linf_only]]
RADIUS: dict[Norm, Radius] = {"Linf": Radius("Linf", 16.0), "L2": Radius("L2", 0.5)}
SHARED_DRAWS = [("apgd_t", "Linf"), ("apgd_t", "L2"), ("square", "L2")]
SCALE_FREE = {name for name, row in ATTACKS.items() if row.scale_free}
IMAGES = 96
every_attack = pytest.mark.parametrize(("name", "norm"), EVERY, ids=[f"{name}-{norm}" for name, norm in EVERY])


class InDouble(Around):
    """A network that computes in double precision: rounding that depends on processor, threads or batch vanishes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(copy.deepcopy(model).double())

    def _apply(self, *_arguments: Any) -> "InDouble":  # of float() and to(): it stays as it is
        return self

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.double()).float()


def trained_digits(seed: int) -> nn.Module:
    """A small network trained on all digits (over 90% correct), in double precision, the same on every processor."""
    data, order = load_data(load_preset("smoke").data, []), torch.Generator().manual_seed(seed)
    images, labels = pixels_of(data.train).double() / 255, data.train.labels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
        ).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(8):
        for batch in torch.randperm(len(images), generator=order).split(64)[:-1]:
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model.float().eval()


def colours(images: int, classes: int = 10) -> tuple[nn.Module, Tensor]:
    """An untrained network and images of three channels: with one, channels_last is the same as contiguous."""
    generator = torch.Generator().manual_seed(images)
    bytes_ = torch.randint(256, (images, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return build_model("small", bytes_, classes, seed=1).eval(), to_float(bytes_).contiguous()


def written_digits(network: nn.Module, digits: Data) -> AttackedSet:
    """96 handwritten digits and the network, in double precision, that is attacked with them."""
    images, labels = to_float(pixels_of(digits.test)[:IMAGES]).contiguous(), digits.test.labels[:IMAGES]
    return attacked_set(FrozenModel(InDouble(network)), images, labels, classes=4)  # 3 targets of each image, not 9


def attacked_set(model: FrozenModel, images: Tensor, labels: Tensor, classes: int = 10) -> AttackedSet:
    model = model.in_batches_of(32)
    return AttackedSet(model, images, labels, predict(model, images) == labels, classes, seed=5)


def attack_of(name: str, steps: int | None = None) -> Attack:
    return Attack(name=name, steps=steps or STEPS.get(name, FEW_STEPS))


def made_of(attack: Attack, model: nn.Module, norm: Norm, classes: int = 10) -> Any:
    """The attack that is made: of torchattacks, or of the reference where it is called by its method."""
    made = make_attack(attack, model, RADIUS[norm], classes, seed=3)
    return getattr(made, "__self__", made)


def attacked(
    model: FrozenModel, name: str, norm: Norm, images: Tensor, labels: Tensor | None = None, classes: int = 4
) -> Tensor:
    """Images under a short attack, which tries `classes` - 1 targets; without labels, away from the predictions."""
    labels = predict(model, images) if labels is None else labels
    return perturb(model, attack_of(name), RADIUS[norm], images, labels, draws(7, len(images)), classes)


def suite(*names: str, **changes: Any) -> Evaluation:
    values: dict[str, Any] = {"images": IMAGES, "batch_size": 32, "eps": (16.0,)}
    return Evaluation(**values | {"attacks": tuple(attack_of(name) for name in names)} | changes)


def jointly(of: AttackedSet, settings: Evaluation) -> list[AttackOutcome]:
    return attack_jointly(of, settings, lambda _text, _share: None)


def left(outcome: AttackOutcome, images: int = IMAGES) -> Tensor:
    return torch.from_numpy(unpack_bits(outcome["correct"], images))
