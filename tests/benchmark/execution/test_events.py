"""TensorBoard: the event files hold what the record holds, also after an interruption."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from studies.tiny_study import worker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmark.cli import main
from benchmark.data.load import Data
from benchmark.execution.events import SCALARS
from benchmark.execution.paths import Folders
from benchmark.execution.progress import Progress
from benchmark.execution.worker import execute
from benchmark.records.store import read_record, record_path
from benchmark.settings.plan import Run


def test_scalars_are_those_of_the_record_also_after_an_interruption(
    make_run: Callable[..., Run], digits: Data, tmp_path: Path
) -> None:
    run = make_run("sba", 0, "recipe.epochs=3")
    folders = Folders(tmp_path / "results", tmp_path / "runs", tmp_path / "events")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "on_epoch", Mock(side_effect=[None, KeyboardInterrupt]))
        with pytest.raises(KeyboardInterrupt):
            execute([run], worker(digits, folders))
    execute([run], worker(digits, folders))
    record = read_record(record_path(folders.results, run.preset.name, "sba", 0))
    found = EventAccumulator(str(tmp_path / "events" / run.preset.name / "sba" / "seed-0")).Reload()
    assert set(found.Tags()["scalars"]) == set(SCALARS)
    for name in SCALARS:
        expected = {epoch["epoch"]: dict(epoch)[name] for epoch in record["epochs"]}
        assert {event.step: event.value for event in found.Scalars(name)} == pytest.approx(expected, rel=1e-6)


def test_a_folder_that_cannot_be_written_ends_no_run(
    make_run: Callable[..., Run], digits: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "events").touch()
    run = make_run("erm", 0, "recipe.epochs=1")
    folders = Folders(tmp_path / "results", tmp_path / "runs", tmp_path / "events")
    execute([run], worker(digits, folders))
    assert read_record(record_path(folders.results, run.preset.name, "erm", 0))["status"] == "done"
    assert capsys.readouterr().out.count("cannot be written") == 1


def test_a_missing_package_is_an_error_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert main(["run", "smoke", "--tensorboard"]) == 2
    assert "--tensorboard needs the package tensorboard: python -m pip install" in capsys.readouterr().err
