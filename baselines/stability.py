"""Stability training: the output for a noisy image is pulled towards the output for the image."""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines import draws
from baselines.erm import ERM
from sba import Step, ranges
from sba.layers import INPUT
from sba.processes import processes_of


@dataclass(frozen=True)
class Stability:
    """Loss of one step on images and their noisy copies.

    x' = x + noise * eps, eps ~ N(0, I); z = f(x) and z' = f(x') in one joint pass;
    loss = CE(z, y) + weight * mean over the batch of KL(softmax(z) || softmax(z')).
    The gradient flows through both outputs. With weight 0 nothing is drawn, and the loss is CE(f(x), y).

    Args:
        noise: standard deviation of the noise, in units of the images' range [0, 1], at least 0.
        weight: weight of the divergence, at least 0; 0 is plain training.

    Raises:
        ValueError: a setting out of range.

    Source: Zheng et al., CVPR 2016, arXiv:1604.04326, section 3: its classification form. The paper's text was not at
    hand: from memory, its weight is 0.01 and it tunes a network that is trained already; noise 0.04 (10 of 255 grey
    levels) is ours. Deviations: the divergence acts from the first step; a joint pass, so BatchNorm sees clean and
    noisy images together; noisy images are not clipped to [0, 1].
    """

    noise: Annotated[float, ranges.not_negative] = 0.04
    weight: Annotated[float, ranges.not_negative] = 0.01

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: torch.Generator) -> Step:
        """Return the loss of one step; `logits` are those of the clean images."""
        if self.weight == 0:
            return ERM()(model, images, labels, generator=generator)
        processes = processes_of(model, images, generator)
        noisy_images = torch.add(images, draws.normal(images, processes, generator), alpha=self.noise)
        clean, noisy = model(torch.cat([images, noisy_images])).float().chunk(2)  # (N, classes) each
        divergence = F.kl_div(noisy.log_softmax(1), clean.log_softmax(1), reduction="batchmean", log_target=True)
        return Step(F.cross_entropy(clean, labels) + self.weight * divergence, clean, len(images), INPUT)
