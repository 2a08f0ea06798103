"""What every launcher is given."""

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

# How many threads the libraries below torch use, for a process that gets a part of the cores.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Options(Protocol):
    """The options of the command line that a launcher may look at.

    Attributes:
        line: what the user gave, to be given to other processes.
        device, jobs, ray_address, processes, checkpoint_steps: the options of these names.
    """

    line: list[str]
    device: str
    jobs: int
    ray_address: str | None
    processes: str | None
    checkpoint_steps: int


@dataclass(frozen=True)
class Context:
    """What a launcher works with.

    Attributes:
        options: of the command line.
        folders: of the study.
        device: of this process.
        stop: a signal ends every process that the launcher started, after its step.
        group: the processes of which this one is a part.
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

    def meet_errors_here(self, todo: Sequence[Run]) -> None:
        """Refuse here, once, what would stop every other process, and leave them the GPU's memory."""
        refuse_before(todo, self.worker())
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


class Launcher(NamedTuple):
    """A row of `LAUNCHERS`: refuses options, does runs; `note` says in a line what it is for."""

    check: Callable[[Options], None]
    run: Callable[[Sequence[Run], Context], None]
    note: str
