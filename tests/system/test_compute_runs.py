"""A study at equal compute beside itself at equal epochs, on real digits: run, and reported as finished."""

from pathlib import Path

import pytest
from few_attacks import NO_CHECKS
from tiny_study import read

from benchmark.cli import main

STUDY = (
    "smoke",
    "--set=seeds=[0, 1]",
    "--set=data.train_images=256",
    "--set=recipe.epochs=2",
    "--set=data.test_images=100",
    *NO_CHECKS,
    "--set=analysis.eps=1.0",
    '--set=compute_arms=["standard", "sba"]',
)


@pytest.mark.usefixtures("fresh", "no_figures")
def test_both_modes_are_run_and_the_report_shows_them_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *STUDY, "--arms", "standard,sba"]) == 0
    assert main(["run", *STUDY, "--compute", "--arms", "standard", "--seeds", "0"]) == 0
    assert "smoke_compute: 1 runs" in capsys.readouterr().out
    assert main(["run", *STUDY, "--compute"]) == 0
    assert "smoke_compute: 4 runs, 1 done, 3 to do" in capsys.readouterr().out

    folder = Path("results/smoke_compute")
    records = {arm: read(folder / arm / "seed-0.json") for arm in ("standard", "sba")}
    assert {path.parent.name for path in folder.glob("*/seed-*.json")} == set(records)
    assert all(record["settings"]["compute"] for record in records.values())
    plain, ours = (records[arm]["cost"]["train_flops"] for arm in ("standard", "sba"))
    assert plain == read(Path("results/smoke/standard/seed-0.json"))["cost"]["train_flops"]
    step = 2 * plain / (256 // 64 * 2)  # an augmented one costs at most twice a plain one
    assert plain - step < ours < plain + step

    assert main(["report"]) == 0
    pages = {path: path.read_text(encoding="utf-8") for path in Path().rglob("*.md")}
    (page,) = (text for text in pages.values() if "Equal epochs beside equal compute" in text)
    assert "FLOPs, equal compute" in page
    at_compute = main(["status", *STUDY, "--compute"])
    assert at_compute == 0
    assert "Nothing is left to do." in capsys.readouterr().out
