"""Manifold Mixup: mixup of hidden activations, at a layer drawn anew for each batch."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines import draws
from baselines.mixing import MOST_ALPHA
from sba import Step, ranges
from sba.activation import replace_activation
from sba.layers import INPUT, find_layer
from sba.processes import Processes, processes_of


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
        ValueError: layers is no tuple of different names, or alpha is not a finite number above 0.

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

    layers: tuple[str, ...]
    alpha: float = 2.0

    def __post_init__(self) -> None:
        ranges.layer_names("layers", self.layers)
        ranges.positive("alpha", self.alpha, most=MOST_ALPHA)

    def check(self, model: nn.Module) -> None:
        """Raise ValueError, with the nearest names, where the model lacks one of the layers."""
        for layer in self.layers:
            find_layer(model, layer)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: torch.Generator) -> Step:
        """Return the loss of one step; `logits` are those of the mixed activations.

        Args:
            model: network that returns logits (N, classes); it is not changed.
            images: (N, ...) batch on the model's device.
            labels: (N,) class indices.
            generator: CPU generator of lam, the permutation (as in `Mixup`), then the layer.

        Raises:
            ValueError: the layer does not exist, is not called exactly once or returns no tensor of N examples.
        """
        processes = processes_of(model, images, generator)
        lam = draws.beta(self.alpha, generator)
        partners = draws.partners(images, processes, generator)  # (N,)
        layer = self.layers[int(torch.randint(len(self.layers), (), generator=generator))]
        logits = forward_mixed(model, layer, images, partners, lam, processes).float()  # (N, classes)
        others = processes.gather(labels)[partners]
        loss = lam * F.cross_entropy(logits, labels) + (1 - lam) * F.cross_entropy(logits, others)
        return Step(loss, logits)


def forward_mixed(
    model: nn.Module, layer: str, images: Tensor, partners: Tensor, lam: float, processes: Processes
) -> Tensor:
    """Run the model with lam * h + (1 - lam) * h[partners] in place of the layer's activation h.

    Args:
        model: network, wrapped or not.
        layer: name of a module, or "input".
        images: (N, ...) batch.
        partners: (N,) indices of the second examples among the rows of all processes.
        lam: weight of the first examples, from 0 to 1.
        processes: those that share the batch.

    Returns:
        (N, classes) logits.

    Raises:
        ValueError: see `sba.activation.replace_activation`.
    """

    def mix(h: Tensor) -> Tensor:
        whole = processes.gather(h)
        return torch.lerp(whole[partners] if layer == INPUT else _rows(whole, partners), h, lam)

    logits: Tensor = replace_activation(model, layer, images, mix)
    return logits


def _rows(h: Tensor, indices: Tensor) -> Tensor:
    """Return h[indices] in the memory format of h; the gradient of that expression works on one core of a CPU."""
    last = h.dim() > 2 and not h.is_contiguous() and h.movedim(1, -1).is_contiguous()  # channels last
    return h.movedim(1, -1).index_select(0, indices).movedim(-1, 1) if last else h.index_select(0, indices)
