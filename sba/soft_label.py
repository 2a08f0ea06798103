"""The distilled dynamic soft label and the divergence from it."""

from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sba.batch import repeat

if TYPE_CHECKING:
    from sba.method import SBA

SoftLabel = Literal["softmax", "dark_knowledge"]
Divergence = Literal["kl", "symmetric"]
HardLabels = Literal["sum", "mean"]


def soft_label_loss(
    logits: Tensor,
    virtual: Tensor,
    targets: Any,
    settings: "SBA",
    weights: Tensor | None = None,
    counted: Tensor | None = None,
) -> Tensor:
    """Return T^2 * w_m * D(q, softmax(z_m / T)), averaged over examples (and their places) and copies.

    q is the network's own output on the original: softmax(z / T); mixed with the label,
    (1 - label_mix) * softmax(z / T) + label_mix * onehot(y); or without the true class and renormalised, as is then
    softmax(z_m / T) ("dark_knowledge", the network's ranking of the other classes). D is KL(q || .) or
    (KL(q || .) + KL(. || q)) / 2 ("symmetric"). T^2 keeps the gradient's size when T changes (Hinton et al.,
    arXiv:1503.02531, 2).

    Args:
        logits: (N, classes, ...) logits z of the originals.
        virtual: (M * N, classes, ...) logits z_m of the copies, copy by copy.
        targets: (N, ...) class indices y, or (N, classes, ...) probabilities, which take the place of onehot(y); used
            by `label_mix` and by "dark_knowledge", which needs indices.
        settings: `temperature` T, `soft_label`, `label_mix`, `label_gradient` and `divergence`.
        weights: (M * N,) similarity weights w_m; None for 1.
        counted: (N, ...) bool, the examples or places to average over; None for all. The mean over none is 0.

    Source: arXiv:2006.15284, abstract (KL between the softmax outputs of original and virtual samples); temperature,
    kind, mixture, gradient, symmetry and weights are readings. Removing the true class: Zhao et al.,
    arXiv:2203.08679, equation 4.
    """
    copies, temperature = len(virtual) // len(logits), settings.temperature
    logits = logits if settings.label_gradient else logits.detach()
    hard = _probabilities(targets, logits.shape[1]) if settings.label_mix else None
    if settings.soft_label == "dark_knowledge":
        labels = _valid(targets, logits.shape[1])
        logits, virtual = _without(logits, labels), _without(virtual, repeat(labels, copies))
    q = _log_softmax(logits / temperature)  # (N, classes, ...)
    if hard is not None:
        mixed = torch.lerp(q.exp(), hard.to(q), settings.label_mix).clamp_min(torch.finfo(q.dtype).tiny).log()
        q = torch.where(q > torch.finfo(q.dtype).min, mixed, q)
    q = repeat(q, copies)  # (M * N, classes, ...)
    p = _log_softmax(virtual / temperature)
    each = F.kl_div(p, q, reduction="none", log_target=True).sum(1)  # (M * N, ...)
    if settings.divergence == "symmetric":
        each = (each + F.kl_div(q, p, reduction="none", log_target=True).sum(1)) / 2
    if weights is not None:
        each = each * weights.view(-1, *[1] * (each.dim() - 1))
    if counted is None:
        return temperature**2 * each.mean()
    total = torch.where(repeat(counted, copies), each, 0.0).sum()
    return temperature**2 * (total / (copies * counted.sum()).clamp_min(1))


def _log_softmax(logits: Tensor) -> Tensor:
    """Return logarithms that are finite also for classes masked out by a logit of -inf, which then add nothing to D."""
    return F.log_softmax(logits, dim=1).clamp_min(torch.finfo(logits.dtype).min)


def _probabilities(targets: Tensor, classes: int) -> Tensor:
    return targets if targets.is_floating_point() else F.one_hot(_valid(targets, classes), classes).movedim(-1, 1)


def _valid(labels: Tensor, classes: int) -> Tensor:
    return labels.clamp(0, classes - 1)  # the index of an ignored place is that of no class


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
