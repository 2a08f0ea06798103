"""docs/cluster.md: its arithmetic follows from what the code counts."""

import re

import pytest
import torch
from studies.saying import PROJECT

from benchmark.networks.build import Normalize
from benchmark.networks.catalogue import NETWORKS
from benchmark.networks.flops import forward_flops, training_flops
from benchmark.settings.load import load_preset
from benchmark.settings.names import look_up
from benchmark.speed.estimates import attack_samples

PAGE = (PROJECT / "docs" / "cluster.md").read_text(encoding="utf-8")
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
