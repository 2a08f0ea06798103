"""What the tests of the sanity checks share: settings, all checks of a network, and networks that look robust."""

from typing import Any

import torch
from around import Around
from tiny_study import pixels_of
from torch import Tensor, nn

from benchmark.data.load import Data, to_float
from benchmark.evaluation.attacks import Victim, predict
from benchmark.evaluation.evaluate import all_checks, attacked_images, joint_curves
from benchmark.evaluation.joint import Radius, Subject, attack_jointly
from benchmark.records.schema import Check
from benchmark.settings.load import load_preset
from benchmark.settings.preset import Attack, Checks, Evaluation

IMAGES = 64
NEAR = Radius("Linf", 16.0)
SUITE = (Attack(name="apgd_ce", steps=10), Attack(name="apgd_dlr", steps=10))
SPEND = Checks(images=IMAGES, square_queries=100, repeated=32, long_steps=30, reference_steps=5, reference_queries=30)
FREE = [1, 2, 3, 4, 6]
FIGURES = {
    1: ["training modules", "state changed", "random draws"],
    2: ["relative difference", "probabilities"],
    3: ["FGSM fooled", "PGD fooled"],
    4: ["largest rise", "at 64/255"],
    5: ["noise", "FGSM", "PGD", "odd images"],
    6: ["zero gradients", "median margin", "CE - DLR"],
    7: ["PGD, logits x0.1", "PGD, logits x1", "PGD, logits x10"],
    8: ["fooled", "stood", "images"],
    9: ["fooled", "stood", "images"],
    10: ["transfer", "white box", "odd images"],
    11: ["fooled", "stood", "images"],
}


def judged(digits: Data, model: nn.Module) -> Subject:
    """A network with the 64 digits it is judged on."""
    chosen = attacked_images(load_preset("smoke", (f"evaluation.images={IMAGES}",)), digits.test)
    images, labels = to_float(pixels_of(digits.test)[chosen]).contiguous(), digits.test.labels[chosen]
    victim = Victim(model, 32)
    return Subject(victim, images, labels, predict(victim, images, 32) == labels, 10, seed=5)


def settings(**changes: Any) -> Evaluation:
    values: dict[str, Any] = {"images": IMAGES, "batch_size": 32, "eps": (4.0, 16.0), "attacks": SUITE}
    return Evaluation(**values | {"checks": SPEND} | changes)


def silent(_text: str, _share: float) -> None:
    pass


def checked(of: Subject, surrogate: nn.Module, chosen: Evaluation | None = None) -> dict[int, Check]:
    """Attack, then run all checks as an evaluation does."""
    chosen = chosen or settings()
    outcomes = attack_jointly(of, chosen, silent)
    curves = joint_curves(outcomes, len(of.clean))
    found = all_checks(of, chosen, outcomes, curves, lambda: surrogate, silent)
    assert len({check["number"] for check in found}) == len(found)
    return {check["number"]: check for check in found}


def flags(of: dict[int, Check]) -> dict[int, str]:
    return {number: check["flag"] for number, check in of.items() if check["flag"]}


class RoundedImages(Around):
    """Its images have few grey levels: the gradient is zero almost everywhere, and the network as weak as before."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward((images * 15).round() / 15)


class RoundedLogits(Around):
    """Its logits lie on a grid: no gradient either, at the other end."""

    def forward(self, images: Tensor) -> Tensor:
        return (super().forward(images) * 1000).round() / 1000


class WrongGradient(Around):
    """Images pass as they are, gradients come back with every second sign turned: not zero, and no use."""

    def forward(self, images: Tensor) -> Tensor:
        signs = torch.ones(images.shape[-1])
        signs[::2] = -1
        return super().forward(images.detach() + (images - images.detach()) * signs)


class Noisy(Around):
    """A random layer that eval mode does not turn off."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + 0.1 * torch.randn_like(images))


class Softmax(Around):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(1)


class AlwaysTraining(Around):
    """eval() does not reach it."""

    def train(self, mode: bool = True) -> "AlwaysTraining":  # noqa: ARG002
        super().train(False)
        self.training = True
        return self


class Counts(Around):
    """A forward pass changes a buffer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.get_buffer("calls").add_(1)
        return super().forward(images)
