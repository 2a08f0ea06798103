"""Start several processes on this machine that train each run together (DistributedDataParallel), as torchrun does.

On several machines start torchrun itself: see docs/long-studies.md.
"""

import os
from collections.abc import Sequence

import torch

from benchmark.execution.launchers.local import LEAVE_ONE_OUT
from benchmark.execution.worker import Context, Options, execute
from benchmark.runtime.distributed import launched
from benchmark.runtime.environment import cores
from benchmark.runtime.errors import BenchmarkError, RunError, UsageError
from benchmark.runtime.signals import SIGNALS, Stopped
from benchmark.settings.plan import Run

WITHOUT_GPU = 2  # processes of `--processes gpus` on a machine without GPUs
ENDED = "a process of this job ended with an error, which is printed above. Finished work is kept."


def check(options: Options) -> None:
    """Raise UsageError for options that exclude processes that train together."""
    if launched():
        raise UsageError("--processes is for a command that starts processes; torchrun has started this one already.")
    if options.jobs > 1 or options.ray_address:
        raise UsageError(LEAVE_ONE_OUT)
    if ":" in options.device:
        raise UsageError(f"--device {options.device}: several processes take one GPU each; write --device cuda.")


def _processes(options: Options, device: torch.device) -> int:
    """Return the number of processes of --processes N|gpus; with "gpus" one for each, or 2 without GPUs."""
    if options.processes not in (None, "gpus"):
        return int(options.processes)
    return torch.cuda.device_count() if device.type == "cuda" else WITHOUT_GPU


def run(todo: Sequence[Run], context: Context) -> None:
    """Run `python -m benchmark COMMAND` in several processes of one job.

    Raises:
        BenchmarkError: a process ended with an error, which it has printed; with its exit code.
        Stopped: a stop was asked for; the processes have saved and ended.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException  # takes a second
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args
    from torch.distributed.run import run as launch

    number = _processes(context.options, context.device)
    if number == 1:
        execute(todo, context.worker())
        return
    context.load()  # raises errors of the data once, and here
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // number)))
    arguments = ["--standalone", "--nproc-per-node", str(number), "-m", "benchmark", *context.options.line]
    together = ["--launcher", "local", "--processes", "1", "--worker-of", str(os.getpid())]
    try:
        launch(parse_args([*arguments, *together]))
    except ChildFailedError as error:
        raise _ended(error.get_first_failure()[1].exitcode) from error  # torchrun has stopped the others
    except SignalException as signalled:
        raise Stopped(signalled.sigval) from signalled


def _ended(code: int) -> BenchmarkError | Stopped:
    """Return as an error of this process the exit code of the process that ended first."""
    if code - 128 in SIGNALS:
        return Stopped(code - 128)
    return RunError(ENDED, code if code > 0 else 1)  # below 0: killed by a signal
