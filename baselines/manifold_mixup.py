"""Manifold Mixup: mixup of hidden activations, at a layer drawn anew for each batch."""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines import draws
from baselines.mixing import beta_parameter, mixed_loss
from sba import Step, ranges
from sba.batch import is_channels_last
from sba.layers import INPUT, check_layers, draw_layer, replace_activation
from sba.processes import processes_of


@dataclass(frozen=True)
class ManifoldMixup:
    """Loss of one step on mixed activations.

    Network f = f_k . g_k, with g_k(x) the activation of layer k (for "input": x itself).
    lam ~ Beta(alpha, alpha), one draw for the batch; k ~ U(layers);
    h' = lam * g_k(x) + (1 - lam) * g_k(x)[perm], z = f_k(h');
    loss = lam * CE(z, y) + (1 - lam) * CE(z, y[perm]).

    Args:
        layers: names from `model.named_modules()`, "input" for the images; one is drawn at each step.
        alpha: parameter of the Beta distribution, above 0; 2 is the authors' CIFAR setting.

    Raises:
        ValueError: a setting out of range.

    Source: Verma et al., ICML 2019, arXiv:1806.05236, section 2 and the authors' code. Their CIFAR ResNets mix at
    the input, after the first or after the second residual stage: ("input", "block1", "block2") in our networks.
    Deviations: cross-entropy with the mixed label, as in the paper's formula (the authors' code has a binary
    cross-entropy for each class); a "layer" is any module.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> method = ManifoldMixup(layers=("input", "1"))
        >>> method.check(model)
        >>> draws_of_the_method = torch.Generator().manual_seed(0)
        >>> step = method(model, torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1]), generator=draws_of_the_method)
        >>> step.logits.shape, step.virtual
        (torch.Size([5, 3]), 0)
    """

    layers: Annotated[tuple[str, ...], ranges.layer_names]
    alpha: Annotated[float, beta_parameter] = 2.0

    def __post_init__(self) -> None:
        ranges.check(self)

    def check(self, model: nn.Module) -> None:
        """Raise ValueError, with the nearest names, if the model lacks one of the layers."""
        check_layers(model, self.layers)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: torch.Generator) -> Step:
        """Return the loss of one step; `logits` are those of the mixed activations.

        Raises:
            ValueError: the layer does not exist, is not called exactly once or returns no tensor of N examples.
        """
        processes = processes_of(model, images, generator)
        lam = draws.beta(self.alpha, generator)
        partners = draws.partners(images, processes, generator)  # (N,)
        layer = draw_layer(self.layers, generator)

        def mix(h: Tensor) -> Tensor:
            whole = processes.gather(h)
            return torch.lerp(whole[partners] if layer == INPUT else _rows(whole, partners), h, lam)

        logits = replace_activation(model, layer, images, mix).float()  # (N, classes)
        others = processes.gather(labels)[partners]
        return Step(mixed_loss(F.cross_entropy, lam, logits, (labels, others)), logits)


def _rows(h: Tensor, indices: Tensor) -> Tensor:
    """Return h[indices] in the memory format of h; the gradient of that expression works on one core of a CPU."""
    if is_channels_last(h):
        return h.movedim(1, -1).index_select(0, indices).movedim(-1, 1)
    return h.index_select(0, indices)
