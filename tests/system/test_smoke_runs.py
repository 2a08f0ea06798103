"""Smoke runs, also on made-up images, and a run on images of one's own."""

import os
from pathlib import Path

import pytest
from few_attacks import FEW_ATTACKS, FLOAT32
from tiny_study import read

from benchmark.cli import main
from benchmark.settings import smoke

# Read before any test hides it.
DATA_ROOT = Path(os.environ.get("SBA_DATA_ROOT") or "no SBA_DATA_ROOT")
PHOTO_CLASSES = ("apple", "bear", "fox", "train", "tulip")
SHORT = ("--arms", "erm", "--seeds", "0", "--set", "evaluation.eps=[16.0]")


@pytest.mark.parametrize(
    ("name", "arm", "changed"),
    [
        ("cifar10", "sba", ("--set", "evaluation.eps=[1.0]")),  # else as a user gets it
        ("cifar100", "erm", FEW_ATTACKS),
        ("cifar10_jpeg", "erm", FEW_ATTACKS),
        ("tiny_imagenet_100", "erm", FEW_ATTACKS),
        ("tiny_imagenet_100_memory", "erm", FEW_ATTACKS),
    ],
)
def test_synthetic_smoke_run_needs_no_data_and_says_so_in_its_report(
    fresh: Path, name: str, arm: str, changed: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    one = ("--arms", arm, "--seeds", "0", "--device", "cpu", *FLOAT32)
    assert main(["run", name, "--smoke", "--synthetic", *one, *changed]) == 0
    assert f"{name}_cpu" in capsys.readouterr().out.splitlines()[0]
    (path,) = (fresh / "runs").rglob("seed-0.json")
    record = read(path)
    assert record["data"]["synthetic"] is True
    assert record["data"]["name"] == name.removesuffix("_memory")
    assert record["data"]["classes"] == (100 if "100" in name else 10)
    (report,) = fresh.rglob("RESULTS.md")
    assert "synthetic" in report.read_text(encoding="utf-8").lower()
    assert not (fresh / "results").exists()
    assert not (fresh / "RESULTS.md").exists()


@pytest.mark.usefixtures("fresh")
def test_smoke_run_with_a_results_folder_reports_inside_it_and_leaves_other_reports_alone() -> None:
    Path("RESULTS.md").write_text("kept", encoding="utf-8")
    assert main(["run", "smoke", "--smoke", "--results", "elsewhere/records", *SHORT]) == 0
    reports = {Path("RESULTS.md"), Path("elsewhere/records/RESULTS.md")}
    assert set(Path().rglob("RESULTS.md")) == reports
    assert "Smoke run" in Path("elsewhere/records/RESULTS.md").read_text(encoding="utf-8")
    assert Path("RESULTS.md").read_text(encoding="utf-8") == "kept"


@pytest.mark.usefixtures("fresh")
def test_explicit_setting_wins_over_the_shrinking_of_a_smoke_run() -> None:
    assert main(["run", "smoke", "--smoke", *SHORT, "--set", "recipe.epochs=1"]) == 0
    (path,) = Path("runs/smoke").rglob("seed-0.json")
    record = read(path)
    assert record["settings"]["recipe"]["epochs"] == len(record["epochs"]) == 1 < smoke.EPOCHS
    assert record["settings"]["recipe"]["batch_size"] == smoke.BATCH


@pytest.fixture
def photos(fresh: Path) -> Path:
    """An image folder of one's own: links to 20 + 5 real photos of each of five classes."""
    source = DATA_ROOT / "cifar100-png"
    if not source.is_dir():
        pytest.skip(f"no real photos: {source} is no folder; set SBA_DATA_ROOT to the folder that holds cifar100-png")
    for split, count in (("train", 20), ("test", 5)):
        for name in PHOTO_CLASSES:
            (fresh / "photos" / split / name).mkdir(parents=True)
            for image in sorted((source / split / name).iterdir())[:count]:
                (fresh / "photos" / split / name / image.name).symlink_to(image)
    return fresh / "photos"


def test_any_image_folder_by_path_is_a_data_set(photos: Path) -> None:
    changed = (f"--set=data.dataset={photos}", "--set=recipe.epochs=1", "--set=recipe.batch_size=50")
    assert main(["run", "cifar10_jpeg_cpu", "--arms", "sba", "--seeds", "0", *changed, *FEW_ATTACKS, *FLOAT32]) == 0
    record = read(Path("results/cifar10_jpeg_cpu/sba/seed-0.json"))
    assert record["status"] == "done"
    assert record["data"]["classes"] == len(PHOTO_CLASSES)
    assert (record["data"]["train_images"], record["data"]["test_images"]) == (100, 25)
    assert record["data"]["synthetic"] is False
