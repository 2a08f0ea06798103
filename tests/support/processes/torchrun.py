"""The command line in several processes that train together."""

import os
import subprocess
import sys

from studies.saying import PROJECT


def started(*words: str) -> "subprocess.Popen[str]":
    """Start `python -m WORDS` with one thread for each process; both outputs are its standard output."""
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "TORCHELASTIC_ERROR_FILE": ""},
    )


def torchrun(*arguments: str) -> "subprocess.Popen[str]":
    """Start a command in two processes that torchrun starts."""
    return started("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "benchmark", *arguments)
