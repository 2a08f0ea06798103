"""mixup: train on convex combinations of pairs of examples and of their labels."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from baselines import draws
from baselines.mixing import Mixed, beta_parameter
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
        ValueError: a setting out of range.

    Source: Zhang et al., ICLR 2018, arXiv:1710.09412, section 2 and the authors' code (one lam for a batch).
    Deviations: none.
    """

    alpha: Annotated[float, beta_parameter] = 1.0

    def __post_init__(self) -> None:
        ranges.check(self)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: torch.Generator) -> Step:
        """Return the loss of one step; `logits` are those of the mixed images."""
        return self.mix(images, labels, processes_of(model, images, generator), generator).step(model)

    def mix(self, images: Tensor, labels: Tensor, processes: Processes, generator: torch.Generator) -> Mixed:
        """Mix the rows of this process with those of all processes, by draws of lam, then of the permutation."""
        lam = draws.beta(self.alpha, generator)
        partners = draws.partners(images, processes, generator)  # (N,)
        mixed = torch.lerp(processes.gather(images)[partners], images, lam)
        return Mixed(mixed, (labels, processes.gather(labels)[partners]), lam)
