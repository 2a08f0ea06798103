"""Compute runs as tasks of a Ray cluster, each a local worker for one run; if its node dies, another node continues.

The nodes share the folders; locks, checkpoints and records work as with several machines at one study.
"""

import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark.execution.files import Folders, RunPaths
from benchmark.execution.launchers.local import LEAVE_ONE_OUT, PAUSE, THREADS
from benchmark.execution.progress import TAIL, LogReader
from benchmark.execution.worker import Context, Options
from benchmark.runtime.console import print_line
from benchmark.runtime.distributed import launched
from benchmark.runtime.environment import cores
from benchmark.runtime.errors import UsageError
from benchmark.runtime.signals import SIGNALS, Stop, Stopped
from benchmark.settings.plan import Run

POLL, CONNECT = 1.0, 10.0  # seconds between polls of tasks and logs; to reach the head of a cluster
TRIES = 10  # further starts of a run whose node or process died; finite for a run that kills its node each time
# No usage statistics, and none of Ray's own messages in the terminal.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "(?s).*"}
PASSED_ON = ("PYTHONPATH", "SBA_DATA_ROOT", "SBA_DATA_MIRROR")  # environment variables, from here to the nodes


def check(options: Options) -> None:
    """Raise UsageError for torchrun's processes, for a numbered device (Ray assigns them), for a missing package."""
    if launched() or options.processes not in (None, "1"):
        raise UsageError(LEAVE_ONE_OUT)
    if ":" in options.device:
        raise UsageError(f"--device {options.device}: Ray gives each run its GPU; write --device cuda.")
    if importlib.util.find_spec("ray") is None:
        raise UsageError('--launcher ray needs the package ray: python -m pip install "sba-benchmark[ray]"')


def run(todo: Sequence[Run], context: Context) -> None:
    """Run `python -m benchmark COMMAND` for each run in a task of its own, and print the runs' logs.

    A run whose process or node dies is started again elsewhere, where it waits for the dead worker's lock to expire.
    With CUDA, --jobs runs share a GPU, else a node.

    Raises:
        BenchmarkError: no such cluster, no node that can take a run, or an error that the user must correct first.
        Stopped: a stop was asked for; the processes of the tasks have received SIGTERM and ended.
    """
    context.raise_early(todo)
    options, device = context.options, context.device.type
    with _cluster(options.ray_address) as ray:
        nodes = ray.nodes()
        cpus, gpus = share(nodes, options.jobs, device)
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment |= dict.fromkeys(THREADS, str(cpus))
        # By value: a task starts a process and waits, for which importing this package, and torch, would be a waste.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=TRIES, retry_exceptions=[ChildProcessError])(take)
        alive = sum(node["Alive"] for node in nodes)
        print_line(f"Ray, nodes: {alive}; for each run, CPUs: {cpus}" + (f", GPUs: {gpus:g}." if gpus else "."))
        tasks = {}
        for run in todo:
            one = ["--arms", run.arm, "--seeds", str(run.seed), "--shard", "1/1", "--jobs", "1", "--device", device]
            command = [*options.line, *one, "--launcher", "local", "--ray-address", ""]
            tasks[task.remote(command, environment, str(Path.cwd()))] = run
        try:
            watch(ray, tasks, context.folders, context.stop)
        finally:
            _cancel(ray, list(tasks))


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine, and yield Ray's module; its signal handlers are removed.

    Raises:
        UsageError: no cluster answers at the address, or one of another version of Ray or Python.
    """
    if address:
        _refuse_unreachable(address)
    os.environ |= QUIET
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    import ray  # optional, and slow to import

    new: dict[str, Any] = {} if address else {"num_cpus": cores(), "include_dashboard": False}
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **new)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        where = f"--ray-address {address}" if address else "--launcher ray"
        raise UsageError(f"{where}: no Ray cluster that can be used: {reason}") from error
    finally:
        for number, handler in handlers.items():  # Ray has replaced them
            signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def _refuse_unreachable(address: str) -> None:
    """Raise UsageError if nothing listens at HOST:PORT, which Ray itself would report after minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT).close()
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"--ray-address {address}: nobody answers there ({error}). Give HOST:PORT of the head, which "
                "`ray start --head` prints, or auto on a node of the cluster."
            ) from error


