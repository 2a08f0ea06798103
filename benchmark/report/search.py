"""How the arms of a tuned study were tuned: the budget, every search space, and the best trial of each arm."""

from typing import Any

from benchmark.analysis.trials import Trials, accuracies, best
from benchmark.report.tables import Table
from benchmark.report.words import code


def budget_text(trials: Trials) -> str:
    """Say what every arm could spend, on which images it was scored, and what all arms searched."""
    budget = trials["budget"]
    seeds = ", ".join(map(str, budget["seeds"]))
    shared = "; ".join(f"{name.replace('_', ' ')} {space_text(space)}" for name, space in trials["recipe"].items())
    return (
        f"Every arm had the same budget: {budget['trials']} trials of {budget['epochs']} epochs on "
        f"{budget['train_images']:,} images, the points of one scrambled Sobol sequence, scored by clean accuracy on "
        f"{budget['validation_images']:,} validation images of the training split at {seed_word(budget['seeds'])} "
        f"{seeds}. All arms searched {shared}, with the same values in the same trials; beside them each searched its "
        "method's own settings. The best trial of each arm runs here, at seeds that no trial had."
    )


def seed_word(seeds: list[int]) -> str:
    """Return "seed" or "seeds"."""
    return "seed" if len(seeds) == 1 else "seeds"


def search_table(trials: Trials) -> Table:
    """Each arm's own search space, its trials' accuracy in % on the validation images, and what the best one sets."""
    scores, rows = accuracies(trials["rows"]), []
    for trial in best(trials["rows"]):
        of_arm = {number: score for (arm, number), score in scores.items() if arm == trial.arm}
        finished = sorted(100 * score for score in of_arm.values() if score is not None)
        own = "; ".join(f"{name} {space_text(space)}" for name, space in trials["arms"][trial.arm].items())
        values = ", ".join(f"{name} = {value_text(value)}" for name, value in (trial.recipe | trial.settings).items())
        spent = f"{len(of_arm)}" + (f", {len(of_arm) - len(finished)} diverged" if len(finished) < len(of_arm) else "")
        middle = finished[(len(finished) - 1) // 2]
        rows.append(
            [code(trial.arm), own or "-", spent, f"{finished[0]:.2f}", f"{middle:.2f}", f"{finished[-1]:.2f}", values]
        )
    words = ["own search space", "trials", "the best trial sets"]
    return Table(["arm", words[0], words[1], "worst", "median", "best", words[2]], rows, words=words)


def space_text(space: dict[str, Any]) -> str:
    """Write a dimension: "0.1 to 2 (log)" or "one of a, b"."""
    if points := space.get("feasible_points"):
        return f"one of {', '.join(map(value_text, points))}"
    return f"{space['min']:g} to {space['max']:g}" + (" (log)" if space.get("scaling") == "log" else "")


def value_text(value: Any) -> str:
    """Write a value: 0.5, none, [stem, block1]."""
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
