"""Smoke runs, also on made-up images."""

from pathlib import Path

import pytest
from networks.few_attacks import FEW_ATTACKS, FLOAT32, NO_CHECKS
from studies.tiny_study import read

from benchmark.cli import main

FEW_IMAGES = ("--set=data.train_images=100", "--set=data.test_images=100", "--set=recipe.epochs=1")
SHORT = ("--arms", "erm", "--seeds", "0", *NO_CHECKS, "--set=analysis.eps=1.0")


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("name", "arm"),
    [
        ("cifar10", "sba"),
        ("cifar100", "erm"),
        ("cifar10_jpeg", "erm"),
        ("tiny_imagenet_100", "erm"),
        ("tiny_imagenet_100_memory", "erm"),
    ],
)
def test_synthetic_smoke_run_needs_no_data_and_says_so_in_its_report(
    fresh: Path, name: str, arm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ("--arms", arm, "--seeds", "0", "--device", "cpu", *FLOAT32, *FEW_ATTACKS)
    assert main(["run", name, "--smoke", "--synthetic", *one, *FEW_IMAGES]) == 0
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


@pytest.mark.usefixtures("fresh", "no_figures")
def test_smoke_run_with_a_results_folder_reports_inside_it_and_leaves_other_reports_alone() -> None:
    Path("RESULTS.md").write_text("kept", encoding="utf-8")
    assert main(["run", "smoke", "--smoke", "--results", "elsewhere/records", *SHORT]) == 0
    reports = {Path("RESULTS.md"), Path("elsewhere/records/RESULTS.md")}
    assert set(Path().rglob("RESULTS.md")) == reports
    assert "Smoke run" in Path("elsewhere/records/RESULTS.md").read_text(encoding="utf-8")
    assert Path("RESULTS.md").read_text(encoding="utf-8") == "kept"
