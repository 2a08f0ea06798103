"""CutMix: paste a box of another image into each image and mix the labels by area."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from baselines import draws
from baselines.erm import ERM
from baselines.mixing import Mixed, beta_parameter
from sba import Step, ranges
from sba.processes import Processes, processes_of


@dataclass(frozen=True)
class CutMix:
    """Loss of one step in which, with probability p, every image carries a box of another.

    lam ~ Beta(alpha, alpha); a box of sqrt(1 - lam) times the image's height and width around a uniform centre,
    clipped to the image, the same for the batch; x' = x outside the box, x[perm] inside;
    lam' = 1 - (area of the box) / (area of the image);
    loss = lam' * CE(f(x'), y) + (1 - lam') * CE(f(x'), y[perm]).
    Otherwise loss = CE(f(x), y).

    Args:
        alpha: parameter of the Beta distribution, above 0; 1 (uniform) is the authors' setting.
        p: probability of a mixed batch, from 0 (plain training) to 1 (every batch); 0.5 is the authors' on CIFAR.

    Raises:
        ValueError: a setting out of range.

    Source: Yun et al., ICCV 2019, arXiv:1905.04899, section 3.2, and the authors' CIFAR code (beta 1,
    cutmix_prob 0.5; 1 on ImageNet). Deviations: the label is mixed by the area of the clipped box, as in
    torchvision; the authors' first code kept the drawn lam.
    """

    alpha: Annotated[float, beta_parameter] = 1.0
    p: Annotated[float, ranges.share] = 0.5

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: torch.Generator) -> Step:
        """Return the loss of one step; `logits` are those of the images with their boxes."""
        mixed = self.mix(images, labels, processes_of(model, images, generator), generator)
        return ERM()(model, images, labels, generator=generator) if mixed is None else mixed.step(model)

    def mix(self, images: Tensor, labels: Tensor, processes: Processes, generator: torch.Generator) -> Mixed | None:
        """Mix the rows of this process with those of all processes, or return None for a batch that is not mixed.

        Draws the decision and, for a mixed batch, lam, the permutation and the centre.
        """
        if float(torch.rand((), generator=generator, device="cpu")) >= self.p:
            return None
        height, width = images.shape[2:]
        lam = draws.beta(self.alpha, generator)
        partners = draws.partners(images, processes, generator)  # (N,)
        row, column = (int(torch.randint(size, (), generator=generator, device="cpu")) for size in (height, width))
        top, bottom, left, right = _box(lam, row, column, height, width)
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = processes.gather(images)[partners, :, top:bottom, left:right]
        lam = 1 - (bottom - top) * (right - left) / (height * width)
        return Mixed(mixed, (labels, processes.gather(labels)[partners]), lam)


def _box(lam: float, row: int, column: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right (first in, first out) of the box around a centre, clipped to the image.

    Before clipping, the box covers about 1 - lam of the image; half its sides are rounded down to whole pixels.

    Example:
        >>> _box(0.75, row=0, column=16, height=32, width=32)
        (0, 8, 8, 24)
    """
    half_height, half_width = (int(size * math.sqrt(1 - lam) / 2) for size in (height, width))
    top, bottom = max(row - half_height, 0), min(row + half_height, height)
    left, right = max(column - half_width, 0), min(column + half_width, width)
    return top, bottom, left, right
