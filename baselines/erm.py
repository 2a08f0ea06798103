"""Empirical risk minimisation: plain cross-entropy, the reference of every comparison."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sba import Step


@dataclass(frozen=True)
class ERM:
    """Loss of one step: mean over the batch of CE(f(x), y). It has no settings and draws nothing.

    Source: Vapnik, "Principles of Risk Minimization for Learning Theory", NIPS 1991. Deviations: none.
    """

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: torch.Generator) -> Step:  # noqa: ARG002
        """Return the loss of one step."""
        logits = model(images).float()  # (N, classes)
        return Step(F.cross_entropy(logits, labels), logits)
