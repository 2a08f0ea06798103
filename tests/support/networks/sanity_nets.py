"""Shared by the tests of the sanity checks: settings, the case of an evaluation, and networks that look robust."""

from collections.abc import Callable
from typing import Any

import torch
from networks.around import Around
from networks.attacked import attacked_set
from studies.tiny_study import pixels_of
from torch import Tensor, nn

from benchmark.data.load import Data, to_float
from benchmark.evaluation.attacks import FrozenModel, Radius
from benchmark.evaluation.catalogue import SANITY_CHECKS
from benchmark.evaluation.evaluate import attacked_images
from benchmark.evaluation.joint import AttackedSet, attack_jointly
from benchmark.evaluation.sanity_checks import Case, case_of
from benchmark.settings.load import load_preset
from benchmark.settings.preset import Attack, Checks, Evaluation

IMAGES = 64
NEAR = Radius("Linf", 16.0)
SUITE = (Attack(name="apgd_ce", steps=10), Attack(name="apgd_dlr", steps=10))
SPEND = Checks(images=IMAGES, square_queries=100, repeated=32, long_steps=30, reference_steps=5, reference_queries=30)
FREE = [row.number for row in SANITY_CHECKS.values() if row.images is None]


def judged(digits: Data, model: nn.Module) -> AttackedSet:
    """A network with the 64 digits it is judged on."""
    chosen = attacked_images(load_preset("smoke", (f"evaluation.images={IMAGES}",)), digits.test)
    images, labels = to_float(pixels_of(digits.test)[chosen]).contiguous(), digits.test.labels[chosen]
    return attacked_set(FrozenModel(model), images, labels, classes=4)  # 3 targets of each image, not 9


def settings(**changes: Any) -> Evaluation:
    values: dict[str, Any] = {"images": IMAGES, "batch_size": 32, "eps": (4.0, 16.0), "attacks": SUITE}
    return Evaluation(**values | {"checks": SPEND} | changes)


def silent(_text: str, _share: float) -> None:
    pass


def no_surrogate() -> nn.Module:
    raise AssertionError("the surrogate was trained")


def case(of: AttackedSet, left: Tensor | None = None, radius: Radius = NEAR, **changes: Any) -> Case:
    """A case without attacks so far: every image that is right survived the suite, unless `left` marks others."""
    surrogate: Callable[[], nn.Module] = changes.pop("surrogate", no_surrogate)
    outcomes = changes.pop("outcomes", ())
    return Case(of, of.clean if left is None else left, radius, outcomes, settings(**changes), surrogate)


def evaluated_case(of: AttackedSet, surrogate: nn.Module, **changes: Any) -> Case:
    """The case after the suite, as in an evaluation."""
    chosen = settings(**changes)
    return case_of(of, chosen, attack_jointly(of, chosen, silent), lambda: surrogate)


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
        return super().forward(images + 0.3 * torch.randn_like(images))


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


class NoiseByPlace(Around):
    """Noise from a seed of its own: the same in each pass, another at each place of the batch."""

    def forward(self, images: Tensor) -> Tensor:
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        return super().forward(images + 0.2 * noise)


class HonestWithoutGradient(Around):
    """Answers at random as soon as somebody asks for gradients."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(1 - images if torch.is_grad_enabled() else images)
