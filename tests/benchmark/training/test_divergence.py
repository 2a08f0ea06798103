"""A run that diverges is recorded with its reason, one that fails is named, and the others go on."""

import contextlib
import io
from pathlib import Path
from typing import NoReturn

import pytest
from tiny_study import Study, path_of, read, run, work_in

from benchmark.cli import main
from benchmark.execution import run as one_run


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A study whose first arm diverges: its folder, exit code and the message."""
    folder = tmp_path_factory.mktemp("diverged")
    with pytest.MonkeyPatch.context() as patch:
        work_in(folder, folder / "cache", patch)
        with contextlib.redirect_stderr(io.StringIO()) as printed:
            code = run("--arms", "sba,erm", "--seeds", "0", "--set=arms.sba.settings.kl_weight=1e38")
    return folder, code, printed.getvalue()


def test_diverged_run_is_recorded_with_its_reason_and_ends_with_1(diverged: tuple[Path, int, str]) -> None:
    folder, code, message = diverged
    record = read(path_of("sba", 0, folder / "results"))
    assert code == 1
    assert record["status"] == "diverged"
    assert "final_weights_hash" not in record
    assert "loss" in record["reason"]
    assert "diverged" in message
    assert "sba seed 0" in message
    assert record["reason"] in message


def test_other_runs_go_on_after_one_diverged(diverged: tuple[Path, int, str], study: Study) -> None:
    record = read(path_of("erm", 0, diverged[0] / "results"))
    assert record["status"] == "done"
    assert record["clean"] == study.records["erm", 0]["clean"]


def test_diverged_run_stays_in_the_report(diverged: tuple[Path, int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(diverged[0])
    assert main(["report"]) == 0
    (page,) = Path("results").glob("*/README.md")
    assert "diverged" in page.read_text(encoding="utf-8")


def test_diverged_run_is_not_repeated_and_still_ends_with_1(
    diverged: tuple[Path, int, str], monkeypatch: pytest.MonkeyPatch, trained: list[tuple[str, int]]
) -> None:
    monkeypatch.chdir(diverged[0])
    assert run("--arms", "sba,erm", "--seeds", "0", "--set=arms.sba.settings.kl_weight=1e38") == 1
    assert trained == []


@pytest.mark.usefixtures("fresh")
def test_absurd_learning_rate_is_recorded_as_diverged() -> None:
    assert run("--arms", "erm,standard", "--seeds", "0", "--set=recipe.learning_rate=1e30") == 1
    for arm in ("erm", "standard"):
        record = read(path_of(arm, 0))
        assert record["status"] == "diverged"
        assert record["reason"]


@pytest.mark.usefixtures("fresh")
def test_run_that_fails_is_named_without_a_traceback_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_arguments: object, **_named: object) -> NoReturn:
        raise RuntimeError("attack pgd left the ball")

    monkeypatch.setattr(one_run, "evaluate", fail)
    assert run("--arms", "erm", "--seeds", "1") == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "erm seed 1" in said
    assert "attack pgd left the ball" in said
    assert not list(Path("results").rglob("*.json"))
