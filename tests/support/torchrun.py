"""The command line in several processes that train together."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def torchrun(*arguments: str, processes: int = 2) -> "subprocess.Popen[str]":
    """Start a command in processes that torchrun starts; what they say comes by its standard output."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m", "benchmark"]
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "TORCHELASTIC_ERROR_FILE": ""},
    )
