"""The distilled dynamic soft label and the divergence from it."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

SoftLabel = Literal["softmax", "dark_knowledge"]
Divergence = Literal["kl", "symmetric"]
HardLabels = Literal["sum", "mean"]


def soft_label_loss(
    logits: Tensor,
    virtual: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    kind: SoftLabel = "softmax",
    mix: float = 0.0,
    gradient: bool = False,
    divergence: Divergence = "kl",
    weights: Tensor | None = None,
) -> Tensor:
    """Return T^2 * w_m * D(q, softmax(z_m / T)), averaged over examples and copies.

    q is the network's own output on the original: softmax(z / T) ("softmax"); mixed with the label,
    (1 - mix) * softmax(z / T) + mix * onehot(y); or without the true class and renormalised, as is then
    softmax(z_m / T) ("dark_knowledge": what the network knows of the other classes). D is KL(q || .) or
    (KL(q || .) + KL(. || q)) / 2 ("symmetric").

    Args:
        logits: (N, classes) logits z of the originals.
        virtual: (M * N, classes) logits z_m of the copies, copy by copy.
        labels: (N,) class indices y.
        temperature: T > 0. T^2 keeps the gradient's size when T changes (Hinton et al., arXiv:1503.02531, 2).
        kind: the soft label.
        mix: share of the hard label in q, in [0, 1].
        gradient: whether the gradient flows through q.
        divergence: D.
        weights: (M * N,) similarity weights w_m; None for 1.

    Source: arXiv:2006.15284, abstract (KL between the softmax outputs of original and virtual samples); temperature,
    kind, mixture, gradient, symmetry and weights are readings. Removing the true class: Zhao et al.,
    arXiv:2203.08679, equation 4.
    """
    copies = len(virtual) // len(logits)
    logits = logits if gradient else logits.detach()
    if kind == "dark_knowledge":
        logits, virtual = _without(logits, labels), _without(virtual, labels.repeat(copies))
    q = F.log_softmax(logits / temperature, dim=1)  # (N, classes), logarithms
    if mix:
        hard = F.one_hot(labels, logits.shape[1])
        q = torch.lerp(q.exp(), hard.to(q), mix).clamp_min(torch.finfo(q.dtype).tiny).log()
    q = q.repeat(copies, 1)  # (M * N, classes)
    p = F.log_softmax(virtual / temperature, dim=1)
    each = F.kl_div(p, q, reduction="none", log_target=True).sum(1)  # (M * N,)
    if divergence == "symmetric":
        each = (each + F.kl_div(q, p, reduction="none", log_target=True).sum(1)) / 2
    if weights is not None:
        each = each * weights
    return temperature**2 * each.mean()


def _without(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (N, classes - 1) logits without the true class's.

    Raises:
        ValueError: there are two classes or fewer, so that nothing is left to tell apart.
    """
    if logits.shape[1] < 3:
        raise ValueError(f"soft_label 'dark_knowledge' needs 3 classes or more, the model has {logits.shape[1]}.")
    others = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    return logits.gather(1, others + (others >= labels[:, None]))  # a mask would wait for the device
