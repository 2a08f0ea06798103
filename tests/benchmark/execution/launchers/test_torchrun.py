"""The launcher torchrun: the exit code of its processes; see also runtime/test_distributed.py, which starts some."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from benchmark.execution.launchers import torchrun
from benchmark.runtime.errors import BenchmarkError
from benchmark.runtime.signals import Stopped


@pytest.mark.parametrize(
    ("codes", "stopped", "code"),
    [
        ([2, 143], False, 2),  # the second was stopped because the first had ended
        ([255, 143], False, 255),  # of no signal
        ([-9, 1], False, 1),  # the first was killed
        ([130, 1], True, 130),
    ],
)
def test_the_first_process_that_ended_decides(
    codes: list[int], stopped: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_arguments: object) -> None:
        failures = {rank: ProcessFailure(rank, 1, code, "no file") for rank, code in zip((1, 0), codes, strict=True)}
        raise ChildFailedError("benchmark", failures)

    monkeypatch.setattr("torch.distributed.run.run", fail)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = SimpleNamespace(processes="2", line=["run", "smoke"])
    context: Any = SimpleNamespace(options=options, device=torch.device("cpu"), load=lambda: Path())
    with pytest.raises((BenchmarkError, Stopped)) as ended:
        torchrun.run([], context)
    error = ended.value
    assert isinstance(error, BenchmarkError | Stopped)
    assert (type(error) is Stopped, error.exit_code) == (stopped, code)
