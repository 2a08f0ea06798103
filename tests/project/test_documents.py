"""The documents: commands parse, scripts run as written, settings, claims and sums are those of code and records."""

import re
import shlex
from collections import Counter
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.analysis.comparisons import comparisons, outcome
from benchmark.analysis.exploratory import Contrast, contrasts
from benchmark.analysis.paired import ALPHA
from benchmark.analysis.study import Study, load_study
from benchmark.cli.options import parser
from benchmark.networks.build import Normalize
from benchmark.networks.catalogue import NETWORKS
from benchmark.networks.flops import forward_flops, training_flops
from benchmark.records.outcomes import robust_curve
from benchmark.records.store import read_study
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.load import load_preset
from benchmark.settings.names import look_up
from benchmark.settings.values import Endpoint
from benchmark.settings.variants import readings
from benchmark.speed.estimates import attack_samples
from sba import SBA

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(path for folder in ("docs", "results") for path in (ROOT / folder).rglob("*.md")),
    *(ROOT / name / "README.md" for name in ("sba", "baselines")),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_documents_name_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = re.findall(r"`((?:benchmark|tests|sba|baselines|docs|scripts|results)/[\w./*-]+)`", text)
    assert not [name for name in named if "PRESET/" not in name and not any(ROOT.glob(name.rstrip("/")))]
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    assert not [link for link in links if "://" not in link and not (document.parent / link).exists()]


COMMANDS = [
    (document.relative_to(ROOT).as_posix(), command)
    for document in DOCUMENTS
    for command in re.findall(
        r"^    python -m benchmark (.+?)(?:\s+#.*)?$", document.read_text(encoding="utf-8"), re.MULTILINE
    )
]


@pytest.mark.parametrize(("_document", "command"), COMMANDS)
def test_a_command_of_a_document_is_understood(_document: str, command: str) -> None:
    arguments = shlex.split(command)
    assert parser().parse_args(arguments).command == arguments[0]


def test_the_documents_show_commands() -> None:
    shown = Counter(document for document, _ in COMMANDS)
    assert shown["README.md"] >= 5
    assert shown["docs/cluster.md"] == 2
    assert all("--launcher ray" in command for document, command in COMMANDS if document == "docs/cluster.md")


def script(document: Path) -> str:
    """The only Python script of a document."""
    (found,) = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


