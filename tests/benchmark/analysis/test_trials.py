"""The trials' table, and which trial of each arm is the best."""

from pathlib import Path

import pytest

from benchmark.analysis.trials import FILE, TrialRow, Trials, best, read_trials, write_trials
from benchmark.runtime.errors import RunError
from benchmark.settings.load import PRESETS, load_preset
from benchmark.settings.plan import make_plan

RESULTS = Path(__file__).parents[3] / "results"


def row(arm: str, trial: int, accuracy: float | None, seed: int = 1000) -> TrialRow:
    """A trial whose settings say which it is."""
    recipe = {"learning_rate": 0.1 + trial, "weight_decay": 1e-3}
    return TrialRow(
        arm=arm,
        trial=trial,
        seed=seed,
        recipe=recipe,
        settings={"alpha": trial / 10},
        accuracy=accuracy,
        settings_hash="0" * 16,
        weights=None if accuracy is None else "1" * 16,
    )


def test_the_best_trial_of_each_arm_has_the_highest_mean_accuracy() -> None:
    rows = [
        row("sba", 0, 0.9),
        row("sba", 0, 0.5, 1001),
        row("sba", 1, 0.8),
        row("sba", 1, 0.8, 1001),
        row("erm", 0, 0.1),
    ]
    assert [(trial.arm, trial.number) for trial in best(rows)] == [("sba", 1), ("erm", 0)]
    assert best(rows)[0].settings == {"alpha": 0.1}
    assert best(rows)[0].recipe["learning_rate"] == 1.1


def test_of_equal_trials_the_first_is_taken() -> None:
    assert best([row("sba", 2, 0.5), row("sba", 1, 0.7), row("sba", 3, 0.7)])[0].number == 1


def test_a_trial_that_diverged_at_any_seed_is_spent_and_not_chosen() -> None:
    rows = [row("sba", 0, 0.9), row("sba", 0, None, 1001), row("sba", 1, 0.2), row("sba", 1, 0.3, 1001)]
    assert best(rows)[0].number == 1


def test_an_arm_of_which_every_trial_diverged_has_no_best() -> None:
    with pytest.raises(RunError, match="every trial of arm sba diverged"):
        best([row("erm", 0, 0.5), row("sba", 0, None)])


def test_a_table_is_read_as_it_was_written_a_line_for_each_trial(tmp_path: Path) -> None:
    rows = [row("erm", 0, 0.5), row("sba", 1, None)]
    trials = Trials(preset="p", budget={"trials": 1}, recipe={}, arms={}, environment={"torch": "2"}, rows=rows)
    write_trials(tmp_path / "tuned" / FILE, trials)
    assert read_trials(tmp_path / "tuned" / FILE) == trials
    assert sum(line.startswith('  {"arm"') for line in (tmp_path / "tuned" / FILE).read_text().splitlines()) == 2


def test_the_presets_of_tuned_studies_are_the_best_of_their_committed_trials() -> None:
    tables = sorted(RESULTS.glob(f"*/{FILE}"))
    assert {path.parent.name for path in tables} == {path.stem for path in PRESETS.glob("*_tuned*.toml")}
    for path in tables:
        trials, preset = read_trials(path), load_preset(path.parent.name)
        chosen = {trial.arm: trial for trial in best(trials["rows"])}
        assert chosen.keys() == preset.arms.keys()
        for run in make_plan(preset, None, preset.seeds[:1]):
            assert run.settings["arm"]["recipe"] == chosen[run.arm].recipe
            assert chosen[run.arm].settings.items() <= run.settings["arm"]["settings"].items()
        each = {(row["arm"], row["trial"], row["seed"]) for row in trials["rows"]}
        assert len(each) == len(chosen) * trials["budget"]["trials"] * len(trials["budget"]["seeds"])
        assert not {*trials["budget"]["seeds"]} & {*preset.seeds}
