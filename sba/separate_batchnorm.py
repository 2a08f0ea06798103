"""BatchNorm that keeps virtual samples out of the originals' statistics."""

from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def separate(network: nn.Module, examples: int, copies: int, hooks: ExitStack) -> None:
    """Let every BatchNorm that sees a widened batch normalise originals and virtual samples each for themselves.

    Only the originals then enter the running statistics. In evaluation mode both are normalised with those.

    Args:
        network: its BatchNorm layers get hooks.
        examples: N originals, the first rows of a widened batch of (1 + copies) * N.
        copies: M.
        hooks: takes the removal of the hooks.
    """
    for norm in network.modules():
        if isinstance(norm, _BatchNorm):
            _separate(norm, examples, copies, hooks)


def _separate(norm: _BatchNorm, examples: int, copies: int, hooks: ExitStack) -> None:
    """Let a BatchNorm see the originals alone, and normalise the virtual samples beside it."""
    aside: list[Tensor] = []

    def take_aside(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if len(inputs[0]) != (1 + copies) * examples:
            return None  # below the layer
        aside.append(inputs[0][examples:])
        return (inputs[0][:examples], *inputs[1:])

    def put_back(module: nn.Module, _inputs: object, normalised: Tensor) -> Tensor:
        if not aside:
            return normalised
        assert isinstance(module, _BatchNorm)
        batch_statistics = module.training or module.running_mean is None
        statistics = (None, None) if batch_statistics else (module.running_mean, module.running_var)
        virtual = F.batch_norm(
            aside.pop(), *statistics, module.weight, module.bias, training=batch_statistics, eps=module.eps
        )
        return torch.cat([normalised, virtual])

    hooks.callback(norm.register_forward_pre_hook(take_aside).remove)
    hooks.callback(norm.register_forward_hook(put_back).remove)
