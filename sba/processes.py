"""The processes that train one network with a batch that they share."""

import hashlib
import sys
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.parallel import DistributedDataParallel

from sba.layers import inside

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

# Wrappers at whose first step the processes agreed. Methods are frozen and cannot remember it, and checking at every
# step would make the host wait for the device.
_AGREED: WeakSet[nn.Module] = WeakSet()


class Processes(NamedTuple):
    """This process among W that share a batch of W * n rows, of which rank r holds [r * n, (r + 1) * n).

    Attributes:
        rank: r, from 0 to W - 1.
        size: W; with 1, the rows here are the whole batch, and nothing is exchanged.
        group: the process group by which they exchange tensors.
    """

    rank: int = 0
    size: int = 1
    group: "ProcessGroup | None" = None

    def own(self, whole: Tensor, copies: int = 1) -> Tensor:
        """Return the rows (copies * n, ...) of this process in values (copies * W * n, ...), both copy by copy."""
        parts: Tensor = whole.unflatten(0, (copies, self.size, -1))  # (copies, W, n, ...)
        return parts[:, self.rank].flatten(0, 1)

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows (W * n, ...) of all processes, in the memory format of those here (n, ...).

        The gradient flows to the process that a row came from, which sums those of all processes. Each process's loss
        is the mean over its rows and DistributedDataParallel averages gradients, so the weights get the gradient of the
        mean over the whole batch.
        """
        if self.size == 1:
            return rows
        last = rows.dim() > 2 and not rows.is_contiguous() and rows.movedim(1, -1).is_contiguous()  # channels last
        dense = rows.movedim(1, -1) if last else rows.contiguous()
        whole: Tensor = _Gather.apply(dense, self)  # type: ignore[no-untyped-call]
        return whole.movedim(-1, 1) if last else whole


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

    These are the processes of DistributedDataParallel, FullyShardedDataParallel or `fully_shard`, which average the
    gradients of all. A network in none of these, or sharded over several dimensions, is trained by this one alone.

    Args:
        model: the network, wrapped or not.
        rows: (n, ...) rows of this process.
        generator: generator of the method's draws, in the same state in every process.

    Raises:
        ValueError: at the first step of a wrapped network, in every process: they hold different numbers of rows, or
            their generators differ.
    """
    outer: nn.Module | None = model
    while outer is not None and (group := _group(outer)) is None:
        outer = inside(outer)
    if outer is None or group is None:
        return Processes()
    processes = Processes(distributed.get_rank(group), distributed.get_world_size(group), group)
    if processes.size > 1 and outer not in _AGREED:
        _check_agreement(processes, rows, generator)
        _AGREED.add(outer)
    return processes


def _group(model: nn.Module) -> "ProcessGroup | None":
    """Return the group over which this very module averages gradients, None if it is no such module."""
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
    """Raise ValueError, in all processes, unless they hold as many rows and their generators are in the same state."""
    digest = hashlib.sha256(generator.get_state().numpy().tobytes()).digest()
    mine = torch.tensor([[len(rows), int.from_bytes(digest[:7], "big")]], device=rows.device)
    counts, states = processes.gather(mine).T.tolist()  # W numbers each
    if len(set(counts)) > 1:
        raise ValueError(
            f"inputs: the processes hold {', '.join(map(str, counts))} of them; give every process as many, as "
            "DistributedSampler does."
        )
    if len(set(states)) > 1:
        raise ValueError(
            "generator: it is not in the same state in every process, so that they would take different steps; seed "
            "every process's generator alike, without its rank."
        )
