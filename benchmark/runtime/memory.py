"""Memory of the process: large blocks are kept for the next step; the peak of each run."""

import contextlib
import ctypes
import platform
import resource
import sys
from pathlib import Path

import torch

GLIBC = platform.libc_ver()[0] == "glibc"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # numbers of glibc's mallopt(3)
CLEAR_REFS = Path("/proc/self/clear_refs")


def keep_freed_memory() -> None:
    """Let glibc keep large blocks that are freed, for the next step to use; elsewhere nothing changes.

    By default every block over 32 MiB goes back to the system, which has to clear its pages again at the next step, and
    SBA's wider batches then cost clearly more than their FLOPs (`python -m benchmark speed` measures it).
    """
    if GLIBC:
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**30)
        ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def reset_peak_memory(device: torch.device) -> None:
    """Start a new peak, so that one run does not inherit the peak of the run before it in the same process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    if GLIBC:
        ctypes.CDLL(None).malloc_trim(0)  # what was kept is not this run's
    if CLEAR_REFS.exists():
        with contextlib.suppress(OSError):  # not allowed in some containers: then the peak is that of the process
            CLEAR_REFS.write_text("5", encoding="ascii")  # 5: resets VmHWM (proc(5))


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes since the last reset: of the GPU, else of this process.

    Where the system cannot reset the peak of a process (not Linux), it is the peak since the start.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    found = high_water("self")
    return largest_peak(resource.RUSAGE_SELF) if found is None else found


def high_water(process: int | str) -> int | None:
    """Return a process's peak memory in bytes, None where the system does not tell (not Linux) or it has ended.

    Args:
        process: its number, or "self".
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def largest_peak(whose: int) -> int:
    """Return the peak memory in bytes since the start, of this process or of the largest one that it waited for.

    Args:
        whose: resource.RUSAGE_SELF or resource.RUSAGE_CHILDREN.
    """
    peak = resource.getrusage(whose).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
