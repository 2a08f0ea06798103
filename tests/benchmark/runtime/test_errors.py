"""Errors of the user's code name the line that raised, also where its file lies inside this package."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from benchmark.runtime import errors
from benchmark.runtime.errors import UsageError

GUARD = """
from benchmark.runtime.errors import UsageError
from benchmark.runtime.errors import own_words

def guarded(function):
    with own_words(UsageError, "the row fails"):
        function()
"""
ROW = """
import json

def raises():
    raise KeyError("nothing")

def raises_in_a_library():
    json.loads("{")
"""


def functions(path: Path, text: str) -> dict[str, Any]:
    path.write_text(text, encoding="utf-8")
    return runpy.run_path(str(path))


@pytest.mark.parametrize("inside", [False, True])
def test_the_innermost_line_of_the_users_code_is_named(
    inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = [*errors.INSTALLED, Path(__file__).parents[3]]
    monkeypatch.setattr(errors, "PACKAGE", tmp_path)
    monkeypatch.setattr(errors, "INSTALLED", [*outside, tmp_path] if inside else outside)
    guarded = functions(tmp_path / "guard.py", GUARD)["guarded"]
    row = functions(tmp_path / "row.py", ROW)
    for name, line in {"raises": 5, "raises_in_a_library": 8}.items():
        with pytest.raises(UsageError, match=rf"^the row fails: [\w.]+: .* \({tmp_path}/row.py, line {line}\)\.$"):
            guarded(row[name])
    if inside:  # the line that calls a library is this program's
        with pytest.raises(UsageError, match=r"^the row fails: TypeError: [^/]*\.$"):
            guarded(runpy.run_path)
