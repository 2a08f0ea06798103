"""Batches in which every example is mixed with another, and the loss of their mixed labels."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from sba import Step, ranges

MOST_ALPHA = 1e6
beta_parameter = partial(ranges.positive, most=MOST_ALPHA)  # range of alpha; Beta(alpha, alpha) draws 1/2 at its end

Labels = tuple[Tensor, Tensor]  # (N,) each, of the first and of the second example of each pair


class Mixed(NamedTuple):
    """A mixed batch.

    Attributes:
        images: (N, ...) mixed images.
        labels: labels of both examples of each pair.
        lam: weight of the first, from 0 to 1.
    """

    images: Tensor
    labels: Labels
    lam: float

    def step(self, model: nn.Module) -> Step:
        """Return the step of a model on the mixed images, with cross-entropy."""
        logits = model(self.images).float()  # (N, classes)
        return Step(mixed_loss(F.cross_entropy, self.lam, logits, self.labels), logits)


def mixed_loss(criterion: Callable[[Tensor, Tensor], Tensor], lam: float, logits: Tensor, labels: Labels) -> Tensor:
    """Return lam * criterion(logits, first labels) + (1 - lam) * criterion(logits, second labels)."""
    first, second = labels
    return lam * criterion(logits, first) + (1 - lam) * criterion(logits, second)
