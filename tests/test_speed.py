"""The throughput table: a row for each arm, the limit measured on the same network."""

import re

import pytest
import torch

from benchmark import speed
from benchmark.preset_files import load_preset


def test_the_table_has_loop_limit_and_ratio_for_each_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "STEPS", 1)
    monkeypatch.setattr(speed, "REPEATS", 9)  # more turns than the preset has epochs
    monkeypatch.setattr(speed, "SECONDS_WARM", 0)
    monkeypatch.setattr(speed, "load_preset", lambda name, more: load_preset(name, (*more, "recipe.batch_size=16")))
    table = speed.speed_table(torch.device("cpu"))
    rows = re.findall(r"^\| (\w+) .*\|\s+([\d,]+) \|\s+([\d,]+) \|\s+([\d.]+) \|$", table, re.MULTILINE)
    assert [row[0] for row in rows] == list(load_preset("cifar10_jpeg_cpu").arms)
    for _, loop, limit, ratio in rows:
        loop_rate, limit_rate = (float(text.replace(",", "")) for text in (loop, limit))
        assert float(ratio) == pytest.approx(loop_rate / limit_rate, abs=0.01)


def test_the_limit_does_the_work_of_a_step(cpu: torch.device) -> None:
    from benchmark.plan import make_plan
    from benchmark.preset_files import load_preset
    from benchmark.state import start

    run = make_plan(load_preset("cifar10_cpu"), ["standard"], [0])[0]
    data = speed.random_data(8, cpu)
    state = start(run, data, cpu)
    before = [p.detach().clone() for p in state.model.parameters() if p.requires_grad]
    speed.resident_step(run, state, data.train.images.float() / 255, data.train.labels)
    after = [p for p in state.model.parameters() if p.requires_grad]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
