"""The loop that most people write: it trains as ours does, and its clock starts when its workers are ready."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from benchmark.settings.load import load_preset
from benchmark.speed import common_loop, throughput

CPU = torch.device("cpu")
SMALL = ("recipe.batch_size=8", "recipe.epochs=9999", "recipe.precision='float32'")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common_loop, "IMAGES", 40)
    monkeypatch.setattr(common_loop, "cores", lambda: 1)


@pytest.mark.parametrize("source", ["PNG files", "arrays in memory"])
def test_the_images_are_those_of_the_source_cropped_and_normalised(source: str, tmp_path: Path) -> None:
    found = common_loop.make_dataset(source, tmp_path)
    assert len(found) == 40  # type: ignore[arg-type]
    image, label = found[7]
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.float32
    assert label in range(10)
    values = image * torch.tensor(common_loop.STD)[:, None, None] + torch.tensor(common_loop.MEAN)[:, None, None]
    whole = (values * 255).round()
    assert torch.allclose(values * 255, whole, atol=1e-3)  # whole pixel values, from 0 to 255
    assert 0 <= whole.min() < whole.max() <= 255
    assert len(list(tmp_path.rglob("*.png"))) == (40 if source == "PNG files" else 0)


def test_it_takes_as_many_steps_as_ours_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    run = throughput.run_of(load_preset("cifar10_cpu", SMALL), "erm")
    steps: list[int] = []
    real = torch.optim.SGD.step

    def counted(optimizer: torch.optim.SGD, closure: None = None) -> object:
        steps.append(1)
        return real(optimizer, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", counted)
    images = np.zeros((16, 32, 32, 3), np.uint8)
    dataset: Dataset[tuple[torch.Tensor, int]] = common_loop.Decoded(
        images, np.zeros(16, np.int64), lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    )
    seconds = common_loop.common_seconds(run, dataset, 3, CPU)
    assert seconds > 0
    assert len(steps) == common_loop.PREFETCH + 3


def test_a_round_compares_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    run = throughput.run_of(load_preset("cifar10_cpu", SMALL), "erm")
    monkeypatch.setattr(throughput, "steps_of_a_turn", lambda _step, _device: 2)
    monkeypatch.setattr(common_loop, "timed", lambda work, _device: (work(), 4.0)[1])
    monkeypatch.setattr(common_loop, "common_seconds", lambda _run, _dataset, steps, _device: 4.0 * steps)
    assert common_loop.measure(run, "arrays in memory", CPU) == [(4.0, 2.0)] * common_loop.ROUNDS


def test_on_a_cpu_the_large_network_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common_loop, "measure", lambda *_: [(300.0, 100.0), (200.0, 100.0), (150.0, 100.0)])
    lines = list(common_loop.common_lines(CPU))
    assert [(line["what"].split(",")[0], line["ratio"], line["verdict"]) for line in lines] == [
        ("fast", 2.0, "met"), ("fast", 2.0, "met"),
        ("preact_resnet18", None, "not judged here"), ("preact_resnet18", None, "not judged here"),
    ]  # fmt: skip
    assert {line["target"] for line in lines} == {"at least 1.00", "at least 5.00"}
