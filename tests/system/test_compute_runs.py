"""A study at equal compute beside itself at equal epochs, on real digits: run, and reported as finished."""

from pathlib import Path

import pytest
from studies.tiny_study import BATCH, EPOCHS, TINY, path_of, read, run

from benchmark.cli import main

COMPUTE = ("--compute", '--set=compute_arms=["standard", "sba"]')


@pytest.mark.usefixtures("finished", "no_figures")
def test_both_modes_are_run_and_the_report_shows_them_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*COMPUTE, "--arms", "standard", "--seeds", "0") == 0
    assert "smoke_compute: 1 runs" in capsys.readouterr().out
    assert run(*COMPUTE) == 0
    assert "smoke_compute: 4 runs, 1 done, 3 to do" in capsys.readouterr().out

    folder = Path("results/smoke_compute")
    records = {arm: read(folder / arm / "seed-0.json") for arm in ("standard", "sba")}
    assert {path.parent.name for path in folder.glob("*/seed-*.json")} == set(records)
    assert all(record["settings"]["compute"] for record in records.values())
    plain, ours = (records[arm]["cost"]["train_flops"] for arm in ("standard", "sba"))
    assert plain == read(path_of("standard", 0))["cost"]["train_flops"]
    step = 2 * plain / (400 // BATCH * EPOCHS)  # an augmented one costs at most twice a plain one
    assert plain - step < ours < plain + step

    assert main(["report"]) == 0
    pages = [path.read_text(encoding="utf-8") for path in Path().rglob("*.md")]
    (page,) = (text for text in pages if "Equal epochs beside equal compute" in text)
    assert "FLOPs, equal compute" in page
    assert main(["status", "smoke", *TINY, *COMPUTE]) == 0
    assert "Nothing is left to do." in capsys.readouterr().out
