"""Where a run ran: device, versions, commit, date; and the choice of the device."""

import functools
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from benchmark.errors import UsageError

PACKAGES = ("torch", "torchvision", "torchattacks", "numpy", "scipy")


def choose_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu", "cuda" or "cuda:i", set to repeatable, full float32 arithmetic.

    Raises:
        UsageError: another name, or a GPU that is not there.
    """
    # The same seed gives the same record, and "float32" attacks are float32: no TF32, no choice by timing.
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name!r}: allowed are auto, cpu, cuda and cuda:0, cuda:1, ...")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices. Use --device cpu."
        )
    return device


def describe_environment(device: torch.device) -> dict[str, str]:
    """Return device, versions, threads, git commit of this code and the date (UTC), all as text."""
    return {
        "device": device.type,
        "device_name": device_name(device),
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **{package: version(package) for package in PACKAGES},
        "commit": git_commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor where the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()


@functools.cache  # of the code that runs, not of what is committed while it runs
def git_commit() -> str:
    """Return the commit of the checkout this code lives in, "+" appended where it is changed; else "unknown"."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.toml")
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if changed.strip() else "")
    except (OSError, subprocess.CalledProcessError):  # no git, or installed without its checkout
        return "unknown"
