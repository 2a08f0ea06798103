"""The distilled dynamic soft label and the divergence from it."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

SoftLabel = Literal["softmax", "dark_knowledge"]
Divergence = Literal["kl", "symmetric"]
HardLabels = Literal["sum", "mean"]


def soft_label_loss(
    logits: Tensor,
    virtual: Tensor,
    targets: Any,
    *,
    temperature: float,
    kind: SoftLabel = "softmax",
    mix: float = 0.0,
    gradient: bool = False,
    divergence: Divergence = "kl",
    weights: Tensor | None = None,
    counted: Tensor | None = None,
) -> Tensor:
    """Return T^2 * w_m * D(q, softmax(z_m / T)), averaged over examples (and their places) and copies.

    q is the network's own output on the original: softmax(z / T) ("softmax"); mixed with the label,
    (1 - mix) * softmax(z / T) + mix * onehot(y); or without the true class and renormalised, as is then
    softmax(z_m / T) ("dark_knowledge", the network's ranking of the other classes). D is KL(q || .) or
    (KL(q || .) + KL(. || q)) / 2 ("symmetric").

    Args:
        logits: (N, classes, ...) logits z of the originals.
        virtual: (M * N, classes, ...) logits z_m of the copies, copy by copy.
        targets: (N, ...) class indices y, or (N, classes, ...) probabilities, which take the place of onehot(y);
            "dark_knowledge" needs indices. Not used by anything else.
        temperature: T > 0. T^2 keeps the gradient's size when T changes (Hinton et al., arXiv:1503.02531, 2).
        kind: the soft label.
        mix: share of the hard label in q, in [0, 1].
        gradient: whether the gradient flows through q.
        divergence: D.
        weights: (M * N,) similarity weights w_m; None for 1.
        counted: (N, ...) bool, the examples or places to average over; None for all. Of none, the mean is 0.

    Source: arXiv:2006.15284, abstract (KL between the softmax outputs of original and virtual samples); temperature,
    kind, mixture, gradient, symmetry and weights are readings. Removing the true class: Zhao et al.,
    arXiv:2203.08679, equation 4.
    """
    copies = len(virtual) // len(logits)
    logits = logits if gradient else logits.detach()
    hard = _probabilities(targets, logits.shape[1]) if mix else None
    if kind == "dark_knowledge":
        labels = _valid(targets, logits.shape[1])
        logits, virtual = _without(logits, labels), _without(virtual, _tiled(labels, copies))
    q = F.log_softmax(logits / temperature, dim=1)  # (N, classes, ...), logarithms
    if hard is not None:
        q = torch.lerp(q.exp(), hard.to(q), mix).clamp_min(torch.finfo(q.dtype).tiny).log()
    q = _tiled(q, copies)  # (M * N, classes, ...)
    p = F.log_softmax(virtual / temperature, dim=1)
    each = F.kl_div(p, q, reduction="none", log_target=True).sum(1)  # (M * N, ...)
    if divergence == "symmetric":
        each = (each + F.kl_div(q, p, reduction="none", log_target=True).sum(1)) / 2
    if weights is not None:
        each = each * weights.view(-1, *[1] * (each.dim() - 1))
    if counted is None:
        return temperature**2 * each.mean()
    total = torch.where(_tiled(counted, copies), each, 0.0).sum()
    return temperature**2 * (total / (copies * counted.sum()).clamp_min(1))


def _probabilities(targets: Tensor, classes: int) -> Tensor:
    """Return (N, classes, ...) probabilities of targets that may be class indices."""
    return targets if targets.is_floating_point() else F.one_hot(_valid(targets, classes), classes).movedim(-1, 1)


def _valid(labels: Tensor, classes: int) -> Tensor:
    """Return class indices with some class where the index of an ignored place is none."""
    return labels.clamp(0, classes - 1)


def _tiled(rows: Tensor, copies: int) -> Tensor:
    return rows.repeat(copies, *[1] * (rows.dim() - 1))


def _without(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (N, classes - 1, ...) logits without the true class's.

    Raises:
        ValueError: fewer than 3 classes, which leave nothing to compare.
    """
    classes = logits.shape[1]
    if classes < 3:
        raise ValueError(f"soft_label 'dark_knowledge' needs 3 classes or more, the model has {classes}.")
    others = torch.arange(classes - 1, device=logits.device).view(-1, *[1] * (logits.dim() - 2))
    others = others.expand(len(logits), -1, *logits.shape[2:])
    return logits.gather(1, others + (others >= labels[:, None]))  # a mask would wait for the device
