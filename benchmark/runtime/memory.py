"""Memory of the process: freed blocks are kept for the next step; the peak of each run."""

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
    """Make glibc keep freed large blocks for the next step; with another C library, do nothing.

    By default every block over 32 MiB goes back to the system, which has to clear its pages again at the next step;
    SBA's wider batches would then cost clearly more than their FLOPs (`python -m benchmark speed` measures it).
    """
    if GLIBC:
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**30)
        ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak, so that a run does not inherit that of the run before it in the same process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    if GLIBC:
        ctypes.CDLL(None).malloc_trim(0)  # kept blocks belong to earlier runs
    if CLEAR_REFS.exists():
        with contextlib.suppress(OSError):  # not allowed in some containers; the peak is then that of the process
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
    """Return the peak memory in bytes of a process id or "self"; None if it has ended or this is not Linux."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def largest_peak(whose: int) -> int:
    """Return the peak memory in bytes since the start.

    Args:
        whose: resource.RUSAGE_SELF for this process, resource.RUSAGE_CHILDREN for the largest one that it waited for.
    """
    peak = resource.getrusage(whose).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
