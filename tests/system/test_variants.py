"""Studies derived from a preset, run and reported: smoke runs, equal compute, a search and the study of its best."""

from pathlib import Path

import pytest
from networks.few_attacks import FEW_ATTACKS, FLOAT32, NO_CHECKS
from studies.tiny_study import BATCH, EPOCHS, TINY, path_of, read, run

from benchmark.analysis.trials import read_trials
from benchmark.cli import main
from benchmark.settings.load import load_preset

FEW_IMAGES = ("--set=data.train_images=100", "--set=data.test_images=100", "--set=recipe.epochs=1")
COMPUTE = ("--compute", '--set=compute_arms=["standard", "sba"]')
WEAK = (*NO_CHECKS, "--set=analysis.eps=1.0")
SHORT = ("--set=data.train_images=192", "--set=recipe.epochs=1", *WEAK)  # of the search


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
    one = ("--arms", "erm", "--seeds", "0", *WEAK)
    assert main(["run", "smoke", "--smoke", "--results", "elsewhere/records", *one]) == 0
    reports = {Path("RESULTS.md"), Path("elsewhere/records/RESULTS.md")}
    assert set(Path().rglob("RESULTS.md")) == reports
    assert "Smoke run" in Path("elsewhere/records/RESULTS.md").read_text(encoding="utf-8")
    assert Path("RESULTS.md").read_text(encoding="utf-8") == "kept"


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


@pytest.mark.usefixtures("fresh")
def test_trials_are_resumed_chosen_from_and_run_as_a_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "smoke", "--tuning", *SHORT, "--arms", "standard_trial_0,sba_trial_1"]) == 0
    assert main(["tune", "smoke", *SHORT, "--output", "presets"]) == 2
    said = capsys.readouterr().err
    assert "4 of 6 trials of smoke have no record of these settings" in said
    assert "standard_trial_1 seed 1000" in said
    table = Path("results/smoke_tuned/trials.json")
    assert not table.exists()

    first = Path("runs/tuning/smoke_tuning/sba_trial_1/seed-1000.json")
    before = first.read_bytes()
    assert main(["run", "smoke", "--tuning", *SHORT]) == 0
    assert first.read_bytes() == before
    said = capsys.readouterr().out
    assert "6 runs, 2 done, 4 to do" in said
    assert "Warning" not in said  # of weak attacks, which the preset does not have
    assert not Path("results").exists()  # trials stay out of the report
    assert main(["tune", "smoke", "--output", "presets"]) == 2
    assert "6 of 6 trials of smoke have no record of these settings" in capsys.readouterr().err

    assert main(["tune", "smoke", *SHORT, "--output", "presets"]) == 0
    trials = read_trials(table)
    assert [(row["arm"], row["trial"]) for row in trials["rows"]] == [
        (arm, trial) for arm in ("standard", "mixup", "sba") for trial in (0, 1)
    ]
    records = {path.parent.name: read(path) for path in Path("runs/tuning").rglob("seed-1000.json")}
    assert all(record["settings"]["evaluation"]["split"] == "validation" for record in records.values())
    assert all(record["data"]["test_images"] == 200 for record in records.values())
    for row in trials["rows"]:
        assert row["accuracy"] == records[f"{row['arm']}_trial_{row['trial']}"]["last_epoch"]["accuracy"]

    tuned = load_preset("presets/smoke_tuned.toml")
    for arm, spec in tuned.arms.items():
        of_arm = [row for row in trials["rows"] if row["arm"] == arm]
        best = max(of_arm, key=lambda row: row["accuracy"] or 0.0)
        assert spec.recipe is not None
        assert spec.recipe.model_dump() == best["recipe"]
        assert best["settings"].items() <= spec.settings.items()
    text = Path("presets/smoke_tuned.toml").read_bytes()
    assert main(["tune", "smoke", *SHORT, "--output", "presets"]) == 0
    assert Path("presets/smoke_tuned.toml").read_bytes() == text

    assert main(["run", "presets/smoke_tuned.toml", "--arms", "mixup", "--seeds", "100"]) == 0
    record = read(Path("results/smoke_tuned/mixup/seed-100.json"))
    assert record["settings"]["arm"]["recipe"] == tuned.arms["mixup"].recipe.model_dump()  # type: ignore[union-attr]
    assert record["data"]["test_images"] == 500


@pytest.mark.usefixtures("fresh")
def test_smoke_run_of_a_search_is_small_and_lies_with_the_other_smoke_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "smoke", "--tuning", "--smoke", "--set", "tuning.trials=16"]) == 0
    assert "smoke-smoke_tuning: 48 runs" in capsys.readouterr().out
    assert main(["status", "smoke", "--tuning", "--smoke"]) == 0
    assert "smoke-smoke_tuning: 6 runs" in capsys.readouterr().out
