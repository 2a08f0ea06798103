"""The same command again: what is done is not repeated, what was interrupted or killed goes on to the same record."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from studies.saying import PROJECT
from studies.tiny_study import BATCH, EPOCHS, Study, at_step, interrupt, path_of, read, run, without_times, work_in

from benchmark.execution import run as one_run
from benchmark.training import loop as train

# The same again


def test_same_command_again_trains_nothing(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_arguments: object, **_named: object) -> NoReturn:
        raise AssertionError("a finished run was started again")

    work_in(study.folder, study.folder / "cache", monkeypatch)
    monkeypatch.setattr(one_run, "execute_run", refuse)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path("results").rglob("*.json")}
    assert run() == 0
    assert "8 done, 0 to do" in capsys.readouterr().out
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert len(before) == len(study.records)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("arm", ["mixup", "sba"])
def test_same_seed_again_gives_the_same_record_whatever_ran_before_and_however_global_generators_stand(
    study: Study, arm: str
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(12345)
        assert run("--arms", arm, "--seeds", "1") == 0
    assert without_times(read(path_of(arm, 1))) == without_times(study.records[arm, 1])


def test_run_leaves_the_global_generators_of_torch_numpy_and_python_alone(study: Study) -> None:
    assert study.random_states == (True, True, True)


@pytest.mark.usefixtures("fresh")
def test_arms_and_seeds_select_runs(trained: list[tuple[str, int]]) -> None:
    few = ("--set=recipe.epochs=1", "--set=seeds=[0, 1, 2, 3]", '--set=evaluation.attacks=[{name="fgsm", steps=1}]')
    assert run(*few, "--arms", "mixup,erm", "--seeds", "0,2-3", "--results", "elsewhere") == 0
    expected = {(arm, seed) for arm in ("mixup", "erm") for seed in (0, 2, 3)}
    assert set(trained) == expected
    assert set(Path().rglob("*.json")) == {path_of(arm, seed, Path("elsewhere")) for arm, seed in expected}


# Interruption


@pytest.mark.usefixtures("fresh")
def test_run_interrupted_in_its_second_epoch_resumes_and_gives_the_uninterrupted_record(
    study: Study, trained: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "train_step", at_step(400 // BATCH + 3, interrupt))
        assert run("--arms", "mixup", "--seeds", "0") == 130
    said = capsys.readouterr().err
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not list(Path("results").rglob("*.json"))
    trained.clear()
    assert run("--arms", "mixup", "--seeds", "0") == 0
    assert trained == [("mixup", 0)] * (EPOCHS - 1)
    assert without_times(read(path_of("mixup", 0))) == without_times(study.records["mixup", 0])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it forks, and looks for workers as Linux lists them")
def test_studies_killed_at_random_moments_leave_the_same_records() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "processes.faults", "--kills=5", "--pauses=1", "--seeds=1", "--draw=3"],
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
    assert int(found[1]) >= 5
    assert int(found[2]) >= 8  # two rounds of one seed of four arms
    assert "(one process)" in done.stdout
    assert "(--jobs 2)" in done.stdout
    assert "pauses past the lease survived: 1" in done.stdout
