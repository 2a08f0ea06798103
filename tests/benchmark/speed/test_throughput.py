"""The training loop beside its limit: which networks and methods, what a round measures, what is predicted."""

from typing import Any

import pytest
import torch

from benchmark.data.load import to_float
from benchmark.networks.flops import share_of_flops
from benchmark.settings.load import load_preset
from benchmark.settings.methods import METHODS
from benchmark.settings.plan import make_plan
from benchmark.speed import throughput
from benchmark.training.state import start

CPU = torch.device("cpu")
SMALL = ("recipe.batch_size=8", "recipe.epochs=1000000", "recipe.precision='float32'")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every work be done, and take as many seconds as there were works before it; list what was timed."""
    done: list[str] = []

    def timed(work: Any, _device: torch.device) -> float:
        work()
        done.append(work.__name__)
        return float(len(done))

    monkeypatch.setattr(throughput, "timed", timed)
    monkeypatch.setattr(throughput, "steps_of_a_turn", lambda _step, _device: 2)
    return done


def test_every_network_and_method_has_a_line_with_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = [throughput.Round(loop, 100.0, predicted) for loop, predicted in ((90, 1.0), (48, 0.5), (70, 0.8))]
    monkeypatch.setattr(throughput, "measure", lambda _run, _device: rounds)
    lines = list(throughput.loop_lines(CPU))
    named = [line["what"] for line in lines]
    assert named == [
        f"{network}, {method}, batch {batch}"
        for network, batch in (("fast", 256), ("preact_resnet18", throughput.CPU_BATCH))
        for method in METHODS
    ]
    assert lines[0]["ratio"] == pytest.approx(0.7)
    assert lines[0]["judged"] == pytest.approx([0.9, 0.875, 0.96])
    assert (lines[0]["target"], lines[0]["verdict"]) == ("at least 0.95", "missed")
    assert lines[0]["figures"] == {"loop, images/s": 70.0, "limit, images/s": 100.0}


def test_a_round_is_the_images_of_a_turn_over_its_seconds_and_the_order_turns(clock: list[str]) -> None:
    preset = load_preset("cifar10_cpu", SMALL)
    run = throughput.run_of(preset, "sba")
    rounds = throughput.measure(run, CPU)
    assert clock == ["loop", "limit", "limit", "loop"] * 2 + ["loop", "limit"]
    assert rounds[0].loop == 16 / 1
    assert rounds[0].limit == 16 / 2
    assert (rounds[1].loop, rounds[1].limit) == (16 / 4, 16 / 3)


def test_the_prediction_follows_the_layers_that_were_drawn(clock: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "ROUNDS", 2)
    changes = ("arms.sba.settings.p=1.0", "arms.sba.settings.layers=['block2']", "arms.sba.settings.copies=2")
    preset = load_preset("cifar10_cpu", (*SMALL, *changes))
    run = throughput.run_of(preset, "sba")
    split = throughput.random_images(8, CPU)
    share = share_of_flops(start(run, throughput.as_data(split), CPU).model, to_float(split.images[:1]), "block2")
    predicted = [r.predicted for r in throughput.measure(run, CPU)]
    assert predicted == pytest.approx([1 / (1 + 2 * share)] * throughput.ROUNDS)
    plain = throughput.measure(throughput.run_of(preset, "mixup"), CPU)
    assert {r.predicted for r in plain} == {1.0}
    assert clock


def test_a_method_is_measured_with_the_standard_augmentation_where_an_arm_has_it() -> None:
    preset = throughput.studies(CPU)[0]
    found = {method: throughput.run_of(preset, method).arm for method in METHODS}
    assert found["erm"] == "standard"
    assert found["sba"] == "sba"
    assert found["batch_augmentation"] == "batch_augmentation"


def test_a_turn_has_as_many_steps_as_fill_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "SECONDS_WARM", 0.0)
    for seconds, steps in ((throughput.SECONDS_A_TURN / 4, 4), (3.0, 2), (1e-9, throughput.MOST_STEPS)):
        taken = iter([9.0, seconds])  # the first step, cold, does not count
        monkeypatch.setattr(throughput, "timed", lambda _work, _device, taken=taken: next(taken))
        assert throughput.steps_of_a_turn(lambda: None, CPU) == steps


def test_the_limit_does_the_work_of_a_step() -> None:
    run = make_plan(load_preset("cifar10_cpu", SMALL), ["standard"], [0])[0]
    split = throughput.random_images(8, CPU)
    state = start(run, throughput.as_data(split), CPU)
    before = [p.detach().clone() for p in state.model.parameters() if p.requires_grad]
    throughput.resident_step(run, state, split.images.float() / 255, split.labels)
    after = [p for p in state.model.parameters() if p.requires_grad]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_time_is_that_of_the_work() -> None:
    import time

    assert 0.02 <= throughput.timed(lambda: time.sleep(0.02), CPU) < 1
