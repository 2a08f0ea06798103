"""The arguments of every launcher."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from benchmark.data.load import Data
from benchmark.execution.paths import Folders
from benchmark.execution.run import Worker
from benchmark.execution.worker import refuse_before
from benchmark.runtime.distributed import Group
from benchmark.runtime.signals import Stop
from benchmark.settings.plan import Run

# Numbers of threads of the libraries below torch, for a process that gets a part of the cores.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

LEAVE_ONE_OUT = (
    "Processes that train each run together, and those of --jobs or Ray, which train one each: leave one out."
)


class Options(Protocol):
    """The options of the command line that launchers use; `line` is the user's arguments, for other processes."""

    line: list[str]
    device: str
    jobs: int
    ray_address: str | None
    processes: str | None
    checkpoint_steps: int


@dataclass(frozen=True)
class Context:
    """The context of a study.

    Attributes:
        options: of the command line.
        folders: of the study.
        device: of this process.
        stop: a signal ends every process that the launcher started, after its step.
        group: the processes that torchrun started together with this one.
        load: loads the data of the study.
    """

    options: Options
    folders: Folders
    device: torch.device
    stop: Stop
    group: Group
    load: Callable[[], Data]

    def worker(self) -> Worker:
        """Return this process as a worker, with the data loaded."""
        return Worker(self.load(), self.folders, self.device, self.stop, self.options.checkpoint_steps, self.group)

    def raise_early(self, todo: Sequence[Run]) -> None:
        """Raise here, once, the errors that every worker would meet, and leave the GPU's memory to the workers."""
        refuse_before(todo, self.worker())
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


class Launcher(NamedTuple):
    """A row of `LAUNCHERS`; see there. `note` describes it in one line."""

    check: Callable[[Options], None]
    run: Callable[[Sequence[Run], Context], None]
    note: str
