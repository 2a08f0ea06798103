"""BatchNorm over the batches of all processes, on CPUs too."""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(_BatchNorm):
    """BatchNorm over the batches of all processes, on any device; `synchronised` makes it of another BatchNorm.

    y = weight * (x - mean) / sqrt(var + eps) + bias, where mean and var (biased) are over the examples and places of
    all processes' batches; the running variance takes the unbiased one. Statistics are in float32 at least. Gradients
    are as with torch's: of x that of the sum of all processes' losses, of weight and bias that of this process's loss.
    In evaluation mode, and where there are no other processes, it is BatchNorm to the last bit.
    """

    process_group: Any  # None for all processes

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, ...)."""
        group = self.process_group
        if not self.training or not distributed.is_initialized() or distributed.get_world_size(group) == 1:
            return super().forward(input)
        self._check_input_dim(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        others = [0, *range(2, x.dim())]
        here = x.new_full((1,), x.numel() / x.shape[1])
        total = _sum(torch.cat([x.sum(others), here]), group)  # (C + 1,)
        mean, count = total[:-1] / total[-1], total[-1].detach()
        shape = (1, -1) + (1,) * (x.dim() - 2)
        # The variance does not change with the mean it is taken around, to first order: nothing to backpropagate.
        var = _sum((x - mean.detach().view(shape)).square().sum(others), group) / count  # (C,)
        self._track(mean.detach(), var.detach() * count / (count - 1))
        scale = (var + self.eps).rsqrt() if self.weight is None else self.weight * (var + self.eps).rsqrt()
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        return torch.addcmul(shift.view(shape), x, scale.view(shape)).to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"BatchNorm takes (N, C, ...), got {tuple(input.shape)}.")

    def _track(self, mean: Tensor, var: Tensor) -> None:
        """Let the running statistics take in those of a batch, (C,) each."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(var.to(self.running_var.dtype), share)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = values.clone()
        distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total, group=ctx.group)
        return total, None


def _sum(values: Tensor, group: Any) -> Tensor:
    """Return the sum over all processes; its gradient is the sum of theirs."""
    return _Sum.apply(values, group)  # type: ignore[no-any-return, no-untyped-call]


def synchronised(model: nn.Module, group: Any = None) -> nn.Module:
    """Let every BatchNorm of a network normalise over the batches of all processes, by torch's SyncBatchNorm on GPUs.

    On CPUs torch's does not train and DistributedDataParallel refuses it, so ours takes its place. Parameters, running
    statistics and their names stay, so that weights load and optimizers go on.

    Args:
        model: is changed in place; it lies on the device that it is trained on.
        group: process group whose batches are normalised together; None for all processes.

    Returns:
        The model, or what takes its place if it is a BatchNorm itself.
    """
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model, group)
    if not any(values.is_cuda for values in (*model.parameters(), *model.buffers())):
        for module in model.modules():
            if isinstance(module, nn.SyncBatchNorm):
                module.__class__ = SyncBatchNorm  # both are a _BatchNorm that knows its process group
    return model
