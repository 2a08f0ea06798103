"""The processes that train one network with a batch that they share."""

import hashlib
import sys
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.parallel import DistributedDataParallel

from sba.batch import is_channels_last
from sba.layers import inside

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

# Wrappers whose processes were found to agree. Methods are frozen and cannot keep this, and a check at every step would
# make the host wait for the device.
_AGREED: WeakSet[nn.Module] = WeakSet()


class Processes(NamedTuple):
    """This process among W that share a batch of W * n rows, of which rank r holds [r * n, (r + 1) * n).

    Attributes:
        rank: r, from 0 to W - 1.
        size: W; with 1, the process's rows are the whole batch, and nothing is exchanged.
        group: the process group over which they exchange tensors.
    """

    rank: int = 0
    size: int = 1
    group: "ProcessGroup | None" = None

    def own(self, whole: Tensor, copies: int = 1) -> Tensor:
        """Return the rows (copies * n, ...) of this process in values (copies * W * n, ...), both copy by copy."""
        parts: Tensor = whole.unflatten(0, (copies, self.size, -1))  # (copies, W, n, ...)
        return parts[:, self.rank].flatten(0, 1)

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows (W * n, ...) of all processes, in the memory format of this process's rows (n, ...).

        A row's gradient is the sum of the gradients from all processes. As each process's loss is the mean over its
        rows and DistributedDataParallel averages gradients, the weights get the gradient of the mean over the whole
        batch.
        """
        if self.size == 1:
            return rows
        last = is_channels_last(rows)
        dense = rows.movedim(1, -1) if last else rows.contiguous()
        whole: Tensor = _Gather.apply(dense, self)  # type: ignore[no-untyped-call]
        return whole.movedim(-1, 1) if last else whole


ALONE = Processes()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        parts = [torch.empty_like(rows) for _ in range(processes.size)]
        distributed.all_gather(parts, rows, group=processes.group)
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total, group=ctx.processes.group)
        return ctx.processes.own(total), None


def processes_of(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Processes:
    """Return the processes that train a network together.

    These are the processes of DistributedDataParallel, FullyShardedDataParallel or `fully_shard`, which average their
    gradients. A network in none of these, or sharded over several dimensions, is trained by this process alone.

    Raises:
        ValueError: at the first step of a wrapped network, in every process: they hold different numbers of rows
            (n, ...), or their generators of the method's draws are in different states.
    """
    outer: nn.Module | None = model
    while outer is not None and (group := _group(outer)) is None:
        outer = inside(outer)
    if outer is None or group is None:
        return ALONE
    processes = Processes(distributed.get_rank(group), distributed.get_world_size(group), group)
    if processes.size > 1 and outer not in _AGREED:
        _check_agreement(processes, rows, generator)
        _AGREED.add(outer)
    return processes


def _group(model: nn.Module) -> "ProcessGroup | None":
    """Return the group over which this module itself averages gradients, None if it does not."""
    if isinstance(model, DistributedDataParallel):
        return model.process_group
    fsdp = sys.modules.get("torch.distributed.fsdp")  # imported by its users; importing it here would take a second
    if fsdp is None:
        return None
    if isinstance(model, fsdp.FullyShardedDataParallel):
        whole = distributed.get_world_size(model.process_group) == distributed.get_world_size()
        return model.process_group if whole else None  # else other groups average too
    if isinstance(model, fsdp.FSDPModule):
        mesh = next(model.parameters()).device_mesh
        return mesh.get_group() if mesh.ndim == 1 else None
    return None


def _check_agreement(processes: Processes, rows: Tensor, generator: torch.Generator) -> None:
    digest = hashlib.sha256(generator.get_state().numpy().tobytes()).digest()
    mine = torch.tensor([[len(rows), int.from_bytes(digest[:7], "big")]], device=rows.device)
    counts, states = processes.gather(mine).T.tolist()  # W numbers each
    if len(set(counts)) > 1:
        raise ValueError(
            f"inputs: the processes hold {', '.join(map(str, counts))} rows; give every process the same number, as "
            "DistributedSampler does."
        )
    if len(set(states)) > 1:
        raise ValueError(
            "generator: its state differs between the processes, which would take different steps; seed it alike in "
            "every process, without the rank."
        )
