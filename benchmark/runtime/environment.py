"""Where a run ran: device, versions, commit, date; and the choice of the device."""

import functools
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from benchmark.runtime.distributed import launched
from benchmark.runtime.errors import UsageError

DETERMINISTIC = (
    "--deterministic: torch uses only operations that give the same result each time, and fails where it has none.\n"
    "It does not promise the same result with another torch or CUDA version, device, or number of threads."
)
PACKAGES = ("torch", "torchvision", "torchattacks", "numpy", "scipy")


def choose_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu", "cuda" or "cuda:i", set to repeatable, full float32 arithmetic.

    Raises:
        UsageError: another name, or a GPU that does not exist.
    """
    # The same seed gives the same record, and "float32" attacks are float32: no TF32, no kernels chosen by timing.
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # The rank of a launched process on its machine is the number of its GPU.
        device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if name == "cuda" and launched() else name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name!r}: allowed are auto, cpu, cuda and cuda:0, cuda:1, ...")
    if device.index is not None and ":" in name and launched():
        raise UsageError(f"--device {name}: several processes take one GPU each; write --device cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices, {device} is not one of them. "
            "Use --device cpu, or as many processes as there are devices."
        )
    if device.index is not None:
        torch.cuda.set_device(device)  # used where torch names none, as in the thread that pins memory
    return device


def answers(device: torch.device) -> bool:
    """Return whether the device still works; after some kernel errors all later calls of the process fail."""
    if device.type != "cuda":
        return True
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return False
    return True


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """If wanted, allow torch only deterministic operations until the block ends; to be entered before CUDA starts.

    Raises:
        UsageError: torch has no deterministic form of an operation used in the block.
    """
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it once, when it starts
        torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if not wanted or "deterministic" not in str(error):
            raise
        raise UsageError(f"--deterministic: {error}") from error
    finally:
        torch.use_deterministic_algorithms(before)


def describe_environment(device: torch.device) -> dict[str, str]:
    """Return device, threads, whether torch is deterministic, versions, commit of this code and date (UTC), as text."""
    return {
        "device": device.type,
        "device_name": device_name(device),
        "threads": str(torch.get_num_threads()),
        **({"processes": os.environ["WORLD_SIZE"]} if launched() else {}),
        "deterministic": "on" if torch.are_deterministic_algorithms_enabled() else "off",
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **{package: version(package) for package in PACKAGES},
        "commit": git_commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor as far as the system knows it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()


@functools.cache  # the commit of the running code, not of later changes
def git_commit() -> str:
    """Return the commit of the checkout that contains this code, with "+" if it is changed; else "unknown"."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.toml")
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if changed.strip() else "")
    except (OSError, subprocess.CalledProcessError):  # no git, or installed without its checkout
        return "unknown"


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
