"""How a run stands, by its files; markers of runs that are to be repeated; no clock decides."""

import errno
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from studies.saying import Say
from studies.tiny_study import path_of, read, recorded, run

from benchmark.execution import run as one_run
from benchmark.execution.files import (
    ANEW,
    BEGUN,
    Folders,
    RunPaths,
    begin,
    failure,
    is_pending,
    mark,
    mark_for_repetition,
    status,
    statuses,
    tidy,
)
from benchmark.execution.lock import RunLock
from benchmark.execution.worker import tidy_after_kills
from benchmark.records.consistency import binding
from benchmark.runtime.errors import RunError
from benchmark.settings.load import load_preset
from benchmark.settings.plan import Run, make_plan

MakeRun = Callable[..., Run]
QUICK = ("--set=recipe.epochs=1", '--set=evaluation.attacks=[{name="fgsm", steps=1}]')
ONE = (*QUICK, "--arms", "erm", "--seeds", "0")


def with_pid(lock: str, number: int) -> str:
    """The text of a lock, held by another process of this machine."""
    return re.sub(r"(?m)^pid=.*$", f"pid={number}", lock)


def test_all_files_of_a_run(make_run: MakeRun, folders: Folders) -> None:
    one = make_run("sba", 2)
    paths = RunPaths(one, Folders(folders.results, folders.runs, Path("events")))
    name = f"smoke/sba/seed-2-{one.identity}"
    assert vars(paths) == {
        "record": folders.results / "smoke/sba/seed-2.json",
        "repeat": folders.results / "smoke/sba/seed-2.repeat",
        "lock": folders.results / "smoke/sba/seed-2.lock",
        "checkpoint": folders.runs / f"{name}.pt",
        "previous": folders.runs / f"{name}.previous.pt",
        "journal": folders.runs / f"{name}.evaluation.json",
        "log": folders.runs / "smoke/sba/seed-2.log",
        "failure": folders.runs / f"{name}.failed",
        "trace": folders.runs / "smoke/sba/seed-2.error.log",
        "events": Path("events/smoke/sba/seed-2"),
    }
    assert RunPaths(one, folders).events is None


def test_how_a_run_stands(make_run: MakeRun, folders: Folders) -> None:
    one = make_run("erm")
    paths = RunPaths(one, folders)
    assert status(one, paths) == "pending"
    paths.failure.parent.mkdir(parents=True)
    paths.failure.write_bytes(b"out of \xff")
    assert status(one, paths) == "failed"
    assert failure(paths) == "out of \ufffd"
    recorded(one, folders)
    assert status(one, paths) == "done"
    assert status(make_run("erm", 0, "recipe.epochs=7"), paths) == "other settings"
    paths.record.write_text("{")
    assert status(one, paths) == "damaged"
    paths.failure.unlink()
    mark(paths)
    assert status(one, paths) == "pending"


def test_running_is_whose_lock_a_living_process_holds_whatever_the_clock_says(
    make_run: MakeRun, folders: Folders
) -> None:
    one = make_run("erm")
    paths = RunPaths(one, folders)
    with RunLock(paths.lock).claimed():
        for hours in (-1000, 0, 1000):
            then = time.time() + 3600 * hours
            os.utime(paths.lock, (then, then))
            assert statuses([one], folders) == ["running"]
        content = paths.lock.read_text()
    paths.lock.write_text(with_pid(content, 2147483000))
    assert statuses([one], folders) == ["pending"]
    assert paths.lock.exists()


