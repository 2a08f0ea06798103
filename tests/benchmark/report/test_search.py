"""What a page says of a tuning: the budget, every space, the best trials."""

from benchmark.analysis.trials import TrialRow, Trials
from benchmark.report.search import budget_text, search_table

LOG = {"min": 0.02, "max": 0.5, "scaling": "log"}


def trials(**accuracies: list[float | None]) -> Trials:
    """A search with these accuracies of each arm's trials."""
    rows = [
        TrialRow(
            arm=arm,
            trial=number,
            seed=1000,
            recipe={"learning_rate": 0.1 + number, "weight_decay": 5e-4},
            settings={"layers": ["stem", "block1"]} if arm == "sba" else {},
            accuracy=accuracy,
            settings_hash="0" * 16,
            weights=None,
        )
        for arm, of in accuracies.items()
        for number, accuracy in enumerate(of)
    ]
    budget = {"trials": 3, "seeds": [1000], "epochs": 35, "train_images": 10000, "validation_images": 5000}
    own = {"p": {"min": 0.1, "max": 1.0}, "layers": {"feasible_points": [["stem"], ["stem", "block1"]]}}
    spaces = {arm: own if arm == "sba" else {} for arm in accuracies}
    recipe = {"learning_rate": LOG, "weight_decay": LOG}
    return Trials(preset="p", budget=budget, recipe=recipe, arms=spaces, environment={}, rows=rows)


def test_the_budget_is_the_same_for_every_arm_and_names_images_seeds_and_spaces() -> None:
    text = budget_text(trials(standard=[0.5, 0.6, 0.7]))
    assert "3 trials of 35 epochs on 10,000 images" in text
    assert "5,000 validation images of the training split at seed 1000" in text
    assert "learning rate 0.02 to 0.5 (log); weight decay 0.02 to 0.5 (log)" in text


def test_every_arm_has_its_space_its_spread_and_what_the_best_trial_sets() -> None:
    table = search_table(trials(standard=[0.5, 0.7, 0.6], sba=[0.71, None, 0.65]))
    standard, sba = table.rows
    assert standard == ["`standard`", "-", "3", "50.00", "60.00", "70.00", "learning_rate = 1.1, weight_decay = 0.0005"]
    assert sba[:2] == ["`sba`", "p 0.1 to 1; layers one of [stem], [stem, block1]"]
    assert sba[2:6] == ["3, 1 diverged", "65.00", "65.00", "71.00"]
    assert sba[6] == "learning_rate = 0.1, weight_decay = 0.0005, layers = [stem, block1]"
