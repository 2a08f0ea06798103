"""mixup: train on convex combinations of pairs of examples and of their labels."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines import draws
from baselines.mixing import MOST_ALPHA, Mixed
from sba import Step, ranges
from sba.processes import Processes, processes_of


@dataclass(frozen=True)
class Mixup:
    """Loss of one step on mixed images.

    lam ~ Beta(alpha, alpha), one draw for the batch; x' = lam * x + (1 - lam) * x[perm];
    loss = lam * CE(f(x'), y) + (1 - lam) * CE(f(x'), y[perm]).

    Args:
        alpha: parameter of the Beta distribution, above 0; 1 (uniform) is the authors' CIFAR setting.

    Raises:
        ValueError: alpha is not a finite number above 0.

    Source: Zhang et al., ICLR 2018, arXiv:1710.09412, section 2 and the authors' code (one lam for a batch).
    Deviations: none.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        ranges.positive("alpha", self.alpha, most=MOST_ALPHA)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: torch.Generator) -> Step:
        """Return the loss of one step; `logits` are those of the mixed images.

        Args:
            model: network that returns logits (N, classes).
            images: (N, C, H, W) batch.
            labels: (N,) class indices.
            generator: CPU generator of lam and the permutation.
        """
        mixed = self.mix(images, labels, processes_of(model, images, generator), generator)
        logits = model(mixed.images).float()  # (N, classes)
        return Step(mixed.loss(F.cross_entropy, logits, mixed.labels), logits)

    def mix(self, images: Tensor, labels: Tensor, processes: Processes, generator: torch.Generator) -> Mixed:
        """Mix the images of a batch that the processes share."""
        lam = draws.beta(self.alpha, generator)
        partners = draws.partners(images, processes, generator)  # (N,)
        mixed = torch.lerp(processes.gather(images)[partners], images, lam)
        return Mixed(mixed, (labels, processes.gather(labels)[partners]), lam)