def test_a_record_that_the_system_does_not_let_be_read_stays(
    make_run: MakeRun, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = recorded(make_run("erm"), folders)

    def fail(*_: object, **__: object) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", fail)
        with pytest.raises(RunError, match=r"seed-0\.json cannot be read: Input/output error"):
            is_pending(make_run("erm"), paths)
    assert status(make_run("erm"), paths) == "done"


def test_what_killed_writers_of_a_finished_run_left_is_removed(
    make_run: MakeRun, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_run("erm")
    paths = recorded(one, folders)
    written = [paths.record, paths.repeat, paths.lock, paths.checkpoint, paths.journal, paths.failure, paths.trace]
    left = [path.with_name(f".{path.name}.0123abcd.tmp") for path in written]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    paths.lock.touch()

    def fail(_lock: RunLock) -> bool:
        raise RunError("the lock was made by another version of this program")

    with monkeypatch.context() as patch:
        patch.setattr(RunLock, "_acquired", fail)
        tidy_after_kills([one], folders)
    assert all(path.exists() for path in left)
    paths.lock.unlink()
    tidy(paths)
    assert not any(path.exists() for path in left)


def test_a_run_to_be_repeated_forgets_its_state_once(make_run: MakeRun, folders: Folders) -> None:
    paths = recorded(make_run("erm"), folders)
    state = (paths.checkpoint, paths.previous, paths.journal)
    mark(paths)
    assert paths.repeat.read_text() == ANEW
    paths.checkpoint.parent.mkdir(parents=True)
    for path in state:
        path.write_text("old")
    begin(paths)
    assert not any(path.exists() for path in state)
    assert paths.repeat.read_text() == BEGUN
    paths.checkpoint.write_text("new")
    begin(paths)  # the repetition was interrupted, and goes on
    assert paths.checkpoint.read_text() == "new"
    assert paths.record.exists()


def test_what_is_retried_is_what_diverged_or_failed(make_run: MakeRun, folders: Folders) -> None:
    plan = [make_run("erm", seed) for seed in range(3)]
    done = recorded(plan[0], folders)
    diverged = recorded(
        plan[1], folders, status="diverged", reason="loss is nan", clean=None, robustness=None, calibration=None
    )
    failed = RunPaths(plan[2], folders)
    failed.failure.parent.mkdir(parents=True, exist_ok=True)
    failed.failure.write_text("out of memory")
    failed.checkpoint.write_text("kept")
    mark_for_repetition(plan, folders, everything=False)
    assert [status(run, RunPaths(run, folders)) for run in plan] == ["done", "pending", "pending"]
    assert (done.repeat.exists(), diverged.repeat.exists(), failed.repeat.exists()) == (False, True, False)
    assert failed.checkpoint.exists()  # it goes on from there
    mark_for_repetition(plan, folders, everything=True)
    assert [status(run, RunPaths(run, folders)) for run in plan] == ["pending"] * 3


# The command


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("name", ["record", "repeat", "lock", "checkpoint", "previous", "journal", "failure", "trace"])
def test_a_folder_in_the_place_of_a_file_is_one_message(name: str, say: Say) -> None:
    (one,) = make_plan(load_preset("smoke"), ["erm"], [0])
    path = getattr(RunPaths(one, Folders(Path("results"), Path("runs"))), name)
    path.mkdir(parents=True)
    for command in ("status", "run"):
        said = say(command, "smoke", "--arms=erm", "--seeds=0")
        assert said.code == 2
        assert said.has(f"{path} is a folder, in the place of a file of a run. Move or delete it.")
    if name == "record":
        said = say("report")
        assert said.code == 1
        assert said.has(f"record {path} cannot be read: Is a directory.")


@pytest.mark.usefixtures("fresh")
def test_force_repeats_once_whatever_the_clock_says(trained: list[tuple[str, int]]) -> None:
    """The clock of whoever wrote the record was behind or ahead."""
    assert run(*ONE) == 0
    for hours in (-1, 1000):
        then = time.time() + 3600 * hours
        for path in Path().rglob("seed-0*"):
            os.utime(path, (then, then))
        trained.clear()
        assert run(*ONE, "--force") == 0
        assert trained == [("erm", 0)]
        assert not list(Path().rglob("*.repeat"))
        assert run(*ONE) == 0
        assert trained == [("erm", 0)]
    trained.clear()
    assert run(*ONE, "--force", "--worker-of", str(os.getppid())) == 0
    assert trained == []  # a worker of a command leaves no markers


@pytest.mark.usefixtures("fresh")
def test_an_interruption_forgets_no_repetition(
    trained: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two = (*QUICK, "--arms", "erm,mixup", "--seeds", "0")
    assert run(*two) == 0
    trained.clear()

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(one_run, "evaluate", interrupt)
        assert run(*two, "--force") == 130
    assert trained == [("erm", 0)]
    assert read(path_of("erm", 0))["status"] == "done"  # the old one, until the new one is there
    capsys.readouterr()
    assert run(*two) == 0  # without --force
    assert "2 runs, 0 done, 2 to do" in capsys.readouterr().out
    assert trained == [("erm", 0), ("mixup", 0)]
    assert run(*two) == 0
    assert "2 done, 0 to do" in capsys.readouterr().out


@pytest.mark.usefixtures("fresh")
def test_finished_runs_of_another_analysis_are_refused_whatever_is_left_to_do(
    trained: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*ONE) == 0
    trained.clear()
    for setting, listed, arms in (  # of one arm nothing is to do, of both one run
        ('endpoints=["clean"]', "analysis.endpoints: [", "erm"),
        ("margin=9.0", "analysis.margin: ", "erm"),
        ("eps=4.0", "analysis.eps: 16.0 -> 4.0", "erm,mixup"),
        ('against=["erm"]', "analysis.against: [", "erm,mixup"),
    ):
        capsys.readouterr()
        assert run(*ONE, "--arms", arms, f"--set=analysis.{setting}") == 2
        said = capsys.readouterr()
        assert listed in said.err
        assert "--results DIR, or repeat all runs with --force" in said.err
        assert "to do" not in said.out
        assert "Seeds that are added" not in said.err
    assert run(*ONE, "--set=seeds=[0, 1, 2, 3]") == 2
    assert "Seeds that are added to known results are chosen by them" in capsys.readouterr().err
    assert run(*ONE, '--set=title="Another title"') == 0
    assert trained == []
    assert run(*ONE, "--set=analysis.margin=9.0", "--force") == 0
    assert read(path_of("erm", 0))["analysis"]["margin"] == 9.0


def test_the_endpoints_of_an_exploratory_study_bind_no_run() -> None:
    analysis = {"title": "A", "endpoints": ["clean"], "margin": 0.5}
    assert binding(analysis | {"exploratory": False}) == {"endpoints": ["clean"], "margin": 0.5, "exploratory": False}
    assert binding(analysis | {"exploratory": True}) == {"margin": 0.5, "exploratory": True}


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a read-only folder")
def test_a_finished_study_on_a_read_only_folder_prints_its_tables(
    fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*ONE) == 0
    lock = path_of("erm", 0).with_suffix(".lock")  # of a worker that was killed when it had written the record
    with RunLock(lock).claimed():
        text = lock.read_text()
    lock.write_text(with_pid(text, 2147483000))
    if subprocess.run(["mount", "--bind", str(fresh), str(fresh)], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(fresh)], check=True)
        capsys.readouterr()
        assert run(*ONE) == 0
        said = capsys.readouterr()
        assert "1 done, 0 to do" in said.out
        assert "Accuracy after the last epoch" in said.out
        assert run(*ONE, "--force") == 2
        assert "cannot write to results" in capsys.readouterr().err
        assert run("--set=recipe.epochs=1", "--arms", "erm", "--seeds", "1", *QUICK[1:]) == 2
    finally:
        subprocess.run(["umount", str(fresh)], check=True)
