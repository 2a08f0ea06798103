"""The command `run`: its report, and what excludes what."""

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from studies.saying import Say
from studies.tiny_study import run

from benchmark.cli.options import parser
from benchmark.cli.run import _conclude, planned
from benchmark.execution import run as one_run
from benchmark.execution.launchers import LAUNCHERS, Launcher
from benchmark.runtime.distributed import Group
from benchmark.runtime.errors import BenchmarkError, RunError

Value = TypeVar("Value")

QUICK = ("--set=recipe.epochs=1", "--arms", "erm", "--seeds", "0")


@pytest.mark.usefixtures("fresh", "no_figures")
def test_report_is_that_of_the_results_folder_named() -> None:
    Path("RESULTS.md").write_text("an old study")
    assert run(*QUICK, "--results", "elsewhere/results", "--report") == 0
    assert "Handwritten digits" in Path("elsewhere/RESULTS.md").read_text(encoding="utf-8")
    assert Path("RESULTS.md").read_text() == "an old study"


@pytest.mark.parametrize(
    ("seeds", "options", "noted"), [(3, (), True), (4, (), False), (3, ("--smoke",), False), (3, ("--tuning",), False)]
)
@pytest.mark.usefixtures("fresh")
def test_a_study_of_too_few_seeds_says_so_before_it_runs(
    seeds: int, options: tuple[str, ...], noted: bool, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Launcher(lambda _options: None, lambda _todo, _context: None, "runs nothing")
    monkeypatch.setitem(LAUNCHERS, "none", row)
    Path("mine.toml").write_text(f'extends = "smoke"\nseeds = {[*range(seeds)]}\n', encoding="utf-8")
    said = say("run", "mine.toml", "--launcher", "none", *options)
    note = "Note: with seeds = [0, 1, 2] differences are described, not tested; a test takes 4 seeds or more."
    assert (note in said.out) == noted
    assert "Note: " not in say("run", "smoke", "--launcher", "none").out  # its seeds were chosen so


@pytest.mark.usefixtures("fresh")
def test_a_closed_pipe_hides_no_run_that_did_not_end_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `run ... | head -3`, with pipefail."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        assert run(*QUICK, "--set=recipe.learning_rate=1e30") == 1


def test_a_tilde_is_the_home_folder_also_where_the_shell_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given = parser().parse_args(["run", "smoke", "--results=~/r", "--runs=~/u", "--data-root=~/d"])
    assert [given.results, given.runs, given.data_root] == [tmp_path / "r", tmp_path / "u", tmp_path / "d"]
    assert parser().parse_args(["report", "--output=~/R.md"]).output == tmp_path / "R.md"
    assert parser().parse_args(["evaluate", "~/net.pt"]).checkpoint == tmp_path / "net.pt"


@pytest.mark.usefixtures("fresh")
def test_a_part_without_runs_is_named_as_such(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_run, "execute_run", None)  # to call it is an error
    said = say("run", "smoke", "--shard", "99/100")
    assert (said.code, "this part is empty" in said.out, "0 runs: " in said.out) == (0, True, False)
    assert "smoke: 0 runs.\n" in say("status", "smoke", "--shard", "99/100").out


class Second(Group):
    """The second of two processes, in which an error ends the process without a message."""

    def agree(self, work: Callable[[], Value]) -> Value:
        try:
            return work()
        except BenchmarkError as error:
            raise SystemExit(error.exit_code) from error


@pytest.mark.usefixtures("elsewhere")
def test_of_several_processes_one_prints(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.cli.run.joined", lambda: contextlib.nullcontext(Second(1, 2)))
    for wrong in (("--launcher", "slurm"), ("--synthetic",), ("--ray-address", "auto")):
        assert say("run", "cifar10", "--deterministic", "--device", "cpu", *wrong) == (2, "", "")


@pytest.mark.usefixtures("elsewhere")
def test_the_hint_after_a_search_is_a_command_that_finds_its_trials(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["run", "cifar10_10k", "--tuning", "--device", "cpu", "--set", "seeds=[0, 1]", "--arms", "sba_trial_0"]
    for own, expected in (
        ([], "tune cifar10_10k_cpu --trials runs/tuning --set 'seeds=[0, 1]'"),
        (["--smoke"], ""),
    ):
        options = parser().parse_args([*given, *own])
        plan, folders = planned(options, torch.device("cpu"))
        capsys.readouterr()
        with contextlib.suppress(RunError):  # no run is done
            _conclude(plan, folders, options)
        _, _, hint = capsys.readouterr().out.partition("python -m benchmark ")
        assert hint.partition("\n")[0] == expected
