"""The short form of the fault injection: studies killed at random moments leave the records of an undisturbed one."""

import os
import re
import subprocess
import sys

import pytest
from studies.saying import PROJECT
from studies.tiny_study import ARMS

pytestmark = pytest.mark.slow

KILLS = 5


@pytest.mark.skipif(sys.platform != "linux", reason="it forks, and looks for workers as Linux lists them")
def test_studies_killed_at_random_moments_leave_the_same_records() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "processes.faults", *f"--kills {KILLS} --pauses 1 --seeds 1 --draw 3".split()],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": f"{PROJECT}{os.pathsep}{PROJECT / 'tests' / 'support'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=840,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(
        r"kills survived: (\d+), files damaged: \d+, records compared: (\d+), differences: 0", done.stdout
    )
    assert found
    assert int(found[1]) >= KILLS
    assert int(found[2]) >= 2 * len(ARMS)
    assert "(one process)" in done.stdout
    assert "(--jobs 2)" in done.stdout
    assert "pauses past the lease survived: 1" in done.stdout
