"""When a step is augmented: the schedulers, their ramps, and their state over interruptions."""

import copy
import io
import itertools
import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sba_cases import batch, generator, make, network
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


def augmented(steps: int, draws: torch.Generator | None = None, **settings: Any) -> list[bool]:
    """Say of each step whether it was augmented."""
    with torch.random.fork_rng(devices=[]):
        model = nn.Linear(2, 2)
    sba, draws = make(layers=("input",), **settings), draws or generator()
    x, y = torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)
    return [sba(model, x, y, generator=draws).virtual > 0 for _ in range(steps)]


def share(t: int, ramp: str, ramp_steps: int, warmup_steps: int) -> float:
    """Give the share of p at step t (from 0)."""
    if t < warmup_steps:
        return 0.0
    if ramp == "constant":
        return 1.0
    s = min(1.0, (t - warmup_steps) / ramp_steps)
    up = s if ramp.startswith("linear") else (1 - math.cos(math.pi * s)) / 2
    return up if ramp.endswith("up") else 1 - up


@pytest.mark.parametrize("name", ZEROS)
def test_p_zero_is_plain_training_to_the_last_bit(name: str) -> None:
    outcomes = []
    for method in ("plain", "sba"):
        model, (x, y) = nn.Sequential(network(norm=True), nn.Dropout(0.3)), batch()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        sba, draws, losses = make(layers=("0.2",), **ZEROS[name]), generator(), []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            for _ in range(5):
                loss = F.cross_entropy(model(x), y) if method == "plain" else sba(model, x, y, generator=draws).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            outcomes.append([*losses, *model.state_dict().values(), torch.get_rng_state()])
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))
    expected = generator()
    if "scheduler" not in ZEROS[name]:
        for _ in range(5):
            torch.rand(1, generator=expected)
    assert torch.equal(draws.get_state(), expected.get_state())


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 49])
def test_every_nth_step_is_exactly_every_nth(n: int) -> None:
    steps = max(20 * n, 100)
    expected = [t % n == 0 for t in range(1, steps + 1)]
    assert augmented(steps, scheduler="every_nth", p=1 / n) == expected


@pytest.mark.parametrize("p", [0.3, 0.45, 0.7, 0.99])
def test_other_shares_are_kept_and_evenly_spaced(p: float) -> None:
    found = augmented(1000, scheduler="every_nth", p=p)
    assert sum(found) == pytest.approx(1000 * p, abs=1)
    at = [t for t, yes in enumerate(found) if yes]
    gaps = {later - earlier for earlier, later in itertools.pairwise(at)}
    assert gaps <= {math.floor(1 / p), math.ceil(1 / p)}
    for start in range(0, 900, 7):  # nowhere crowded: any window holds its share
        assert abs(sum(found[start : start + 100]) - 100 * p) <= 1 + 1e-6


@pytest.mark.parametrize("warmup_steps", [0, 30])
@pytest.mark.parametrize("ramp", ["constant", "linear_up", "linear_down", "cosine_up", "cosine_down"])
def test_every_nth_follows_the_ramp(ramp: str, warmup_steps: int) -> None:
    ramp_steps = 0 if ramp == "constant" else 150
    settings: dict[str, Any] = {"ramp": ramp, "ramp_steps": ramp_steps, "warmup_steps": warmup_steps}
    found, expected, total = augmented(250, scheduler="every_nth", p=0.6, **settings), 0.0, 0
    for t, yes in enumerate(found):
        expected, total = expected + 0.6 * share(t, **settings), total + yes
        assert abs(total - expected) <= 1 + 1e-6, t


@pytest.mark.parametrize("ramp", ["linear_up", "linear_down", "cosine_up", "cosine_down"])
def test_bernoulli_follows_the_ramp(ramp: str) -> None:
    settings: dict[str, Any] = {"ramp": ramp, "ramp_steps": 400, "warmup_steps": 50}
    found, p = augmented(600, p=0.9, **settings), [0.9 * share(t, **settings) for t in range(600)]
    assert not any(found[:50])
    for start in range(50, 600, 100):  # 0.16 is 3.2 standard errors where they are largest
        assert sum(found[start : start + 100]) / 100 == pytest.approx(sum(p[start : start + 100]) / 100, abs=0.16)


def test_a_ramp_starts_and_ends_where_it_should() -> None:
    ends: dict[str, Any] = {"p": 1.0, "ramp_steps": 1, "warmup_steps": 3}
    assert augmented(8, ramp="linear_up", **ends) == [False] * 4 + [True] * 4
    assert augmented(8, ramp="cosine_up", **ends) == [False] * 4 + [True] * 4
    assert augmented(8, ramp="linear_down", **ends) == [False] * 3 + [True] + [False] * 4
    assert augmented(8, ramp="cosine_down", **ends) == [False] * 3 + [True] + [False] * 4


def test_steps_that_are_not_augmented_draw_the_decision_and_nothing_else() -> None:
    for scheduler, drawn in (("bernoulli", 1), ("every_nth", 0)):
        draws, expected = generator(), generator()
        torch.rand(drawn, generator=expected)
        assert augmented(1, draws, scheduler=scheduler, p=1e-3) == [False]
        assert torch.equal(draws.get_state(), expected.get_state())


def test_the_decisions_of_bernoulli_do_not_depend_on_the_ramps_where_they_agree() -> None:
    plain = augmented(60, p=0.5)
    assert 15 < sum(plain) < 45
    assert augmented(60, p=0.5, kl_ramp_steps=7) == plain
    assert augmented(60, p=0.5, gradient_below=False, alpha=1.0) == plain


def run(sba: SBA, draws: torch.Generator, steps: int) -> list[Tensor]:
    model = network()
    return [sba(model, *batch(), generator=draws).loss.detach() for _ in range(steps)]


def saved_and_loaded(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("at", [1, 5, 11, 24])
@pytest.mark.parametrize("name", STATEFUL)
def test_a_resumed_training_goes_on_as_the_uninterrupted_one(name: str, at: int) -> None:
    whole = run(make(**STATEFUL[name]), generator(), 30)
    first, draws = make(**STATEFUL[name]), generator()
    begun = run(first, draws, at)
    state = saved_and_loaded({"sba": first.state_dict(), "draws": draws.get_state()})
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
    run(sba, draws, 3)
    assert json.dumps(state) == before


def test_a_deep_copy_goes_on_from_the_same_state_with_its_own() -> None:
    model, settings = network(), {"p": 0.25, "scheduler": "every_nth"}
    first = make(**settings)
    run(first, generator(), 2)
    second = copy.deepcopy(first)
    assert second.state_dict() == first.state_dict()
    found = [[sba(model, *batch(), generator=generator()).virtual > 0 for _ in range(6)] for sba in (second, first)]
    assert found == [[False, True, False, False, False, True]] * 2


def test_two_of_the_same_settings_have_their_own_states() -> None:
    first, second = make(p=0.5, scheduler="every_nth"), make(p=0.5, scheduler="every_nth")
    run(first, generator(), 1)
    model = network()
    assert second(model, *batch(), generator=generator()).virtual == 0
    assert first(model, *batch(), generator=generator()).virtual == 8


@pytest.mark.parametrize("state", [{}, {"steps": 3}, {"steps": 3, "credit": 0.5, "more": 1}])
def test_a_state_of_something_else_is_refused(state: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"^state must be what state_dict\(\) returned"):
        SBA(layers=("1",)).load_state_dict(state)
