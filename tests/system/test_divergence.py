"""A run that diverges is recorded with its reason, the others go on, and it is not repeated."""

import contextlib
import io
from pathlib import Path

import pytest
from tiny_study import Study, path_of, read, run, work_in


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A study whose first arm diverges: its folder, exit code and the message."""
    folder = tmp_path_factory.mktemp("diverged")
    with pytest.MonkeyPatch.context() as patch:
        work_in(folder, folder / "cache", patch)
        with contextlib.redirect_stderr(io.StringIO()) as printed:
            code = run("--arms", "sba,erm", "--seeds", "0", "--set=arms.sba.settings.kl_weight=1e30")
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


def test_diverged_run_is_not_repeated_and_still_ends_with_1(
    diverged: tuple[Path, int, str], monkeypatch: pytest.MonkeyPatch, trained: list[tuple[str, int]]
) -> None:
    monkeypatch.chdir(diverged[0])
    assert run("--arms", "sba,erm", "--seeds", "0", "--set=arms.sba.settings.kl_weight=1e30") == 1
    assert trained == []
