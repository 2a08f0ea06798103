"""Output is no part of a run: closed, full or unread, the runs are made and the exit code is theirs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from studies.saying import PROJECT
from studies.tiny_study import TINY, Study, path_of, read, without_times

pytestmark = pytest.mark.slow
ONE = (sys.executable, "-m", "benchmark", "run", "smoke", *TINY, "--arms", "erm", "--seeds", "0")


@pytest.mark.parametrize("output", ["pipe without a reader, no stderr", "full disk, no descriptor at all"])
def test_a_run_whose_output_cannot_be_written_is_made(output: str, fresh: Path, study: Study) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)  # as `| head`, when it has seen enough
    none = "no descriptor" in output
    full = Path("/dev/full")
    if none and not full.exists():
        pytest.skip("no /dev/full here")
    with full.open("w") if none else os.fdopen(write_end, "w") as stdout:

        def close() -> None:
            for descriptor in (0, 2) if none else (2,):
                os.close(descriptor)

        done = subprocess.run(
            ONE,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            stdout=stdout,
            preexec_fn=close,
            check=False,
            timeout=240,
        )
    assert done.returncode == 0
    assert without_times(read(path_of("erm", 0))) == without_times(study.records["erm", 0])
    assert not list(fresh.rglob("*.failed"))
    for file in fresh.rglob("*.pt"):
        assert file.read_bytes().startswith(b"PK")  # nothing was printed into a file that took a closed one's number