@pytest.mark.slow
def test_the_script_of_the_readme_trains_torchvisions_resnet18_on_an_image_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ensure_importable()
    draws = np.random.default_rng(0)
    for label, colour in (("dark", 60), ("light", 200)):
        folder = tmp_path / "images" / "train" / label
        folder.mkdir(parents=True)
        for i in range(16):
            pixels = (colour + draws.integers(-40, 40, (20, 24, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.jpg")
    monkeypatch.chdir(tmp_path)
    text = script(ROOT / "README.md").replace("range(10)", "range(5)")
    assert len(text.splitlines()) <= 25
    names: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(text, names)
    assert names["step"].logits.shape == (32, 2)
    assert sum(p.numel() for p in names["model"].parameters()) > 11e6
    losses = [float(loss) for loss in re.findall(r"^epoch \d+: loss ([\d.]+)$", capsys.readouterr().out, re.MULTILINE)]
    assert len(losses) == 5
    assert min(losses[1:]) < losses[0]


CARD = ROOT / "sba" / "README.md"


def test_the_script_of_the_method_card_runs_as_written() -> None:
    names: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        exec(script(CARD), names)
    assert names["step"].logits.shape == (16, 10)
    assert names["checkpoint"]["sba"]["steps"] == 1


def test_the_method_card_lists_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)`(?: \*)? \| (.*?) \|", CARD.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(rows) == {field.name for field in fields(SBA)}
    for field in fields(SBA):
        number = isinstance(field.default, int | float) and not isinstance(field.default, bool)
        default = f"{field.default:g}" if number else str(field.default)
        assert rows[field.name] == ("none, required" if field.default is MISSING else default)


def test_every_reading_of_the_ablation_is_a_setting_of_the_card() -> None:
    settings = {name for changes in readings(100, ["stem"]).values() for name in changes}
    fixed = {"alpha", "hard_labels", "kl_weight", "p", "ramp_steps"}  # by the controls, or together with another
    assert settings | fixed == {field.name for field in fields(SBA)}


def test_what_the_method_card_says_of_clean_accuracy_and_convergence_is_what_our_records_say() -> None:
    few, all_images = recorded("cifar10_jpeg_10k_cpu"), recorded("cifar10_jpeg_cpu")
    for study, images, epochs in ((few, 10000, 35), (all_images, 50000, 7)):
        assert study.any_record["data"]["train_images"] == images
        assert len(study.any_record["epochs"]) == epochs
    for arm in ("standard", "hard_labels"):
        assert found(few, "clean", arm)[0] == "higher"
        assert found(few, "clean", arm)[1] == pytest.approx(0.5, abs=0.15)
        assert found(all_images, "clean", arm)[0] == "not resolved"
    assert found(few, "learning", "standard")[0].startswith("lower")
    assert -0.5 < found(few, "learning", "standard")[1] < 0
    for study in (few, all_images):
        clean = dict(zip(study.arms, study.values("clean"), strict=True))
        assert (clean["sba_no_augmentation"] < clean["standard"]).all()


@pytest.mark.parametrize("preset", ["cifar10_jpeg_10k_cpu", "cifar10_jpeg_cpu"])
def test_what_the_method_card_says_of_attacks_is_what_our_records_say(preset: str) -> None:
    study = recorded(preset)
    area = dict(zip(study.arms, study.values("area"), strict=True))
    assert all((area["sba"] > area[arm]).all() for arm in study.against)
    eps = np.array([0.0, *study.any_record["settings"]["evaluation"]["eps"]])
    assert eps[-1] == 8
    assert all(robust_curve(run, "Linf", eps)[-1] < 0.2 for run in study.done("sba"))  # %


def recorded(preset: str) -> Study:
    return load_study(preset, read_study(ROOT / "results", preset))


def found(study: Study, endpoint: Endpoint, arm: str) -> tuple[str, float]:
    """The outcome of the comparison with an arm, and the mean difference."""
    pair = comparisons(study, endpoint)[arm]
    assert pair is not None
    return outcome(pair), pair.difference


def test_what_the_method_card_says_of_the_ablation_is_what_its_records_say() -> None:
    name = "cifar10_jpeg_cpu_ablation"
    study = load_study(name, read_study(ROOT / "results", name))
    endpoints: tuple[Endpoint, ...] = ("clean", "area")
    lower = {
        endpoint: {arm for arm, pair in contrasts(study, endpoint).items() if is_sure(pair) and pair.t.difference < 0}
        for endpoint in endpoints
    }
    sure = [arm for endpoint in endpoints for arm, pair in contrasts(study, endpoint).items() if is_sure(pair)]
    assert {"erm", "erm_equal_compute", "layers_blocks", "layers_block2"} <= lower["area"]
    assert not {"erm", "erm_equal_compute"} & lower["clean"]
    assert lower["clean"] == {"alpha_1", "noise_1", "layers_input"}
    assert len(set(sure)) < len(study.against) / 2


def is_sure(pair: Contrast | None) -> TypeGuard[Contrast]:
    return pair is not None and pair.bh is not None and pair.bh < ALPHA


# docs/cluster.md: its arithmetic follows from what the code counts.

PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
N, F, FORWARD, C, R, G, U, M = 1_281_167, 24.3e9, 8.2e9, 1.39, 2470, 30e6, 9.75e12, 50_700


def row(text: str) -> float:
    """The last cell of the table row that begins with a text, as a number."""
    (found,) = re.findall(rf"^\| \*{{0,2}}{re.escape(text)}.* \| \*{{0,2}}([\d,.]+)\*{{0,2}} \|$", PAGE, re.MULTILINE)
    return float(found.replace(",", ""))


def test_the_counted_figures_are_those_of_the_preset() -> None:
    preset = load_preset("imagenet")
    sba, recipe = preset.arms["sba"].settings, preset.recipe
    assert (recipe.epochs, recipe.batch_size, preset.data.pixels) == (90, 256, 224)
    with torch.device("meta"):  # counting needs shapes alone
        image = torch.rand(1, 3, 224, 224)
        model = look_up(preset.model.name, NETWORKS)(Normalize(torch.zeros(3), torch.ones(3)), 1000, image)
    whole, *behind = training_flops(model, image, [None, *sba["layers"]]).values()
    assert whole == pytest.approx(F, rel=0.005)
    assert forward_flops(model.eval(), image) == pytest.approx(FORWARD, rel=0.005)
    assert 1 + sba.get("p", 0.5) * sum(behind) / len(behind) / whole == pytest.approx(C, abs=0.005)
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert 8 * weights == pytest.approx(205e6, rel=0.005)
    assert attack_samples(preset) <= G
    symbols = {
        "N": f"{N:,}",
        "F": "24.3e9",
        "C": f"{C}",
        "R": f"{R:,} images/s",
        "G": "30e6",
        "U": "9.75e12",
        "M": f"{M:,}",
    }
    for symbol, value in symbols.items():
        assert re.search(rf"^\| {symbol}, .* \| {re.escape(value)}", PAGE, re.MULTILINE), symbol


def test_the_hours_follow_from_the_symbols() -> None:
    plain, sba = 90 * N / R / 3600, 90 * N * C / R / 3600
    evaluation = (90 * 50_000 * FORWARD / (R * F) + N / R) / 3600
    attacks = G * 2 * FORWARD / U / 3600
    assert row("training, a run without SBA") == pytest.approx(plain, abs=0.05)
    assert row("training, a run with SBA") == pytest.approx(sba, abs=0.05)
    assert row("test images after each epoch") == pytest.approx(evaluation, abs=0.05)
    assert row("attacks and checks of a run") == pytest.approx(attacks, abs=0.05)
    whole = 200 * (3 * plain + 2 * sba) + 1000 * evaluation
    assert row("1,000 runs, without attacks") == pytest.approx(whole, rel=0.005)
    assert row("1,000 runs, at most") == pytest.approx(whole + 1000 * attacks, rel=0.005)
    assert f"On 64 GPUs that is {whole / 64 / 24:.0f} to {(whole + 1000 * attacks) / 64 / 24:.0f} days" in PAGE
    assert f"{whole / M:.1f} to {(whole + 1000 * attacks) / M:.1f} in the whole study" in PAGE
    assert pytest.approx(54 * 24 * 16_384 / 419, rel=0.001) == M
    assert f"= {250 * 256 / R:.0f} s" in PAGE
