"""Work whose result several tests read, done once even where pytest-xdist runs them in several processes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def once(factory: pytest.TempPathFactory, name: str, work: Callable[[Path], object]) -> Path:
    """Return the folder that `work` has filled, in this process or another one of the same test run."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            folder.mkdir()
            work(folder)
            (folder / "done").touch()
    return folder
