"""A whole run on images that stay files: interrupted in the middle of an epoch, and with damaged files."""

from pathlib import Path
from typing import Any

import pytest
from processes.torchrun import torchrun
from studies.photos import noise
from studies.tiny_study import TINY, at_step, interrupt, path_of, read, without_times

from benchmark.cli import main
from benchmark.data import load
from benchmark.training import loop as train

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:This process .* multi-threaded")
STREAMED = (
    *TINY,
    *("--set=data.dataset='./photos'", "--set=data.streamed=true", "--set=data.pixels=16", "--set=data.resize=20"),
    *("--set=data.train_images=40", "--set=recipe.batch_size=8", "--set=recipe.epochs=2", "--set=evaluation.images=8"),
)
DAMAGED = ("train/0/003.JPEG", "train/1/010.JPEG")


@pytest.fixture
def photos(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four classes of 12 training and 3 test photos; two training photos cannot be read."""
    monkeypatch.setattr(load, "SAMPLE", 2)  # else a start reads every image, and meets the damaged ones again
    for part, images in (("train", 12), ("val", 3)):
        for label in range(4):
            folder = fresh / "photos" / part / str(label)
            folder.mkdir(parents=True)
            for i in range(images):
                noise(24 + i, 40 - i, seed=100 * label + i).save(folder / f"{i:03d}.JPEG")
    for name in DAMAGED:
        (fresh / "photos" / name).write_bytes(b"not an image")
    return fresh / "photos"


def command(*arguments: str) -> list[str]:
    return ["run", "smoke", *STREAMED, "--arms", "sba", "--seeds", "0", *arguments]


def run(*arguments: str) -> int:
    return main(command(*arguments))


@pytest.fixture
def recorded(photos: Path) -> dict[str, Any]:  # noqa: ARG001 (they are read)
    """The record of the run that nothing interrupted, in folders of its own."""
    assert run("--skip-corrupt", "2", "--results", "whole", "--runs", "whole-runs") == 0
    return without_times(read(path_of("sba", 0, Path("whole"))))


def test_a_run_interrupted_within_an_epoch_ends_in_the_same_record(
    recorded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last interruption the images left to read may include none of the damaged ones."""
    assert list(recorded["data"]["skipped"]) == sorted(DAMAGED)
    for steps in (3, 4):  # within the first epoch of 5 steps, within the second
        with monkeypatch.context() as patch:
            patch.setattr(train, "train_step", at_step(steps + 1, interrupt))
            assert run("--skip-corrupt", "2", "--checkpoint-steps", "1") == 130
    assert run("--skip-corrupt", "2") == 0
    assert without_times(read(path_of("sba", 0))) == recorded


@pytest.mark.slow
def test_two_processes_go_on_with_what_one_began_and_each_decodes_its_own_part(
    recorded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(train, "train_step", at_step(4, interrupt))
        assert run("--skip-corrupt", "2", "--checkpoint-steps", "1") == 130
    job = torchrun(*command("--skip-corrupt", "2"))
    said, _ = job.communicate(timeout=240)
    assert job.returncode == 0, said
    assert "resuming after epoch 0/2 and 3 steps of the next" in said
    found = read(path_of("sba", 0))
    assert (found["data"], found["order_hash"]) == (recorded["data"], recorded["order_hash"])
    assert found["environment"]["processes"] == "2"
    for one, other in zip(found["epochs"], recorded["epochs"], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=0.02)  # bfloat16


def test_a_damaged_file_ends_the_run_unless_it_may_be_skipped(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 3
    said = capsys.readouterr().err
    assert "1 damaged image file, and 0 may be skipped" in said
    assert str(photos.name) in said
    assert "--skip-corrupt N" in said
    assert run("--skip-corrupt", "1") == 3
    assert "2 damaged image files, and 1 may be skipped" in capsys.readouterr().err