def share(nodes: Sequence[Mapping[str, Any]], jobs: int, device: str) -> tuple[int, float]:
    """Return each run's CPUs and GPUs: on CUDA 1/jobs of a GPU and of its CPUs; else 1/jobs of a node.

    All runs get those of the smallest node, so that they have the same number of threads.

    Args:
        nodes: `ray.nodes()`; nodes without a CPU, or on CUDA without a GPU, take no run.
        jobs: runs on a GPU, or on a node without one, at least 1.
        device: "cpu" or "cuda".

    Raises:
        UsageError: no node can take a run.
    """
    there = [node["Resources"] for node in nodes if node["Alive"]]
    needed = ("CPU", "GPU") if device == "cuda" else ("CPU",)
    able = [node for node in there if all(node.get(name, 0) >= 1 for name in needed)]
    if not able:
        raise UsageError(
            f"None of the cluster's {len(there)} nodes has {' and '.join(needed)} to give. Add one, or choose --device."
        )
    cpus = min(int(node["CPU"] // (jobs * (node["GPU"] if device == "cuda" else 1))) for node in able)
    return max(1, cpus), 10_000 // jobs / 10_000 if device == "cuda" else 0.0  # Ray counts in ten-thousandths


def take(command: Sequence[str], environment: Mapping[str, str], folder: str) -> tuple[int, str]:
    """Compute one run in a process of its own, as a worker of `--jobs` does; this is the Ray task.

    Args:
        command: arguments of the command line that select the run.
        environment: variables added to those of the node.
        folder: the working folder, the same on every node.

    Returns:
        The exit code and the output of the process.

    Raises:
        ChildProcessError: the process was ended by a signal not sent from here; the run can continue elsewhere.
    """
    line = [sys.executable, "-m", "benchmark", *command, "--worker-of", str(os.getpid())]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            line,
            cwd=folder,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                time.sleep(PAUSE)  # not wait(): Ray's KeyboardInterrupt is raised between Python instructions only
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        # Above 128 a shell says so, if python is a script there; 255 is an exit code of the process's own.
        if process.returncode < 0 or process.returncode - 128 in signal.valid_signals():
            raise ChildProcessError(f"its process was ended by a signal (exit code {process.returncode})")
        output.seek(0)
        return process.returncode, output.read()


def watch(ray: Any, tasks: dict[Any, Run], folders: Folders, stop: Stop) -> None:
    """Wait for tasks, and print their runs' logs, lost nodes and runs that are given up.

    Args:
        ray: the module.
        tasks: the run of each; those that end are removed.
        folders: of the study.
        stop: called at every poll.

    Raises:
        BenchmarkError: a run had an error that the user must correct first.
        Stopped: a stop was asked for.
    """
    logs = [(run, LogReader(RunPaths(run, folders).log)) for run in tasks.values()]
    lost, own_error = set[str](), ray.exceptions.RayTaskError
    with stop.gently():
        while tasks:
            stop()
            time.sleep(POLL)  # not inside ray.wait, in which signal handlers must not raise
            ended, _ = ray.wait(list(tasks), num_returns=len(tasks), timeout=0)
            for run, log in logs:
                for line in log.added():
                    print_line(f"{run.arm} seed {run.seed}: {line}")
            for node in ray.nodes():
                if not node["Alive"] and node["NodeID"] not in lost:
                    lost.add(node["NodeID"])
                    print_line(f"The node {node['NodeManagerHostname']} is gone; its runs are started elsewhere.")
            for task in ended:
                run = tasks.pop(task)
                try:
                    code, output = ray.get(task)
                except ray.exceptions.RayError as error:
                    reason = str(error).strip().rpartition("\n")[2]
                    # Of a task's own errors only ChildProcessError is tried again; the others are of its start.
                    repeated = isinstance(error, ChildProcessError) or not isinstance(error, own_error)
                    problem = f"given up after {TRIES} more starts" if repeated else "could not be started"
                    print_line(f"{run.arm} seed {run.seed}: {problem}: {reason}")
                    continue
                if code:
                    raise UsageError(error_message(output), code)


def error_message(output: str) -> str:
    """Return a worker's error message, or its last lines if it has none."""
    _, found, error = f"\n{output}".partition("\nerror: ")
    return error.rstrip() if found else "\n".join(["a worker broke off:", *output.splitlines()[-TAIL:]])


def _cancel(ray: Any, tasks: Sequence[Any]) -> None:
    """Cancel tasks and wait until their processes have saved and ended; a second Ctrl-C ends them at once."""
    for task in tasks:
        ray.cancel(task)
    try:
        while tasks:
            time.sleep(PAUSE)
            _, tasks = ray.wait(tasks, num_returns=len(tasks), timeout=0)
    except (KeyboardInterrupt, Stopped):
        for task in tasks:
            ray.cancel(task, force=True)
        raise
