"""The trials of a tuning: one table, results/<tuned preset>/trials.json, and the best trial of each arm."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from pydantic import with_config
from typing_extensions import TypedDict

from benchmark.records.schema import STRICT, CountOrZero, Hash, Record, Share, Text
from benchmark.records.store import format_fields, read_record, read_table, record_path
from benchmark.runtime.errors import RunError, UsageError
from benchmark.runtime.files import write_text
from benchmark.settings.plan import make_plan
from benchmark.settings.preset import Preset
from benchmark.settings.tuning import Trial, search, tuning_of
from benchmark.settings.variants import renamed, trials_preset

FILE = "trials.json"


@with_config(STRICT)
class TrialRow(TypedDict):
    """One trial at one seed; `accuracy` in [0, 1] on the validation split after the last epoch, None where it diverged.

    `weights` is the hash of the trained weights.
    """

    arm: Text
    trial: CountOrZero
    seed: CountOrZero
    recipe: dict[str, float]
    settings: dict[str, Any]
    accuracy: Share | None
    settings_hash: Hash
    weights: Hash | None


class Trials(TypedDict):
    """The whole search: its preset, budget and spaces, the environment, and every trial."""

    preset: str
    budget: dict[str, Any]
    recipe: dict[str, Any]
    arms: dict[str, Any]
    environment: dict[str, str]
    rows: list[TrialRow]


def collect(preset: Preset, results: Path) -> Trials:
    """Return the search of a preset from the records of its trials in `results`.

    Raises:
        UsageError: the preset has no `tuning` table; a trial has no record, or one of other settings.
    """
    tuning, study = tuning_of(preset), trials_preset(preset)
    trials = {trial.name: trial for trial in search(preset)}
    records, missing = list[Record](), list[str]()
    for run in make_plan(study, None, None):
        path = record_path(results, study.name, run.arm, run.seed)
        record = read_record(path) if path.is_file() else None
        if record is None or record["settings_hash"] != run.identity:
            missing.append(f"{run.arm} seed {run.seed}")
        else:
            records.append(record)
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(trials) * len(tuning.seeds)} trials of {preset.name} have no record of these "
            f"settings in {results}, first {missing[0]}. Run them: `run --tuning` with the same preset and settings."
        )
    space = tuning.model_dump(mode="json", exclude_defaults=True)
    return Trials(
        preset=preset.name,
        budget={
            "trials": tuning.trials,
            "seeds": list(tuning.seeds),
            "epochs": preset.recipe.epochs,
            "train_images": records[0]["data"]["train_images"],
            "validation_images": records[0]["data"]["test_images"],
        },
        recipe=space["recipe"],
        arms=space["arms"],
        environment=records[0]["environment"],
        rows=[_row_of(trials[record["arm"]], record) for record in records],
    )


def _row_of(trial: Trial, record: Record) -> TrialRow:
    last = record["last_epoch"]
    return TrialRow(
        arm=trial.arm,
        trial=trial.number,
        seed=record["seed"],
        recipe=trial.recipe,
        settings=trial.settings,
        accuracy=last["accuracy"] if last else None,
        settings_hash=record["settings_hash"],
        weights=record.get("final_weights_hash"),
    )


def accuracies(rows: Sequence[TrialRow]) -> dict[tuple[str, int], float | None]:
    """Return (arm, trial) -> accuracy in [0, 1], mean over seeds; None where a seed diverged."""
    found: dict[tuple[str, int], list[float | None]] = {}
    for row in rows:
        found.setdefault((row["arm"], row["trial"]), []).append(row["accuracy"])
    return {key: None if None in values else fmean(cast(list[float], values)) for key, values in found.items()}


def best(rows: Sequence[TrialRow]) -> list[Trial]:
    """Return the trial of each arm with the highest accuracy, the first of equals.

    Raises:
        RunError: every trial of an arm diverged.
    """
    scores, chosen = accuracies(rows), list[Trial]()
    for arm in dict.fromkeys(row["arm"] for row in rows):
        finished = {number: score for (name, number), score in scores.items() if name == arm and score is not None}
        if not finished:
            raise RunError(f"every trial of arm {arm} diverged: its search space has no usable point.")
        number = max(finished, key=lambda number: (finished[number], -number))
        row = next(row for row in rows if (row["arm"], row["trial"]) == (arm, number))
        chosen.append(Trial(arm, number, row["recipe"], row["settings"]))
    return chosen


def trials_path(preset: Preset, results: Path) -> Path:
    """Return the file of a preset's search, in the folder of the study of its best trials."""
    return results / renamed(preset.name, "tuned") / FILE


def write_trials(path: Path, trials: Trials) -> None:
    """Write a search as JSON, a line for each trial.

    Raises:
        OSError: what writing raised.
    """
    write_text(path, format_fields(trials))


def read_trials(path: Path) -> Trials:
    """Read a search.

    Raises:
        RunError: the file is damaged.
    """
    return cast(Trials, read_table(path, TrialRow, "`nox -s tuning`"))
