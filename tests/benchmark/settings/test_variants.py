"""Studies derived from a preset: smoke runs, ablations, the trials of a tuning and the study of the best."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from studies.saying import Say
from studies.tiny_study import read

from benchmark.networks.build import build_model
from benchmark.networks.flops import training_flops
from benchmark.runtime.errors import UsageError
from benchmark.settings.load import load_preset, preset_names
from benchmark.settings.plan import make_plan
from benchmark.settings.tuning import search, tuning_of
from benchmark.settings.values import MAX_NAME, MAX_TITLE
from benchmark.settings.variants import (
    DEFAULT,
    ablate,
    at_equal_compute,
    readings,
    renamed,
    shrink,
    study_of,
    trials_preset,
    tuned_preset,
)
from sba import SBA

PRESETS = {name: load_preset(name) for name in preset_names()}
ABLATED = [name for name, preset in PRESETS.items() if preset.ablation]
FEW = ("ablation.attacked_images=8", "ablation.attacks=[{name='apgd_dlr', steps=1}]")
TUNED = [name for name, preset in PRESETS.items() if preset.tuning]


# Smoke runs.


@pytest.mark.parametrize("name", preset_names())
def test_a_smoke_run_is_the_same_study_made_small(name: str) -> None:
    preset = PRESETS[name]
    small = load_preset(name, (), shrink(preset))
    assert small.name == f"{name}-smoke"
    assert (small.recipe.epochs, small.data.train_images, small.seeds) == (2, 600, preset.seeds[:2])
    assert small.arms == preset.arms
    assert [a.name for a in small.evaluation.attacks] == [a.name for a in preset.evaluation.attacks]
    assert load_preset(name, ("recipe.epochs=1",), shrink(preset)).recipe.epochs == 1


def test_a_smoke_run_enlarges_nothing() -> None:
    checks = (
        "{images = 3, square_queries = 4, repeated = 2, long_steps = 2, reference_steps = 1, reference_queries = 2}"
    )
    own = (
        *("data.train_images=100", "data.test_images=50", "recipe.epochs=1", "recipe.batch_size=10"),
        *("evaluation.images=8", "evaluation.batch_size=4", f"evaluation.checks={checks}", *FEW),
        *("ablation.train_images=90", "ablation.validation_images=40", "ablation.epochs=1"),
        *("tuning.trials=1", "tuning.validation_images=30"),
    )
    preset = load_preset("smoke", own)
    small = load_preset("smoke", own, shrink(preset))
    replaced = {"name": small.name, "title": small.title, "seeds": small.seeds}
    evaluation = {"attacks": small.evaluation.attacks}
    same = preset.model_copy(update=replaced | {"evaluation": preset.evaluation.model_copy(update=evaluation)})
    assert small == same


def test_a_smoke_run_has_one_of_its_two_seeds_where_the_study_names_some(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "cifar10_10k_cpu"\nevaluation.checks.seeds = [2, 3]\narms.adversarial.seeds = [4]\n')
    small = load_preset(str(path), (), shrink(load_preset(str(path))))
    assert small.evaluation.checks is not None
    assert (small.seeds, small.evaluation.checks.seeds, small.arms["adversarial"].seeds) == ((0, 1), (0,), (0,))


def test_padding_of_larger_images_is_cut_to_what_a_smoke_runs_have() -> None:
    large = load_preset("cifar10_cpu", ("data.pixels=224", "recipe.padding=40"))
    assert load_preset("cifar10_cpu", (), shrink(large)).recipe.padding == 31


# Ablations.


@pytest.mark.parametrize("name", ABLATED)
def test_every_arm_differs_from_the_default_in_what_it_is_named_after(name: str) -> None:
    preset = PRESETS[name]
    study = ablate(preset)
    assert preset.ablation is not None
    runs = {run.arm: run for run in make_plan(study, None, study.seeds[:1])}
    default = runs.pop(DEFAULT).method
    steps = preset.ablation.train_images // preset.recipe.batch_size * preset.ablation.epochs
    changes = readings(steps, preset.ablation.all_layers)
    controls = {"always": {"p"}, "hard_labels": {"alpha", "kl_weight"}}
    seen = {default}
    for arm, run in runs.items():
        if not arm.startswith("erm"):
            differing = {f.name for f in fields(SBA) if getattr(run.method, f.name) != getattr(default, f.name)}
            assert differing == (controls[arm] if arm in controls else set(changes[arm]))
            seen.add(run.method)
    assert len(seen) == len(changes) + 3  # no two alike
    assert set(runs) == {*changes, *controls, "erm", "erm_equal_compute"} == set(study.analysis.against)


def test_it_is_evaluated_on_validation_images_that_no_arm_trains_on() -> None:
    study = ablate(PRESETS["smoke"])
    assert study.evaluation.split == "validation"
    assert study.analysis.exploratory
    assert study.data.validation_images >= study.evaluation.images


@pytest.mark.parametrize("name", ["cifar10_jpeg_cpu", "cifar10_gpu"])
def test_equal_compute_is_the_flops_of_the_default_to_half_an_epoch(name: str) -> None:
    preset = PRESETS[name]
    assert preset.ablation is not None
    images = torch.randint(256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    model = build_model(preset.model.name, images, 10, 0).to("meta")  # counting needs shapes alone
    image = torch.rand(1, 3, 32, 32, device="meta")
    whole, *behind = training_flops(model, image, [None, *preset.arms["sba"].settings["layers"]]).values()
    spent = preset.ablation.epochs * (1 + 0.5 * sum(behind) / len(behind) / whole)
    assert preset.ablation.equal_compute_epochs == pytest.approx(spent, abs=0.51)


def test_ramps_spend_as_much_as_the_default_within_a_fifth() -> None:
    for name, changes in readings(300, ["stem"]).items():
        if name.startswith("ramp"):
            sba, draws = SBA(layers=("0",), **changes), torch.Generator().manual_seed(0)
            model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
            steps = [sba(model, torch.rand(2, 2), torch.tensor([0, 1]), generator=draws) for _ in range(300)]
            assert sum(step.virtual > 0 for step in steps) == pytest.approx(150, rel=0.2)


@pytest.mark.usefixtures("no_figures")
def test_the_command_trains_rows_and_reports_them_as_exploratory(fresh: Path, say: Say) -> None:
    arms = ("--arms", "default,noise_1,erm_equal_compute", "--seeds", "0,1")
    small = ("ablation.train_images=128", "ablation.epochs=1", "ablation.equal_compute_epochs=2", *FEW)
    said = say("run", "smoke", "--ablation", *arms, *(f"--set={override}" for override in small))
    assert said.code == 0
    assert "Each row minus default: accuracy on the validation images after the last epoch, points" in said.out
    folder = fresh / "results" / "smoke_ablation"
    records = {arm: read(folder / arm / "seed-0.json") for arm in ("default", "noise_1", "erm_equal_compute")}
    assert [len(record["epochs"]) for record in records.values()] == [1, 1, 2]
    assert len({record["order_hash"] for record in records.values()}) == 1
    assert {record["clean"]["n"] for record in records.values()} == {200}
    assert records["noise_1"]["settings"]["arm"]["settings"]["noise"] == 1.0
    assert say("report").code == 0
    assert "Exploratory study `smoke_ablation`" in (folder / "README.md").read_text(encoding="utf-8")
    assert "run smoke --ablation" in (fresh / "results" / "reproduce.md").read_text(encoding="utf-8")


def test_a_smoke_run_of_it_is_tiny(fresh: Path, say: Say) -> None:
    one = ("--arms", "temperature_1", "--seeds", "0", *(f"--set={override}" for override in FEW))
    assert say("run", "smoke", "--ablation", "--smoke", *one).code == 0
    (path,) = fresh.rglob("temperature_1/seed-0.json")
    assert (read(path)["data"]["train_images"], len(read(path)["epochs"])) == (400, 2)  # 400 is its own
    assert path.is_relative_to(fresh / "runs" / "smoke")


# Tunings.


@pytest.mark.parametrize("name", TUNED)
def test_trials_see_no_test_image_and_no_seed_of_a_study(name: str) -> None:
    preset = PRESETS[name]
    trials = trials_preset(preset)
    tuned = tuned_preset(preset, [trial for trial in search(preset) if trial.number == 0])
    assert trials.evaluation.split == "validation"
    assert trials.data.validation_images > 0
    assert trials.data.train_images == preset.data.train_images
    assert trials.analysis.exploratory
    assert not {*trials.seeds} & {*preset.seeds, *tuned.seeds}
    assert not {*tuned.seeds} & {*preset.seeds}
    assert tuned.evaluation.split == preset.evaluation.split == "test"


@pytest.mark.parametrize("name", TUNED)
def test_every_trial_is_a_run_with_its_own_values(name: str) -> None:
    preset = PRESETS[name]
    trials = {trial.name: trial for trial in search(preset)}
    plan = make_plan(trials_preset(preset), None, None)
    assert len({run.identity for run in plan}) == len(plan) == len(trials) * len(tuning_of(preset).seeds)
    for run in plan:
        trial = trials[run.arm]
        assert (run.recipe.learning_rate, run.recipe.weight_decay) == tuple(trial.recipe.values())
        assert run.settings["arm"]["recipe"] == trial.recipe
        assert trial.settings.items() <= run.settings["arm"]["settings"].items()
        # Settings that all arms of a study share stay the preset's, or its records would not belong together.
        assert run.settings["recipe"]["learning_rate"] == preset.recipe.learning_rate


def test_the_study_of_the_best_compares_the_treatment_with_the_others_that_were_tuned() -> None:
    tuned = tuned_preset(PRESETS["smoke"], [trial for trial in search(PRESETS["smoke"]) if trial.number == 1])
    assert (tuned.name, tuned.seeds) == ("smoke_tuned", (100, 101))
    assert (tuned.analysis.treatment, tuned.analysis.against) == ("sba", ("standard", "mixup"))
    assert tuned.arms["mixup"].settings == {"alpha": 0.672}
    assert {run.recipe.weight_decay for run in make_plan(tuned, None, None)} == {0.000482}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cifar10_10k_cpu", "cifar10_10k_tuned_cpu"), ("a_gpu", "a_tuned_gpu"), ("smoke", "smoke_tuned")],
)
def test_the_name_keeps_its_device_at_the_end(name: str, expected: str) -> None:
    assert renamed(name, "tuned") == expected


# All of them.


@pytest.mark.parametrize(
    ("name", "study"),
    [
        ("mine", "mine"),
        ("mine_compute", "mine"),
        ("cifar10_10k_tuning_cpu", "cifar10_10k_cpu"),
        ("cifar10_cpu-smoke", "cifar10_cpu"),
        ("cifar10_cpu-smoke-synthetic", "cifar10_cpu"),
        ("cifar10_cpu-smoke_ablation", "cifar10_cpu"),
        ("smoke-smoke", "smoke"),
    ],
)
def test_a_variant_is_of_its_study(name: str, study: str) -> None:
    assert study_of(name) == study


NO_TABLES = {"ablation": None, "tuning": None}


@pytest.mark.parametrize(
    ("overrides", "derive", "message"),
    [
        ((), ablate, r"preset smoke has no \[ablation\] table"),
        ((), trials_preset, r"preset smoke has no \[tuning\] table"),
        (("analysis.treatment=erm", 'analysis.against=["sba"]'), ablate, "treatment is method 'erm'; only 'sba' has"),
        (
            ("analysis.treatment=erm", 'analysis.against=["sba"]'),
            trials_preset,
            r"tuning\.arms lacks the treatment 'erm'",
        ),
        ((f"name={'x' * MAX_NAME}",), at_equal_compute, f"would have more than {MAX_NAME} characters"),
        ((f"name={'x' * MAX_NAME}",), trials_preset, f"would have more than {MAX_NAME} characters"),
    ],
)
def test_a_study_that_cannot_be_derived_is_refused(overrides: tuple[str, ...], derive: object, message: str) -> None:
    assert callable(derive)
    with pytest.raises(UsageError, match=message):
        derive(load_preset("smoke", overrides) if overrides else PRESETS["smoke"].model_copy(update=NO_TABLES))


def test_a_long_title_is_shortened_where_it_gets_longer() -> None:
    preset = load_preset("smoke", (f"title={'x' * MAX_TITLE}",))
    for study in (ablate(preset), at_equal_compute(preset), load_preset("smoke", (), shrink(preset))):
        assert len(study.title) == MAX_TITLE
