"""Label smoothing: part of the label's mass is spread evenly over all classes."""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sba import Step, ranges


@dataclass(frozen=True)
class LabelSmoothing:
    """Loss of one step against the smoothed label.

    q(k) = (1 - smoothing) * [k = y] + smoothing / K over K classes; loss = mean over the batch of -sum_k q(k) log p(k).

    Args:
        smoothing: mass spread over all classes, the true one too, from 0 (plain training) to 1; 0.1 is the paper's.

    Raises:
        ValueError: a setting out of range.

    Source: Szegedy et al., CVPR 2016, arXiv:1512.00567, section 7. Deviations: none.
    """

    smoothing: Annotated[float, ranges.share] = 0.1

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: torch.Generator) -> Step:  # noqa: ARG002
        """Return the loss of one step; nothing is drawn."""
        logits = model(images).float()  # (N, classes)
        return Step(F.cross_entropy(logits, labels, label_smoothing=self.smoothing), logits)
