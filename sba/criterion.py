"""The criterion: the caller's loss on hard labels, and the examples that it ignores."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sba.batch import describe, repeat

Criterion = Callable[[Any, Any], Any]  # (logits, targets) -> scalar or (N, ...)
_IGNORED = -100  # F.cross_entropy's default ignore_index


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


def copies_loss(criterion: Criterion, virtual: Tensor, targets: Any, copies: int) -> Tensor:
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
