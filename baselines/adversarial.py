"""Adversarial training with PGD, the positive control: it must raise the accuracy under attack."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from baselines import draws
from sba import Step, ranges
from sba.layers import INPUT, unwrap
from sba.processes import processes_of

MOST_EPS, MOST_STEPS = 255.0, 1000  # the whole range of a pixel, in 1/255; each step is a pass forward and back


@dataclass(frozen=True)
class Adversarial:
    """Loss of one step on adversarial images alone.

    x_0 = clip(x + U(-eps, eps)); x_(i+1) = clip(x_i + step_size * sign(grad_x CE(f(x_i), y))), where clip goes to
    within eps of x in every pixel, then to [0, 1]; loss = CE(f(x_steps), y).

    Args:
        eps: largest change of a pixel (L-infinity), in 1/255, from 0 to 255; 0 is plain training, at the attack's cost.
        steps: gradient steps of the attack, from 1 to 1,000.
        step_size: change of a pixel in one step, in 1/255, above 0 and at most 255.

    Raises:
        ValueError: a setting out of range.

    Source: Madry et al., ICLR 2018, arXiv:1706.06083, sections 2 and 4: eps 8, 7 steps of 2 on CIFAR-10; the authors'
    code gives the order of the operations. The attack sees the network in its current mode, as theirs does. Deviations:
    the attack's passes stay out of BatchNorm's running statistics, which theirs enter; the random start is clipped to
    [0, 1] at once.
    """

    eps: Annotated[float, partial(ranges.not_negative, most=MOST_EPS)] = 8.0
    steps: Annotated[int, partial(ranges.count, least=1, most=MOST_STEPS)] = 7
    step_size: Annotated[float, partial(ranges.positive, most=MOST_EPS)] = 2.0

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: torch.Generator) -> Step:
        """Return the loss of one step; `logits` are those of the adversarial images."""
        adversarial = self.attack(model, images, labels, generator)
        logits = model(adversarial).float()  # (N, classes)
        return Step(F.cross_entropy(logits, labels), logits, self.steps * len(images), INPUT)

    def attack(self, model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return images in [0, 1], each pixel within eps / 255 of the given one; no parameter's `grad` is touched."""
        eps, step_size = self.eps / 255, self.step_size / 255
        processes = processes_of(model, images, generator)
        # The attack needs no gradient of the weights, so it bypasses the wrapper that exchanges them.
        attacked = unwrap(model) if processes.group is not None else model
        x = (images + draws.uniform(images, eps, processes, generator)).clamp(0, 1)
        with _fixed_running_statistics(attacked):
            for _ in range(self.steps):
                x.requires_grad_()
                loss = F.cross_entropy(attacked(x).float(), labels, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, x)
                x = x.detach() + step_size * gradient.sign()
                x = x.clamp(images - eps, images + eps).clamp(0, 1)
        return x


@contextmanager
def _fixed_running_statistics(model: nn.Module) -> Iterator[None]:
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    try:
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
