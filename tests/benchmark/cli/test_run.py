"""The command `run`: its report, and what excludes what."""

import os
import sys
from pathlib import Path

import pytest
from saying import Say
from tiny_study import run

QUICK = ("--set=recipe.epochs=1", "--arms", "erm", "--seeds", "0")


@pytest.mark.usefixtures("fresh", "no_figures")
def test_report_is_that_of_the_results_folder_named() -> None:
    Path("RESULTS.md").write_text("an old study")
    assert run(*QUICK, "--results", "elsewhere/results", "--report") == 0
    assert "Handwritten digits" in Path("elsewhere/RESULTS.md").read_text(encoding="utf-8")
    assert Path("RESULTS.md").read_text() == "an old study"


@pytest.mark.usefixtures("fresh")
def test_a_closed_pipe_hides_no_run_that_did_not_end_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `run ... | head -3`, with pipefail."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        assert run(*QUICK, "--set=recipe.learning_rate=1e30") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--launcher", "slurm"), "llowed: local, ray, torchrun"),
        (("--processes", "2", "--jobs", "2"), "leave one out"),
        (("--processes", "2", "--launcher", "ray"), "leave one out"),
        (("--processes", "gpus", "--device", "cuda:0"), "write --device cuda"),
        (("--ray-address", "auto"), "--ray-address is for --launcher ray only"),
        (("--processes", "0"), "whole number from 1 on"),
        (("--processes", "many"), "whole number from 1 on"),
    ],
)
@pytest.mark.usefixtures("elsewhere")
def test_options_that_exclude_one_another_are_refused(options: tuple[str, ...], said: str, say: Say) -> None:
    found = say("run", "smoke", *options)
    assert found.code == 2
    assert found.has(said)
    assert not list(Path().iterdir())


@pytest.mark.usefixtures("fresh")
def test_a_part_without_runs_is_named_as_such(say: Say) -> None:
    said = say("run", "smoke", "--shard", "99/100")
    assert (said.code, "this part is empty" in said.out, "0 runs: " in said.out) == (0, True, False)
