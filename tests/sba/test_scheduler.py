"""When a step is augmented and behind which layer: the schedulers, their ramps, and their state over interruptions."""

import copy
import io
import json
import math
from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks.sba_cases import batch, generator, make, network, train
from torch import Tensor, nn

from sba import SBA

ZEROS: dict[str, dict[str, Any]] = {
    "p = 0": {"p": 0.0},
    "every n-th, p = 0": {"p": 0.0, "scheduler": "every_nth"},
    "warm-up": {"p": 1.0, "warmup_steps": 5},
    "warm-up, every step": {"p": 1.0, "warmup_steps": 5, "scheduler": "every_nth"},
    "p = 0, everything on": {
        "p": 0.0, "copies": 2, "batchnorm": "originals", "noise_kind": "uniform_ball", "label_gradient": True,
        "similarity_tau": 1.0, "divergence": "symmetric", "alpha": 1.0, "noise_jitter": 0.5, "gradient_below": False,
    },
}  # fmt: skip
STATEFUL: dict[str, dict[str, Any]] = {
    "bernoulli": {"p": 0.5},
    "bernoulli, ramp": {"p": 0.9, "ramp": "linear_up", "ramp_steps": 12, "warmup_steps": 4},
    "every n-th": {"p": 1 / 3, "scheduler": "every_nth"},
    "every n-th, share": {"p": 0.3, "scheduler": "every_nth", "kl_ramp_steps": 16},
    "every n-th, ramp": {"p": 0.8, "scheduler": "every_nth", "ramp": "cosine_down", "ramp_steps": 20},
}
RAMPS = ("linear_up", "linear_down", "cosine_up", "cosine_down")


def augmented(steps: int, draws: torch.Generator | None = None, **settings: Any) -> list[bool]:
    """Return whether each step was augmented."""
    with torch.random.fork_rng(devices=[]):
        model = nn.Linear(2, 2)
    sba, draws = make(layers=("input",), **settings), draws or generator()
    x, y = torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)
    return [sba(model, x, y, generator=draws).virtual > 0 for _ in range(steps)]


def share(t: int, ramp: str, ramp_steps: int, warmup_steps: int) -> float:
    """Return the share of p at step t (from 0)."""
    if t < warmup_steps:
        return 0.0
    if ramp == "constant":
        return 1.0
    s = min(1.0, (t - warmup_steps) / ramp_steps)
    up = s if ramp.startswith("linear") else (1 - math.cos(math.pi * s)) / 2
    return up if ramp.endswith("up") else 1 - up


@pytest.mark.parametrize("name", ZEROS)
def test_p_zero_is_plain_training_to_the_last_bit(name: str) -> None:
    (x, y), sba, draws, outcomes = batch(), make(layers=("0.2",), **ZEROS[name]), generator(), []
    model, twin = (nn.Sequential(network(norm=True), nn.Dropout(0.3)) for _ in range(2))
    losses = {twin: lambda: F.cross_entropy(twin(x), y), model: lambda: sba(model, x, y, generator=draws).loss}
    for trained, loss_of in losses.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            outcomes.append([*train(trained, loss_of), torch.get_rng_state()])
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))
    expected = generator()
    if "scheduler" not in ZEROS[name]:
        for _ in range(5):
            torch.rand(1, generator=expected)
    assert torch.equal(draws.get_state(), expected.get_state())


def test_layers_are_drawn_evenly_and_steps_with_probability_p() -> None:
    model, draws = network(), generator()
    sba = make(layers=("0", "2", "5"), p=0.25)
    layers = Counter(sba(model, *batch(), generator=draws).layer for _ in range(1200))
    assert layers[None] == pytest.approx(900, abs=60)  # 4 standard errors, and 3.7 of each layer's
    assert all(layers[name] == pytest.approx(100, abs=35) for name in ("0", "2", "5"))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 49])
