"""Processes that train one run together, started by torchrun: their ranks and their communication."""

import datetime
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from benchmark.runtime.errors import BenchmarkError, RunError

Value = TypeVar("Value")

# The others wait while the first evaluates, which takes hours; the death of a process ends the waiting at once. In
# training torch's default timeout holds.
TIMEOUT = datetime.timedelta(days=7)
LOST = (
    "another process of this job ended. If its message is not shown here, torchrun names it. Finished work is kept; "
    "the same command goes on from there."
)


@dataclass(frozen=True)
class Group:
    """The processes of a job; with one process every method returns its argument.

    Attributes:
        rank: of this process, from 0; process 0 leads: it alone decides, evaluates, writes and prints.
        size: number of processes.
        cpu: process group for values on the CPU; None for the default one.
    """

    rank: int = 0
    size: int = 1
    cpu: dist.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def share(self, value: Value) -> Value:
        """Return the first process's value."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, src=0, group=self.cpu)
        return values[0]

    def any(self, flag: bool) -> bool:
        """Return whether the flag is true in any process, without waiting for a GPU."""
        if self.size == 1:
            return flag
        largest = torch.tensor(int(flag))
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.cpu)
        return bool(largest)

    def sum(self, *counts: int) -> list[int]:
        """Return the sums of counts over the processes."""
        if self.size == 1:
            return list(counts)
        sums = torch.tensor(counts)
        dist.all_reduce(sums, group=self.cpu)
        return [int(value) for value in sums]

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value, group=self.cpu)
        return values

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes."""
        if self.size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.size

    def agree(self, work: Callable[[], Value]) -> Value:
        """Do work in all processes and continue only if none raised a BenchmarkError, which is reported once.

        Raises:
            BenchmarkError: the first error, in process 0.
            SystemExit: in the other processes.
        """
        if self.size == 1:
            return work()
        error: BenchmarkError | None = None
        try:
            result = work()
        except BenchmarkError as problem:
            error = problem
        problems = self.gather(None if error is None else (error.exit_code, str(error)))
        raised = [(rank, *problem) for rank, problem in enumerate(problems) if problem]
        if not raised:
            return result
        rank, code, text = raised[0]
        if not self.leads:
            raise SystemExit(code)
        if error is not None:
            raise error
        raise RunError(f"process {rank}: {text}", code)

    @contextmanager
    def all_threads(self) -> Iterator[None]:
        """Give this process the threads of all on its machine until the block ends, while the others wait."""
        threads = torch.get_num_threads()
        torch.set_num_threads(threads * (int(os.environ["LOCAL_WORLD_SIZE"]) if self.size > 1 else 1))
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def own(self, rows: Tensor, parts: int = 1) -> Tensor:
        """Return this process's rows (B / size, ...) of a global batch.

        Args:
            rows: (B, ...); B a multiple of parts x size. Each part is divided among the processes in their order.
            parts: of gradient accumulation.
        """
        if self.size == 1:
            return rows
        by_process: Tensor = rows.unflatten(0, (parts, self.size, -1))  # (parts, size, B / parts / size, ...)
        return by_process[:, self.rank].flatten(0, 1)


ALONE = Group()


def is_lost(error: BaseException) -> bool:
    """Return whether an error means that another process has ended; gloo has no type for it, only the text."""
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in ("gloo", "by peer"))


def launched() -> bool:
    """Return whether torchrun started this process as one of several."""
    return dist.is_available() and dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


@contextmanager
def joined() -> Iterator[Group]:
    """Yield the group of the processes that torchrun started, or `ALONE`.

    Raises:
        RunError: another process ended.
    """
    if not launched():
        yield ALONE
        return
    # After an error the group is not destroyed: a network that outlives its group may wait for it without end
    # (https://github.com/pytorch/pytorch/issues/56297), and the traceback keeps the network alive.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend)
    cpu = dist.new_group(backend="gloo", timeout=TIMEOUT)
    try:
        yield Group(dist.get_rank(), dist.get_world_size(), cpu)
    except RuntimeError as error:
        if is_lost(error):
            raise RunError(LOST) from error
        raise
    gc.collect()  # a network may be part of a cycle
    dist.destroy_process_group()
