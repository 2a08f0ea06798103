"""Unusable presets, folders, records and checkpoints: a message that names the file, never a traceback."""

import json
from pathlib import Path

import pytest
from studies.saying import ONE_RUN, Say
from studies.tiny_study import TINY

pytestmark = pytest.mark.usefixtures("elsewhere")
ARM = 'extends = "smoke"\n[arms."../outside"]\nmethod = "erm"\naugmentation = "none"\n'


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b'title = "x"\n[recipe\nepochs = 1\n', ("line 2",)),
        (b"\xff\xfe\x00", ()),
        (None, ("directory",)),
        (ARM.encode(), ("arms", "'../outside'")),
        (b'extends = "smoke"\nname = "../outside"\n', ("name", "'../outside'")),
    ],
)
def test_a_preset_that_cannot_be_used_is_named(content: bytes | None, parts: tuple[str, ...], say: Say) -> None:
    path = Path("mine.toml")
    path.mkdir() if content is None else path.write_bytes(content)
    said = say("run", "mine.toml")
    assert said.code == 2
    assert said.has("mine.toml", *parts)
    assert [entry.name for entry in Path().iterdir()] == ["mine.toml"]
    assert [entry.name for entry in Path().resolve().parent.iterdir()] == ["here"]


# Folders and records


@pytest.mark.parametrize(("option", "folder"), [("--results", "file/below"), ("--runs", "/proc/nowhere")])
def test_folder_that_cannot_be_written_is_named_before_training(say: Say, option: str, folder: str) -> None:
    if folder.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no /proc on this system")
    Path("file").touch()
    said = say(*ONE_RUN, *TINY, option, folder)
    assert said.code == 2
    assert said.has("cannot write", folder, option)
    assert "epoch 1" not in said.out


def test_report_that_cannot_be_written_is_named(say: Say) -> None:
    Path("file").touch()
    Path("results").mkdir()
    said = say("report", "--output", "file/RESULTS.md")
    assert said.code == 2
    assert said.has("cannot write", "file/RESULTS.md")


@pytest.mark.parametrize("command", [["report"], ["report", "--check"]])
def test_report_of_a_folder_that_is_not_there_names_it_and_writes_nothing(say: Say, command: list[str]) -> None:
    Path("RESULTS.md").write_text("kept", encoding="utf-8")
    said = say(*command, "--results", "nonexistent")
    assert said.code == 2
    assert said.has("--results", "nonexistent")
    assert [path.name for path in Path().iterdir()] == ["RESULTS.md"]
    assert Path("RESULTS.md").read_text(encoding="utf-8") == "kept"


@pytest.fixture
def record(finished: Path) -> Path:
    """The record of a run that is done."""
    return (finished / "results/smoke/erm/seed-0.json").relative_to(finished)


def test_record_made_with_other_settings_names_what_differs(say: Say, record: Path) -> None:
    before = record.read_bytes()
    said = say(*ONE_RUN, *TINY, "--set", "recipe.learning_rate=0.01")
    assert said.code == 2
    assert said.has(str(record), "recipe.learning_rate", "0.05", "0.01", "--results", "--force")
    assert "recipe.epochs" not in said.error
    assert record.read_bytes() == before


def test_damaged_record_is_named_then_moved_aside_and_its_run_repeated(say: Say, record: Path) -> None:
    whole = json.loads(record.read_text(encoding="utf-8"))
    record.write_bytes(record.read_bytes()[:1000])
    damaged = record.read_bytes()
    for command in (["report"], ["report", "--check"]):
        said = say(*command)
        assert said.code == 1
        assert said.has(str(record), "damaged", "Start its study again")
    assert "damaged" in say("status", *ONE_RUN[1:], *TINY).out
    assert record.read_bytes() == damaged
    said = say(*ONE_RUN, *TINY)
    assert said.code == 0
    assert f"The record {record} is damaged" in said.out
    assert record.with_name("seed-0.json.damaged").read_bytes() == damaged
    assert json.loads(record.read_text(encoding="utf-8"))["clean"] == whole["clean"]


def test_damaged_checkpoint_is_named_and_moved_aside_and_training_starts_anew(say: Say, record: Path) -> None:
    before = json.loads(record.read_text(encoding="utf-8"))
    record.unlink()
    (checkpoint,) = Path("runs/smoke/erm").glob("seed-0-*.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    said = say(*ONE_RUN, *TINY)
    assert said.code == 0
    assert f"the checkpoint {checkpoint} is damaged" in said.out
    assert checkpoint.with_suffix(".damaged").stat().st_size == 1000
    assert json.loads(record.read_text(encoding="utf-8"))["clean"] == before["clean"]
