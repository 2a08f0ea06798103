"""Several processes on this machine that train each run together (DistributedDataParallel), started as torchrun does.

On several machines torchrun itself is started: see docs/long-studies.md.
"""

import os
from collections.abc import Sequence

import torch

from benchmark.execution.launchers.context import Context, Options
from benchmark.execution.worker import execute
from benchmark.runtime.distributed import launched
from benchmark.runtime.environment import cores
from benchmark.runtime.errors import BenchmarkError, RunError, UsageError
from benchmark.runtime.signals import Stopped
from benchmark.settings.plan import Run

WITHOUT_GPU = 2  # processes of `--processes gpus` on a machine that has none
ENDED = "a process of this job ended with an error, which it told above. What was done is kept."


def check(options: Options) -> None:
    """Refuse options that do not go with processes that train together.

    Raises:
        UsageError: names them.
    """
    if launched():
        raise UsageError("--processes is for a command that starts processes; torchrun has started this one already.")
    if options.jobs > 1 or options.ray_address:
        raise UsageError("--processes train runs together, those of --jobs or Ray one each: leave one out.")
    if ":" in options.device:
        raise UsageError(f"--device {options.device}: several processes take one GPU each; say --device cuda.")


def processes(options: Options, device: torch.device) -> int:
    """Return how many processes --processes N|gpus asks for: with "gpus" one for each, or 2 where there is none."""
    if options.processes not in (None, "gpus"):
        return int(options.processes)
    return torch.cuda.device_count() if device.type == "cuda" else WITHOUT_GPU


def run(todo: Sequence[Run], context: Context) -> None:
    """Run `python -m benchmark COMMAND` in several processes of one job.

    Raises:
        BenchmarkError: a process ended with an error; it has told it, and this has its exit code.
        Stopped: somebody asked to stop; the processes have saved and ended.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException  # takes a second
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args
    from torch.distributed.run import run as launch

    number = processes(context.options, context.device)
    if number == 1:
        execute(todo, context.worker())
        return
    context.load()  # what is wrong with the data is told once, and here
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // number)))
    arguments = ["--standalone", "--nproc-per-node", str(number), "-m", "benchmark", *context.options.line]
    together = ["--launcher", "local", "--processes", "1", "--worker-of", str(os.getpid())]
    try:
        launch(parse_args([*arguments, *together]))
    except ChildFailedError as error:
        raise ended([failure.exitcode for failure in error.failures.values()]) from error
    except SignalException as signalled:
        raise Stopped(signalled.sigval) from signalled


def ended(codes: Sequence[int]) -> BenchmarkError | Stopped:
    """Return what a job of these exit codes ended with."""
    stopped = [code - 128 for code in codes if code > 128]
    if stopped:
        return Stopped(stopped[0])
    error = RunError(ENDED)
    error.exit_code = max([code for code in codes if code > 0], default=1)
    return error
