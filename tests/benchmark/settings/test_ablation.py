"""The ablation: an arm for each reading, each unlike the default in that reading alone, on validation images."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from few_attacks import FEW_ATTACKS, FLOAT32
from saying import Say
from tiny_study import read

from benchmark.networks.build import build_model
from benchmark.networks.flops import training_flops
from benchmark.runtime.errors import UsageError
from benchmark.settings.ablation import DEFAULT, ablate, readings
from benchmark.settings.load import load_preset, preset_names
from benchmark.settings.plan import make_plan
from sba import SBA

WITH_TABLE = [name for name in preset_names() if load_preset(name).ablation]


@pytest.mark.parametrize("name", WITH_TABLE)
def test_every_arm_differs_from_the_default_in_what_it_is_named_after(name: str) -> None:
    preset = load_preset(name)
    study = ablate(preset)
    assert preset.ablation is not None
    runs = {run.arm: run for run in make_plan(study, None, study.seeds[:1])}
    default = runs.pop(DEFAULT).method
    assert isinstance(default, SBA)
    steps = preset.ablation.train_images // preset.recipe.batch_size * preset.ablation.epochs
    changes = readings(steps, preset.ablation.all_layers)
    seen = {default}
    for arm, run in runs.items():
        if arm.startswith("erm"):
            continue
        assert isinstance(run.method, SBA)
        differing = {f.name for f in fields(SBA) if getattr(run.method, f.name) != getattr(default, f.name)}
        controls = {"always": {"p"}, "hard_labels": {"alpha", "kl_weight"}}
        assert differing == (controls[arm] if arm in controls else set(changes[arm]))
        seen.add(run.method)
    assert len(seen) == len(changes) + 3  # no two alike
    assert set(runs) == {*changes, "always", "hard_labels", "erm", "erm_equal_compute"} == set(study.analysis.against)


def test_it_is_evaluated_on_validation_images_that_no_arm_trains_on() -> None:
    study = ablate(load_preset("smoke"))
    assert study.evaluation.split == "validation"
    assert study.analysis.exploratory
    assert study.data.validation_images >= study.evaluation.images


@pytest.mark.parametrize("name", ["cifar10_jpeg_cpu", "cifar10_gpu"])
def test_equal_compute_is_the_flops_of_the_default_to_half_an_epoch(name: str) -> None:
    preset = load_preset(name)
    assert preset.ablation is not None
    images = torch.randint(256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    model, image = build_model(preset.model.name, images, 10, 0), torch.rand(1, 3, 32, 32)
    layers = preset.arms["sba"].settings["layers"]
    above = sum(training_flops(model, image, layer) for layer in layers) / len(layers)
    spent = preset.ablation.epochs * (1 + 0.5 * above / training_flops(model, image))
    assert preset.ablation.equal_compute_epochs == pytest.approx(spent, abs=0.51)


def test_ramps_spend_as_much_as_the_default_within_a_fifth() -> None:
    for name, changes in readings(300, ["stem"]).items():
        if not name.startswith("ramp"):
            continue
        sba, draws = SBA(layers=("0",), **changes), torch.Generator().manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
        steps = [sba(model, torch.rand(2, 2), torch.tensor([0, 1]), generator=draws) for _ in range(300)]
        assert sum(step.virtual > 0 for step in steps) == pytest.approx(150, rel=0.2)


def test_a_study_without_an_ablation_or_without_sba_says_so() -> None:
    preset = load_preset("smoke")
    with pytest.raises(UsageError, match=r"preset smoke has no \[ablation\] table"):
        ablate(preset.model_copy(update={"ablation": None}))
    with pytest.raises(UsageError, match="its treatment is method 'erm'; only 'sba' has readings"):
        ablate(load_preset("smoke", ("analysis.treatment=erm", 'analysis.against=["sba"]')))


def test_the_command_trains_rows_and_reports_them_as_exploratory(fresh: Path, say: Say) -> None:
    arms = ("--arms", "default,noise_1,erm,erm_equal_compute", "--seeds", "0,1")
    small = (
        "--set",
        "ablation.train_images=128",
        "--set",
        "ablation.epochs=1",
        "--set",
        "ablation.equal_compute_epochs=2",
    )
    said = say("run", "smoke", "--ablation", *arms, *small)
    assert said.code == 0
    assert "Each row minus default: accuracy on the validation images after the last epoch, points" in said.out
    folder = fresh / "results" / "smoke_ablation"
    records = {arm: read(folder / arm / "seed-0.json") for arm in ("default", "noise_1", "erm", "erm_equal_compute")}
    assert [len(record["epochs"]) for record in records.values()] == [1, 1, 1, 2]
    assert len({record["order_hash"] for record in records.values()}) == 1
    assert {record["clean"]["n"] for record in records.values()} == {200}
    assert records["noise_1"]["settings"]["arm"]["settings"]["noise"] == 1.0
    assert say("report").code == 0
    assert "Exploratory study `smoke_ablation`" in (folder / "README.md").read_text(encoding="utf-8")
    assert "run smoke --ablation" in (fresh / "results" / "reproduce.md").read_text(encoding="utf-8")


def test_a_smoke_run_of_it_is_tiny(fresh: Path, say: Say) -> None:
    one = ("--arms", "temperature_1", "--seeds", "0", *FEW_ATTACKS, *FLOAT32, "--set", "ablation.epochs=1")
    assert say("run", "cifar10", "--ablation", "--smoke", "--synthetic", *one).code == 0
    (path,) = fresh.rglob("temperature_1/seed-0.json")
    assert read(path)["data"]["train_images"] == 600
