"""Several processes that train one run together, started by torchrun: who is who, and what they agree on."""

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

# The others wait while the first evaluates, which takes hours; a process that is gone ends the waiting at once. In
# training they wait for the default time of torch.
PATIENCE = datetime.timedelta(days=7)
LOST = (
    "another process of this job ended. If its message does not stand here, torchrun names it. What was done is kept; "
    "the same command goes on from there."
)


@dataclass(frozen=True)
class Group:
    """The processes of a job; every method is a plain return for one alone.

    Attributes:
        rank: of this process, from 0; the first leads: it alone decides, evaluates, writes and talks.
        size: number of processes.
        talk: process group by which they exchange what lies on the CPU; None for the default one.
    """

    rank: int = 0
    size: int = 1
    talk: dist.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that decides, evaluates, writes and talks."""
        return self.rank == 0

    def share(self, value: Value) -> Value:
        """Return the first process's value."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, src=0, group=self.talk)
        return values[0]

    def any(self, flag: bool) -> bool:
        """Say whether the flag is up in any process; waits for no GPU."""
        if self.size == 1:
            return flag
        up = torch.tensor(int(flag))
        dist.all_reduce(up, dist.ReduceOp.MAX, group=self.talk)
        return bool(up)

    def sum(self, *counts: int) -> list[int]:
        """Return the sums of counts over the processes."""
        if self.size == 1:
            return list(counts)
        sums = torch.tensor(counts)
        dist.all_reduce(sums, group=self.talk)
        return [int(value) for value in sums]

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value, group=self.talk)
        return values

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes."""
        if self.size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.size

    def agree(self, work: Callable[[], Value]) -> Value:
        """Do work that all processes do, and go on only if none met an error, which is told once.

        Raises:
            BenchmarkError: what the work raised, in the first process.
            SystemExit: elsewhere; the first process tells why.
        """
        if self.size == 1:
            return work()
        error: BenchmarkError | None = None
        try:
            result = work()
        except BenchmarkError as problem:
            error = problem
        problems = self.gather(None if error is None else (error.exit_code, str(error)))
        met = [(rank, *problem) for rank, problem in enumerate(problems) if problem]
        if not met:
            return result
        rank, code, text = met[0]
        if not self.leads:
            raise SystemExit(code)
        if error is not None:
            raise error
        elsewhere = RunError(f"process {rank}: {text}")
        elsewhere.exit_code = code
        raise elsewhere

    @contextmanager
    def all_threads(self) -> Iterator[None]:
        """Give this process the threads of all on its machine, for what it computes while they wait."""
        threads = torch.get_num_threads()
        torch.set_num_threads(threads * (int(os.environ["LOCAL_WORLD_SIZE"]) if self.size > 1 else 1))
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def own(self, rows: Tensor, parts: int = 1) -> Tensor:
        """Return this process's rows of a global batch that is taken in so many parts, one after the other.

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
    """Say whether an error means that another process is gone; gloo tells by its text alone."""
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in ("gloo", "by peer"))


def launched() -> bool:
    """Say whether torchrun started this process as one of several."""
    return dist.is_available() and dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


def local_rank() -> int:
    """Return a launched process's rank among those on its machine: the number of the GPU that it takes."""
    return int(os.environ["LOCAL_RANK"])


@contextmanager
def joined() -> Iterator[Group]:
    """Give the group of this process: all that torchrun started, or itself alone.

    Raises:
        RunError: another process ended.
    """
    if not launched():
        yield ALONE
        return
    # After an error the group is left as it is: a network that outlives its group may wait for it for ever
    # (https://github.com/pytorch/pytorch/issues/56297), and the traceback keeps it alive.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend)
    talk = dist.new_group(backend="gloo", timeout=PATIENCE)
    try:
        yield Group(dist.get_rank(), dist.get_world_size(), talk)
    except RuntimeError as error:
        if is_lost(error):
            raise RunError(LOST) from error
        raise
    gc.collect()  # a network may be part of a cycle
    dist.destroy_process_group()
