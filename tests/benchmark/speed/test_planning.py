"""The plan of a thousand runs: its numbers computed again by hand, and the page is what the measured figures give."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from saying import PROJECT

from benchmark.cli.options import parser
from benchmark.runtime.errors import UsageError
from benchmark.runtime.files import save_tensors
from benchmark.settings.load import load_preset
from benchmark.settings.plan import make_plan
from benchmark.speed import planning, resnet50_speed
from benchmark.speed.estimates import attack_samples
from benchmark.speed.planning import Measured, Plan
from benchmark.speed.throughput import random_images

PAGE = (PROJECT / "docs" / "cluster.md").read_text(encoding="utf-8")
FAST: Measured = {
    "device": "a device",
    "device_type": "cuda",
    "threads": "1",
    "torch": "2",
    "date": "2026-01-01",
    "batch": 1,
    "steps": 2,
    "note": "",
    "train": {"erm": 1000.0, "mixup": 800.0, "sba": 500.0},
    "evaluate": 4000.0,
    "attack": 300.0,
}


def test_the_page_is_what_the_measured_figures_give() -> None:
    devices = planning.read(PROJECT / "docs" / "measured.json")
    assert f"{planning.BEGIN}\n\n{planning.computed(Plan(), devices)}\n\n{planning.END}" in PAGE, (
        "run `python -m benchmark.speed.planning` and commit docs/cluster.md"
    )


def test_what_the_page_says_of_the_plan_is_the_plan() -> None:
    plan = Plan()
    assert (plan.runs, plan.devices, plan.epochs, plan.batch, plan.seeds) == (1000, 64, 90, 256, 200)
    assert plan.devices == 8 * plan.devices_per_node
    assert f"{plan.node_mtbf:,.0f} hours" in PAGE
    assert f"{planning.PARAMETERS:,} weights" in PAGE
    assert f"({plan.checkpoint_steps} steps" in PAGE


def test_times_are_images_over_rates() -> None:
    training, evaluation = planning.run_seconds(Plan(), FAST, "sba")
    assert training == pytest.approx(90 * 1_281_167 / 500)
    attacks = attack_samples(load_preset("cifar10_jpeg_cpu")) / 300
    assert evaluation == pytest.approx(90 * 50_000 / 4000 + 1_281_167 / 1000 + attacks)
    images = 90 * 1_281_167 * (400 / 1000 + 200 / 800 + 400 / 500)
    assert planning.study_seconds(Plan(), FAST) == pytest.approx((images + 1000 * evaluation) / 64)


def test_failures_are_nodes_times_time_over_mtbf_and_cost_half_an_interval_and_the_lease() -> None:
    expected, lost = planning.failures(Plan(node_mtbf=100.0), FAST)
    assert expected == pytest.approx(8 * planning.study_seconds(Plan(), FAST) / 3600 / 100)
    assert lost == pytest.approx(8 * (500 * 256 / 500 / 2 + 60))


def test_a_checkpoint_of_resnet50_has_the_size_that_is_planned_with(tmp_path: Path) -> None:
    images = random_images(2, torch.device("cpu"), 64, 1000)
    (run,) = make_plan(load_preset("imagenet"), ["erm"], [0])
    plan, model = Plan(), resnet50_speed.begin(run, images, torch.device("cpu")).model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    position = {"order": torch.arange(plan.train_images), "losses": torch.zeros(plan.train_images // plan.batch)}
    save_tensors(tmp_path / "state.pt", {"model": model.state_dict(), "optimizer": optimizer.state_dict(), **position})
    assert (tmp_path / "state.pt").stat().st_size == pytest.approx(planning.checkpoint_bytes(plan), rel=0.001)


def test_a_record_has_about_the_size_that_is_planned_with() -> None:
    record = PROJECT / "results" / "cifar10_jpeg_cpu" / "sba" / "seed-1.json"
    there = Plan(epochs=7, test_images=10_000)
    assert record.stat().st_size == pytest.approx(planning.record_bytes(there), rel=0.02)


@pytest.mark.parametrize(
    ("seconds", "text"), [(30, "0.5 min"), (5400, "1.5 h"), (216_000, "2.5 days"), (63_115_200, "2.0 years")]
)
def test_times_are_readable(seconds: float, text: str) -> None:
    assert planning.span(seconds) == text


def test_a_gpus_column_is_empty_until_one_is_measured() -> None:
    cpu = FAST | {"device_type": "cpu"}
    assert "| not measured |" in planning.computed(Plan(), [cpu])
    assert "is absurd" in planning.computed(Plan(), [cpu])
    measured = planning.computed(Plan(), [FAST])
    assert "not measured" not in measured
    assert "absurd" not in measured


def test_measuring_adds_a_device_and_renews_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resnet50_speed, "PIXELS", 32)
    monkeypatch.setattr(resnet50_speed, "BATCHES", {"cpu": 2})
    monkeypatch.setattr(resnet50_speed, "STEPS", {"cpu": 2})
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    Path("docs/measured.json").write_text("[]")
    Path("docs/cluster.md").write_text(f"before\n{planning.BEGIN}\nold\n{planning.END}\nafter\n")
    planning.main(["--measure", "cpu", "--note", "quiet"])
    (found,) = planning.read(Path("docs/measured.json"))
    assert (found["device_type"], found["note"], set(found["train"])) == ("cpu", "quiet", {"erm", "mixup", "sba"})
    assert min(*found["train"].values(), found["evaluate"], found["attack"]) > 0
    page = Path("docs/cluster.md").read_text()
    assert page == f"before\n{planning.BEGIN}\n\n{planning.computed(Plan(), [found])}\n\n{planning.END}\nafter\n"


def test_elsewhere_and_on_a_device_that_is_not_there_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="in the root of a checkout"):
        planning.main([])
    with pytest.raises(UsageError, match="--device 'tpu'"):
        resnet50_speed.measure("tpu", "")


def test_the_commands_of_the_page_are_understood() -> None:
    commands = re.findall(r"^    python -m benchmark (.+?)(?:\s+#.*)?$", PAGE, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert parser().parse_args(shlex.split(command)).launcher == "ray"
