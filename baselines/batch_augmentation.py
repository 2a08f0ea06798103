"""Batch Augmentation: several independently augmented copies of each image in one batch, with hard labels."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.augment import crop_and_flip
from sba import Step, ranges
from sba.layers import INPUT
from sba.processes import processes_of


@dataclass(frozen=True)
class BatchAugmentation:
    """Loss of one step on M copies of the batch.

    loss = mean over m = 1..M and the batch of CE(f(T_m(x)), y), each T_m a padded random crop and a flip drawn for
    every image anew; all M * N images go through the network together. It augments, so its arm's own
    augmentation is "none".

    Args:
        copies: M, at least 1; 1 is the standard augmentation.
        padding: pixels of padding before the crop, at least 0.
        flip: mirror half of the images.

    Raises:
        ValueError: a setting out of range.

    Source: Hoffer et al., arXiv:1901.09335 (CVPR 2020), section 3. The authors' CIFAR code pads by 4 and flips; its
    README trains ResNet-44 with M = 40 and cutout. Deviations: M = 2 by default, the cheapest; no cutout.
    """

    copies: Annotated[int, ranges.copies] = 2
    padding: Annotated[int, partial(ranges.count, most=8192)] = 4
    flip: bool = True

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: torch.Generator) -> Step:
        """Return the loss of one step on images not yet augmented; `logits` are those of the first copies."""
        processes = processes_of(model, images, generator)
        copies = [
            crop_and_flip(images, padding=self.padding, flip=self.flip, generator=generator, processes=processes)
            for _ in range(self.copies)
        ]
        logits = model(torch.cat(copies)).float()  # (M * N, classes)
        loss = F.cross_entropy(logits, labels.repeat(self.copies))
        virtual = (self.copies - 1) * len(images)
        return Step(loss, logits[: len(images)], virtual, INPUT if virtual else None)
