"""From the trials of a search to the study of the best ones, on real digits."""

from pathlib import Path

import pytest
from networks.few_attacks import NO_CHECKS
from studies.tiny_study import read

from benchmark.analysis.trials import read_trials
from benchmark.cli import main
from benchmark.settings.load import load_preset

SHORT = ("--set", "data.train_images=192", "--set", "recipe.epochs=1", *NO_CHECKS, "--set", "analysis.eps=1.0")
TABLE = Path("results/smoke_tuned/trials.json")


@pytest.mark.usefixtures("fresh")
def test_trials_are_resumed_chosen_from_and_run_as_a_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "smoke", "--tuning", *SHORT, "--arms", "standard_trial_0,sba_trial_1"]) == 0
    assert main(["tune", "smoke", *SHORT, "--output", "presets"]) == 2
    said = capsys.readouterr().err
    assert "4 of 6 trials of smoke have no record of these settings" in said
    assert "standard_trial_1 seed 1000" in said
    assert not TABLE.exists()

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
    trials = read_trials(TABLE)
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
