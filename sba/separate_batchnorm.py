"""BatchNorm that keeps virtual samples out of the originals' statistics."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

BatchNorm = Literal["joint", "originals"]


def separate(network: nn.Module, copies: int, widened: Callable[[], bool], hooks: ExitStack) -> None:
    """Let every BatchNorm behind the layer normalise originals and virtual samples each for themselves.

    Only the originals then enter the running statistics; in evaluation mode both are normalised with those. Subclasses
    (SyncBatchNorm, BatchNorm with an activation) treat each part as a batch of its own.

    Args:
        network: its BatchNorm layers get hooks.
        copies: M; of a widened batch's rows the first of 1 + M equal parts are the originals'.
        widened: whether the forward pass is behind the layer.
        hooks: takes the removal of the hooks.

    Source: none; it is the usual contrast to a joint pass, as in AdvProp (Xie et al., arXiv:1911.09665), whose second
    set of statistics and weights is left out here.
    """
    for norm in network.modules():
        if isinstance(norm, _BatchNorm):
            _separate(norm, copies, widened, hooks)


def _separate(norm: _BatchNorm, copies: int, widened: Callable[[], bool], hooks: ExitStack) -> None:
    """Let a BatchNorm see the originals alone, and normalise the virtual samples beside it."""
    aside: list[Tensor] = []

    def take_aside(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not widened():
            return None
        rows, left = divmod(len(inputs[0]), 1 + copies)
        if left:
            raise ValueError(f"batchnorm: {len(inputs[0])} rows are not {1 + copies} equal parts; use 'joint'.")
        aside.append(inputs[0][rows:])
        return (inputs[0][:rows], *inputs[1:])

    def put_back(_module: nn.Module, _inputs: object, normalised: Tensor) -> Tensor:
        if not aside:
            return normalised
        tracked = norm.track_running_stats
        norm.track_running_stats = tracked and not norm.training  # statistics of the batch, and no update
        try:
            return torch.cat([normalised, norm.forward(aside.pop())])
        finally:
            norm.track_running_stats = tracked

    hooks.callback(norm.register_forward_pre_hook(take_aside).remove)
    hooks.callback(norm.register_forward_hook(put_back).remove)
