"""Stochastic Batch Augmentation, as read from its abstracts (arXiv:2006.15284; README.md says what is a reading)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sba.scheduler import augments
from sba.soft_label import soft_label_loss
from sba.vicinity import find_layer, forward_with_copies


class Step(NamedTuple):
    """What one training step gives.

    Attributes:
        loss: scalar to backpropagate.
        logits: (N, classes) logits of the originals, float32.
        virtual: number of virtual samples in this step, 0 where it was not augmented.
        layer: the layer behind which the virtual samples joined the batch, None where there are none.
    """

    loss: Tensor
    logits: Tensor
    virtual: int
    layer: str | None = None


@dataclass(frozen=True)
class SBA:
    """Loss of one training step with Stochastic Batch Augmentation.

    With probability p: draw a layer k from `layers`, h = its activation, M virtual activations
    h_m = h + noise * std(h) * eps, logits z and z_m of h and h_m in one pass, q = softmax(z / T), and
    loss = CE(z, y) + mean_m [alpha * CE(z_m, y) + kl_weight * T^2 * KL(q || softmax(z_m / T))].
    Otherwise loss = CE(f(x), y), without a further draw or cost.

    Args:
        layers: names from `model.named_modules()`, one of which is drawn uniformly at each augmented step.
        p: probability in [0, 1] that a step is augmented; 0 is plain training to the last bit.
        noise: size of the Gaussian noise in units of the activation's standard deviation, at least 0.
        copies: virtual samples M for each original, at least 1.
        alpha: weight of the hard label's cross-entropy on virtual samples, at least 0.
        kl_weight: weight (lambda) of the divergence from the soft label, at least 0.
        temperature: T > 0 of the soft label.

    Raises:
        ValueError: a setting out of range; the message says what is allowed.

    Source: Li et al., IJCAI 2020, arXiv:2006.15284, abstract and introduction. The method section was not
    available: the form of the noise, the layers, T and the weights are readings, each a setting.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> generator = torch.Generator().manual_seed(0)
        >>> sba = SBA(layers=("1",), p=1.0)
        >>> step = sba(model, torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1]), generator=generator)
        >>> step.loss.backward()
        >>> step.logits.shape, step.virtual
        (torch.Size([5, 3]), 5)
    """

    layers: tuple[str, ...]
    p: float = 0.5
    noise: float = 0.5
    copies: int = 1
    alpha: float = 0.0
    kl_weight: float = 1.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if isinstance(self.layers, str) or not self.layers or not all(isinstance(n, str) and n for n in self.layers):
            raise ValueError(f"layers must be a tuple of one or more layer names, got {self.layers!r}.")
        if not 0 <= self.p <= 1:
            raise ValueError(f"p must be a probability from 0 to 1, got {self.p!r}.")
        if isinstance(self.copies, bool) or not isinstance(self.copies, int) or self.copies < 1:
            raise ValueError(f"copies must be a whole number of at least 1, got {self.copies!r}.")
        for name in ("noise", "alpha", "kl_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a finite number of at least 0, got {getattr(self, name)!r}.")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be a finite number above 0, got {self.temperature!r}.")

    def check(self, model: nn.Module) -> None:
        """Raise ValueError, with the nearest names, where the model lacks one of the layers."""
        for layer in self.layers:
            find_layer(model, layer)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: torch.Generator) -> Step:
        """Return the loss of one step; the caller backpropagates it.

        Args:
            model: any network that returns logits (N, classes); it is not changed.
            images: (N, ...) input batch on the model's device.
            labels: (N,) class indices.
            generator: CPU generator of the method's draws (decision, layer, seed of the noise).

        Raises:
            ValueError: a layer that does not exist or cannot be widened (`forward_with_copies`).
        """
        if not augments(self.p, generator):
            logits = model(images).float()  # (N, classes)
            return Step(F.cross_entropy(logits, labels), logits, 0)
        layer = self.layers[int(torch.randint(len(self.layers), (), generator=generator))]
        joint = forward_with_copies(
            model, layer, images, noise=self.noise, copies=self.copies, generator=generator
        ).float()  # ((1 + M) * N, classes)
        logits, virtual = joint[: len(images)], joint[len(images) :]
        loss = F.cross_entropy(logits, labels)
        if self.alpha:
            loss = loss + self.alpha * F.cross_entropy(virtual, labels.repeat(self.copies))
        if self.kl_weight:
            loss = loss + self.kl_weight * soft_label_loss(logits, virtual, self.temperature)
        return Step(loss, logits, len(virtual), layer)
