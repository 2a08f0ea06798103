"""The loss: the caller's criterion on hard labels, and the divergence from the distilled dynamic soft label."""

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sba.batch import describe, repeat
from sba.call import Call, Criterion

if TYPE_CHECKING:
    from sba.method import SBA

_IGNORED = -100  # F.cross_entropy's default ignore_index


def augmented_loss(
    call: Call, logits: Tensor, virtual: Tensor, weights: Tensor | None, settings: "SBA", number: int
) -> Tensor:
    """Return the loss of augmented step `number` (from 0), the formula of `SBA`; arguments as in `soft_label_loss`."""
    of_originals = loss = criterion_loss(call.criterion, logits, call.targets)
    if settings.alpha:
        loss = loss + settings.alpha * _copies_loss(call.criterion, virtual, call.targets, settings.copies)
        if settings.hard_labels == "mean":
            loss = loss / (1 + settings.alpha)
    if not settings.kl_weight:
        return loss
    ramp = min(1.0, (number - settings.warmup_steps) / settings.kl_ramp_steps) if settings.kl_ramp_steps else 1.0
    counts = counted(call.criterion, of_originals, logits, call.targets)
    divergence = soft_label_loss(logits, virtual, call.targets, settings, weights, counts)
    return loss + settings.kl_weight * ramp * divergence


def criterion_loss(criterion: Criterion, logits: Tensor, targets: Any) -> Tensor:
    """Return the criterion's loss, averaged if it returns one for each example (N,) or place (N, ...).

    Raises:
        ValueError: it returns anything else.
    """
    loss = criterion(logits, targets)
    shapes = [(), logits.shape[:1], logits.shape[:1] + logits.shape[2:]]
    if not isinstance(loss, Tensor) or not loss.is_floating_point() or loss.shape not in shapes:
        raise ValueError(
            f"criterion must return a scalar loss, or one for each of the {len(logits)} examples"
            f"{' or for each of their places' if logits.dim() > 2 else ''}; it returned {describe(loss)}."
        )
    return loss.mean() if loss.dim() else loss


def _copies_loss(criterion: Criterion, virtual: Tensor, targets: Any, copies: int) -> Tensor:
    """Return the mean over M copies of the criterion's loss on their logits (M * N, classes, ...), copy by copy."""
    if copies == 1 or criterion is F.cross_entropy:  # one call; a mean over rows is the mean over copies
        return criterion_loss(criterion, virtual, repeat(targets, copies))
    losses = [criterion_loss(criterion, logits, targets) for logits in virtual.chunk(copies)]
    return torch.stack(losses).mean()


def counted(criterion: Criterion, loss: Tensor, logits: Tensor, targets: Any) -> Tensor | None:
    """Return whether the criterion counts each example or place, bool (N, ...); None if that cannot be known.

    F.cross_entropy on class indices ignores the index -100. Any other criterion ignores the places whose logits
    (N, classes, ...) get no gradient from its loss: those of its own ignore_index, of classes with weight 0, or masked
    out.
    """
    if criterion is F.cross_entropy and isinstance(targets, Tensor) and not targets.is_floating_point():
        return targets != _IGNORED
    if not (torch.is_grad_enabled() and loss.requires_grad and logits.requires_grad):
        return None
    (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True, allow_unused=True)
    return None if gradient is None else (gradient != 0).any(1)


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