def test_every_nth_step_is_exactly_every_nth(n: int) -> None:
    steps = max(20 * n, 100)
    expected = [t % n == 0 for t in range(1, steps + 1)]
    assert augmented(steps, scheduler="every_nth", p=1 / n) == expected


@pytest.mark.parametrize(("p", "warmup_steps"), [(0.3, 0), (0.6, 30), (0.99, 30)])
@pytest.mark.parametrize("ramp", ["constant", *RAMPS])
def test_every_nth_keeps_its_share_at_every_step(ramp: str, warmup_steps: int, p: float) -> None:
    ramp_steps = 0 if ramp == "constant" else 150
    settings: dict[str, Any] = {"ramp": ramp, "ramp_steps": ramp_steps, "warmup_steps": warmup_steps}
    found, expected, total = augmented(250, scheduler="every_nth", p=p, **settings), 0.0, 0
    for t, yes in enumerate(found):
        expected, total = expected + p * share(t, **settings), total + yes
        assert abs(total - expected) <= 1 + 1e-6, t


@pytest.mark.parametrize("ramp", ["constant", *RAMPS])
def test_bernoulli_compares_one_uniform_draw_with_the_share_of_the_step(ramp: str) -> None:
    settings: dict[str, Any] = {"ramp": ramp, "ramp_steps": 0 if ramp == "constant" else 40, "warmup_steps": 5}
    sba, model = make(p=0.9, kl_ramp_steps=7, **settings), network()
    for t in range(60):
        step = sba(model, *batch(), generator=generator(t))
        assert (step.virtual > 0) == (float(torch.rand((), generator=generator(t))) < 0.9 * share(t, **settings)), t


def run(sba: SBA, draws: torch.Generator, steps: int) -> list[Tensor]:
    model = network()
    return [sba(model, *batch(), generator=draws).loss.detach() for _ in range(steps)]


@pytest.mark.parametrize("at", [1, 11, 24])
@pytest.mark.parametrize("name", STATEFUL)
def test_a_resumed_training_takes_the_steps_of_an_uninterrupted_one(name: str, at: int) -> None:
    whole = run(make(**STATEFUL[name]), generator(), 30)
    first, draws = make(**STATEFUL[name]), generator()
    begun, file = run(first, draws, at), io.BytesIO()
    torch.save({"sba": first.state_dict(), "draws": draws.get_state()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    again, draws = make(**STATEFUL[name]), generator(99)
    again.load_state_dict(state["sba"])
    draws.set_state(state["draws"])
    assert all(torch.equal(a, b) for a, b in zip(whole, begun + run(again, draws, 30 - at), strict=True))


def test_the_state_is_plain_numbers_and_a_snapshot() -> None:
    sba, draws = make(p=0.3, scheduler="every_nth"), generator()
    run(sba, draws, 3)
    state = sba.state_dict()
    before = json.dumps(state)
    assert all(type(value) in (int, float) for value in state.values())
    run(sba, draws, 3)
    assert json.dumps(state) == before != json.dumps(sba.state_dict())
    sba.load_state_dict(state)
    assert json.dumps(sba.state_dict()) == before


def test_objects_of_the_same_settings_and_deep_copies_have_states_of_their_own() -> None:
    settings = {"p": 0.25, "scheduler": "every_nth"}
    first, fresh = make(**settings), make(**settings)
    run(first, generator(), 2)
    second = copy.deepcopy(first)
    assert second.state_dict() == first.state_dict()
    model = network()
    found = [
        [sba(model, *batch(), generator=generator()).virtual > 0 for _ in range(6)] for sba in (second, first, fresh)
    ]
    assert found == [[False, True, False, False, False, True]] * 2 + [[False, False, False, True, False, False]]


@pytest.mark.parametrize("state", [{}, {"steps": 3}, {"steps": 3, "credit": 0.5, "more": 1}])
def test_any_other_state_is_refused(state: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"^state must be a result of state_dict\(\), like"):
        SBA(layers=("1",)).load_state_dict(state)
