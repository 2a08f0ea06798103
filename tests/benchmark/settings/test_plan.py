"""Plans: which runs a preset asks for, and what their identity covers."""

from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest

from benchmark.records.store import read_study
from benchmark.runtime.errors import UsageError
from benchmark.settings.load import load_preset, preset_names
from benchmark.settings.methods import METHODS
from benchmark.settings.names import Row
from benchmark.settings.plan import Run, make_plan

ROOT = Path(__file__).parents[3]


def planned(name: str, arm: str, *overrides: str, seed: int = 0) -> Run:
    return make_plan(load_preset(name, overrides), [arm], [seed])[0]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_of_the_package_is_a_plan(name: str) -> None:
    preset = load_preset(name)
    plan = make_plan(preset, None, None)
    assert len(plan) == sum(len(arm.seeds or preset.seeds) for arm in preset.arms.values())
    assert len({run.identity for run in plan}) == len(plan)
    assert [run.seed for run in plan] == sorted(run.seed for run in plan)
    tested = {preset.analysis.treatment, *preset.analysis.against, *preset.analysis.relatives}
    shown = {"adversarial", "always", "sba_similarity"}  # beside the others, for the attacks, the cost and a reading
    assert set(preset.arms) - shown <= tested <= set(preset.arms)


def test_an_arm_runs_at_its_own_seeds() -> None:
    preset = load_preset("cifar10_10k_cpu")
    seeds = {arm: [run.seed for run in make_plan(preset, [arm], None)] for arm in ("sba", "adversarial")}
    assert seeds == {"sba": [0, 1, 2, 3, 4, 5, 6, 7], "adversarial": [0]}


def test_arms_that_run_at_none_of_the_seeds_are_refused() -> None:
    with pytest.raises(UsageError, match=r"run at seeds of their own, none of which is named: adversarial at 0\."):
        make_plan(load_preset("cifar10_10k_cpu"), ["adversarial"], [1])


@pytest.mark.parametrize("official", ["cifar10_cpu", "cifar10_10k_cpu", "cifar100_cpu"])
def test_on_the_official_data_nothing_is_chosen_that_was_not_frozen_on_jpeg_images(official: str) -> None:
    ours, frozen = load_preset(official), load_preset("cifar10_jpeg_cpu")
    lengths_and_precision = {"epochs": frozen.recipe.epochs, "precision": frozen.recipe.precision}
    assert ours.recipe.model_copy(update=lengths_and_precision) == frozen.recipe
    assert ours.recipe.precision == "float32"  # fast on every processor; chosen by speed, not by accuracy
    assert all(ours.arms[name].settings == arm.settings for name, arm in frozen.arms.items() if name in ours.arms)
    assert "seconds" not in ours.analysis.endpoints


def test_tiny_imagenet_is_streamed_as_imagenet_or_a_study_in_memory_with_arms_at_all_seeds() -> None:
    streamed, study = load_preset("tiny_imagenet_100_cpu"), load_preset("tiny_imagenet_100_memory_cpu")
    assert (streamed.data.streamed, study.data.streamed) == (True, False)
    assert set(study.arms) == {"erm", "standard", "mixup", "sba", "hard_labels_mean"}
    assert len(make_plan(study, None, None)) == 5 * 5
    assert set(study.analysis.against) == set(study.arms) - {"sba"}


# Identity.


def test_identity_changes_with_every_setting_and_the_seed_and_nothing_else() -> None:
    def identity(*overrides: str, seed: int = 0) -> str:
        return planned("smoke", "sba", *overrides, seed=seed).identity

    base = identity()
    assert base == identity() == identity("title='another'") == identity("analysis.margin=2.0")
    assert base == identity("arms.sba.settings.temperature=2.0")  # the method's default
    changed = [
        identity("recipe.epochs=9"), identity("arms.sba.settings.p=0.4"), identity("data.split_seed=1"),
        identity("evaluation.images=65"), identity("model.name=fast"), identity(seed=1),
    ]  # fmt: skip
    assert len({base, *changed}) == 7


def test_settings_that_came_later_leave_the_identity_of_committed_records_as_it_is() -> None:
    records = read_study(ROOT / "results", "cifar10_jpeg_10k_cpu")
    assert len(records) > 10
    for record in records:
        run = planned("cifar10_jpeg_10k_cpu", record["arm"], seed=record["seed"])
        assert run.identity == record["settings_hash"]
        assert run.settings == record["settings"]


@pytest.mark.parametrize(
    ("arm", "overrides", "table", "later"),
    [
        ("erm", ("data.streamed=true",), "data", {"streamed": True}),
        ("erm", ("data.streamed=true", "data.resize=40"), "data", {"streamed": True, "resize": 40}),
        ("erm", ("data.synthetic=true",), "data", {"synthetic": True}),
        ("erm", ("recipe.drops=[0.5]", "recipe.accumulate=2"), "recipe", {"drops": [0.5], "accumulate": 2}),
        ("erm", ("recipe.compile=true",), "recipe", {"compile": True}),
        ("erm", ("evaluation.checks.seeds=[0]",), "evaluation.checks", {"seeds": [0]}),
        ("hard_labels", ("arms.hard_labels.settings.hard_labels=mean",), "arm.settings", {"hard_labels": "mean"}),
        ("hard_labels", ("arms.hard_labels.settings.hard_labels=sum",), "arm.settings", {}),
    ],
)
def test_identity_has_the_later_settings_where_they_are_used(
    arm: str, overrides: tuple[str, ...], table: str, later: dict[str, Any]
) -> None:
    base, used = planned("cifar10_jpeg_cpu", arm), planned("cifar10_jpeg_cpu", arm, *overrides)
    before, after = (reduce(getitem, table.split("."), run.settings) for run in (base, used))
    assert after == before | later
    assert (used.identity == base.identity) == (not later)


def test_the_costly_checks_run_at_the_seeds_that_are_named_or_all() -> None:
    every, some = load_preset("cifar10_jpeg_cpu"), load_preset("cifar10_jpeg_cpu", ("evaluation.checks.seeds=[0]",))
    assert [every.evaluation.is_checked(seed) for seed in (0, 1)] == [True, True]
    assert [some.evaluation.is_checked(seed) for seed in (0, 1)] == [True, False]


# Methods of other packages.


@dataclass(frozen=True)
class Unbounded:
    """A default that JSON has no number for."""

    clip: float = float("inf")


@dataclass(frozen=True)
class Unnamed:
    """A setting of a type that no file holds."""

    layers: set[str] = field(default_factory=lambda: {"stem"})


@pytest.mark.parametrize("kind", [Unbounded, Unnamed])
def test_a_method_whose_settings_no_record_could_hold_is_refused_before_it_trains(
    monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    monkeypatch.setitem(METHODS, "theirs", Row("theirs:Method", "elsewhere"))
    monkeypatch.setattr("benchmark.settings.plan.look_up", lambda _name, _rows: kind)
    preset = load_preset("smoke")
    arms = preset.arms | {"erm": preset.arms["erm"].model_copy(update={"method": "theirs"})}
    with pytest.raises(UsageError, match=r"arms\.erm\.method = 'theirs': its settings must be finite numbers"):
        make_plan(preset.model_copy(update={"arms": arms}), ["erm"], None)
