"""The doctor: every line is there whatever is broken, and its estimates count what records count."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from studies.saying import Say

from benchmark.cli import doctor
from benchmark.data.catalogue import DATASETS
from benchmark.networks.build import build_model
from benchmark.records.store import read_study
from benchmark.runtime.console import duration
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.load import load_preset, preset_names
from benchmark.settings.plan import make_plan
from benchmark.speed import estimates

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A millisecond a sample, without measuring it."""
    monkeypatch.setattr(estimates, "seconds_a_sample", lambda *_key, device: 0.001)  # noqa: ARG005


@pytest.mark.usefixtures("instant")
def test_doctor_says_all_there_is_and_ends_with_0(say: Say) -> None:
    (Path("mine") / "cifar10-jpeg" / "train").mkdir(parents=True)
    said = say("doctor", "--data-root", "mine")
    assert (said.code, said.error) == (0, "")
    lines = dict(line.split("  ", 1) for line in said.out.split("\n\n")[0].splitlines())
    assert lines["torch"].strip() == torch.__version__
    for name in (*doctor.PACKAGES, "python", "commit", "devices", "tensorboard", "ray", "torchvision's operators"):
        assert lines[name].strip()
    found = lines["data: cifar10_jpeg"]
    assert "found: " in found
    assert str(Path("mine/cifar10-jpeg/train").absolute()) in found
    assert "not found: no cifar-100-python" in lines["data: cifar100"]
    assert "GB free for" in lines["disk: results"]
    assert "--deterministic" in said.out
    assert "does not promise" in said.out
    assert "an estimate" in said.out
    assert all(f"| {name} " in said.out for name in preset_names())
    assert "unknown (" not in said.out
    assert {path.name for path in Path().iterdir()} == {"mine"}


@pytest.mark.usefixtures("instant")
def test_what_cannot_be_found_out_is_said_in_its_line(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("no\nsuch thing")

    monkeypatch.setattr(doctor, "version", broken)
    monkeypatch.setattr(estimates, "estimates_table", broken)
    monkeypatch.setattr(shutil, "disk_usage", broken)
    said = say("doctor", "--data-root", "nowhere")
    assert said.code == 0
    lines = said.out.splitlines()
    for name in ("torch ", "scipy ", "disk: runs ", "data roots ", "data: cifar10 "):
        (line,) = (line for line in lines if line.startswith(name))
        assert "unknown" in line
    assert "(RuntimeError: no such thing)" in said.out
    assert "(DataError: --data-root names nowhere, which is no folder.)" in said.out


@pytest.mark.usefixtures("instant")
def test_packages_that_do_not_load_cost_their_lines_alone(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("benchmark.runtime.environment", "benchmark.data.load", "benchmark.speed.estimates", "platformdirs"):
        monkeypatch.setitem(sys.modules, module, None)
    said = say("doctor")
    assert said.code == 0
    assert said.out.count("(ModuleNotFoundError: ") >= 8
    assert "GB free" in said.out


@pytest.mark.parametrize(
    ("found", "text"),
    [("", "load"), ("no CUDA", "do not load, and are not needed (no")],
)
def test_operators_say_why_they_do_not_load(monkeypatch: pytest.MonkeyPatch, found: str, text: str) -> None:
    monkeypatch.setattr("benchmark.runtime.torchvision.ensure_importable", lambda: found)
    assert doctor.operators().startswith(text)


def test_tensorboard_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda _name: None)
    assert doctor.optional("tensorboard", "--tensorboard") == "not installed; only --tensorboard needs it"


def test_the_doctor_looks_where_torchvision_puts_cifar() -> None:
    ensure_importable()
    from torchvision.datasets import CIFAR10, CIFAR100

    assert (CIFAR10.base_folder, CIFAR100.base_folder) == (DATASETS["cifar10"].folder, DATASETS["cifar100"].folder)


def test_a_data_root_and_a_cache_that_may_not_be_searched_hide_nothing_else(
    say: Say, close: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    folder = tmp_path / "data" / "cifar10-jpeg" / "train"
    folder.mkdir(parents=True)
    (tmp_path / "home").mkdir()
    close(tmp_path / "home")
    monkeypatch.setattr(doctor, "_times", str)
    said = say("doctor", "--data-root", str(tmp_path / "data"))
    assert f"found: {folder}" in said.out
    assert "not found: no imagenet/train below any data root" in said.out
    assert f"GB free for {tmp_path / 'home' / 'cache'}" in said.out


# Estimates


def test_samples_of_training_are_those_of_the_records_and_samples_of_attacks_bound_them() -> None:
    preset = load_preset("cifar10_jpeg_cpu")
    bound = estimates.attack_samples(preset)
    records = [record for record in read_study(ROOT / "results", preset.name) if record["arm"] in preset.arms]
    assert len(records) > 10
    for record in records:
        (run,) = make_plan(preset, [record["arm"]], [record["seed"]])
        spent = record["cost"]
        assert spent["train_gradients"] == pytest.approx(estimates.training_samples(run), rel=0.02)
        assert spent["attack_gradients"] <= bound


@pytest.mark.parametrize("method", ["batch_augmentation", "stability", "adversarial", "mixup"])
def test_samples_of_training_count_the_virtual_samples_of_a_step(method: str) -> None:
    preset = load_preset("smoke", (f"arms.mine={{method = '{method}', augmentation = 'none'}}", "recipe.epochs=1"))
    (run,) = make_plan(preset, ["mine"], [0])
    images, labels = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    model = build_model("small", (255 * images).byte(), 10, 0)
    step = run.method(model, images, labels, generator=torch.Generator().manual_seed(0))
    whole = 1297 // 64 * 64  # training images of digits
    assert estimates.training_samples(run) == pytest.approx(whole * (1 + step.virtual / 4))


def test_the_table_multiplies_samples_runs_and_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def second(*key: object, device: torch.device) -> float:
        seen.append((*key, device.type))
        return 1.0

    monkeypatch.setattr(estimates, "seconds_a_sample", second)
    rows = {row[0]: row[1:] for row in estimates.estimates_table(torch.device("cpu")).rows}
    assert set(rows) == set(preset_names())
    assert len(seen) == len(set(seen))
    assert ("small", 8, 1, "float32", "cpu") in seen
    # 1,297 digits are 20 batches of 64 for 8 epochs; sba adds half a sample to each.
    assert rows["smoke"][:2] == ["12", duration(20 * 64 * 8 * (3 + 1.5) * 3)]


def test_a_pass_is_timed_in_seconds() -> None:
    for precision in ("float32", "bfloat16"):
        assert 0 < estimates.seconds_a_sample("small", 8, 1, precision, device=torch.device("cpu")) < 1
