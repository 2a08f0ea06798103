"""A batch of which every example is mixed with another, and the loss of its mixed labels."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

MOST_ALPHA = 1e6  # of Beta(alpha, alpha), which draws 1/2 there

Criterion = Callable[[Tensor, Tensor], Tensor]


class Mixed(NamedTuple):
    """A mixed batch.

    Attributes:
        images: (N, ...) mixed images.
        labels: (N,) labels of the first and of the second example of each pair.
        lam: weight of the first, from 0 to 1.
    """

    images: Tensor
    labels: tuple[Tensor, Tensor]
    lam: float

    def loss(self, criterion: Criterion, logits: Tensor, labels: tuple[Tensor, Tensor]) -> Tensor:
        """Return lam * criterion(logits, first labels) + (1 - lam) * criterion(logits, second labels)."""
        first, second = labels
        return self.lam * criterion(logits, first) + (1 - self.lam) * criterion(logits, second)
