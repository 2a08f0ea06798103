"""BatchNorm over the batches of all processes, on CPUs too."""

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sba.processes import Processes


class SyncBatchNorm(_BatchNorm):
    """BatchNorm over the batches of all processes, on any device; `synchronised` makes it of another BatchNorm.

    y = weight * (x - mean) / sqrt(var + eps) + bias, where mean and var (biased) are over the examples and places of
    all processes' batches; the running variance takes the unbiased one. Statistics are in float32 at least. Gradients
    are as with torch's: of x that of the sum of all processes' losses, of weight and bias that of this process's loss.
    In evaluation mode, and where there are no other processes, it is BatchNorm to the last bit.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, ...)."""
        among_processes = distributed.is_available() and distributed.is_initialized()
        if not self.training or not among_processes or distributed.get_world_size() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        processes = Processes(distributed.get_rank(), distributed.get_world_size())
        var, mean = torch.var_mean(x, [0, *range(2, x.dim())], correction=0)  # (C,)
        count = mean.new_full((1,), x.numel() / len(mean))
        means, variances, counts = processes.gather(torch.cat([mean, var, count])[None]).split([len(mean)] * 2 + [1], 1)
        shares, count = (counts / counts.sum()).detach(), counts.detach().sum()  # (W, 1), ()
        mean = (shares * means).sum(0)
        var = (shares * (variances + (means - mean).square())).sum(0)  # (C,)
        self._track(mean.detach(), var.detach() * count / (count - 1))
        shape = (1, -1) + (1,) * (x.dim() - 2)
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


def synchronised(model: nn.Module) -> nn.Module:
    """Let every BatchNorm of a network normalise over the batches of all processes, by torch's SyncBatchNorm on GPUs.

    On CPUs torch's does not train and DistributedDataParallel refuses it, so ours takes its place. Parameters, running
    statistics and their names stay, so that weights load and optimizers go on.

    Args:
        model: is changed in place; it lies on the device that it is trained on.

    Returns:
        The model, or its replacement if it is a BatchNorm itself.
    """
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if not any(values.is_cuda for values in (*model.parameters(), *model.buffers())):
        for module in model.modules():
            if isinstance(module, nn.SyncBatchNorm):
                module.__class__ = SyncBatchNorm  # type: ignore[assignment]  # both are a _BatchNorm
    return model
