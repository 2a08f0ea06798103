"""SBA against its formula, written out here independently, and its exact degenerate cases."""

from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.erm import ERM
from benchmark.runtime.torchvision import ensure_importable
from sba import SBA, Step
from sba.scheduler import SchedulerState, augments
from sba.soft_label import soft_label_loss
from sba.vicinity import virtual_activations


def network(norm: bool = False) -> nn.Sequential:  # three linear layers; "2" is the first activation
    torch.manual_seed(0)
    middle = nn.BatchNorm1d(6) if norm else nn.Identity()
    return nn.Sequential(nn.Linear(4, 6), middle, nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def batch() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(7)
    return torch.randn(8, 4, generator=draws), torch.randint(3, (8,), generator=draws)


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def step(sba: SBA, model: nn.Module, seed: int = 3) -> Step:
    return sba(model, *batch(), generator=generator(seed))


def test_the_loss_is_the_formula() -> None:
    model, (x, y) = network(), batch()
    sba = SBA(layers=("2",), p=1.0, noise=0.3, copies=2, alpha=0.7, kl_weight=1.5, temperature=4.0)
    seen: list[Tensor] = []
    handle = model[3].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach()))
    result = step(sba, model)
    handle.remove()
    h, copies = seen[0][:8], seen[0][8:].view(2, 8, 6)
    layers = list(model.children())
    below, above = nn.Sequential(*layers[:3]), nn.Sequential(*layers[3:])
    assert torch.equal(h, below(x))
    z = above(h)
    q = torch.softmax(z / 4.0, dim=1)
    expected = F.cross_entropy(z, y)
    for virtual in copies:
        z_m = above(virtual)
        divergence = (q * (q.log() - torch.log_softmax(z_m / 4.0, dim=1))).sum(1).mean()
        expected = expected + (0.7 * F.cross_entropy(z_m, y) + 1.5 * 4.0**2 * divergence) / 2
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(result.logits, z)
    assert (result.virtual, result.layer) == (16, "2")


def test_noise_has_the_activations_scale_and_memory_format() -> None:
    h = torch.randn(64, 8, 9, 9).mul(3).add(1).to(memory_format=torch.channels_last)
    delta = virtual_activations(h, 3, noise=0.5).activations - h
    assert float(delta.mean()) == pytest.approx(0, abs=0.02)
    assert float(delta.std()) == pytest.approx(0.5 * float(h.std()), rel=0.02)
    assert delta.is_contiguous(memory_format=torch.channels_last)


def test_copies_are_different_draws_around_the_same_originals() -> None:
    h = torch.randn(5, 4)
    first, second = virtual_activations(h, 3, noise=0.1, copies=2).activations.chunk(2)
    assert not torch.equal(first, second)
    torch.testing.assert_close(first, h, atol=1.0, rtol=0)


def test_p_zero_is_plain_training_to_the_last_bit() -> None:
    losses = {}
    methods: dict[str, Any] = {"erm": ERM(), "sba": SBA(layers=("2",), p=0.0)}
    for name, method in methods.items():
        model, draws = network(norm=True), generator()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        trace = []
        for _ in range(5):
            result = method(model, *batch(), generator=draws)
            optimizer.zero_grad()
            result.loss.backward()
            optimizer.step()
            trace.append(result.loss.detach().clone())
        losses[name] = [*trace, *model.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(losses["erm"], losses["sba"], strict=True))


def test_without_weights_and_batchnorm_it_is_plain_training_to_the_last_bit() -> None:
    model = network()
    plain = ERM()(model, *batch(), generator=generator())
    result = step(SBA(layers=("2",), p=1.0, kl_weight=0.0, alpha=0.0), model)
    assert torch.equal(result.loss, plain.loss)


def test_without_noise_the_divergence_is_zero() -> None:
    model = network()
    plain = ERM()(model, *batch(), generator=generator())
    result = step(SBA(layers=("2",), p=1.0, noise=0.0), model)
    torch.testing.assert_close(result.loss, plain.loss, atol=1e-6, rtol=0)


def test_no_gradient_flows_through_the_soft_label() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    virtual = torch.randn(4, 3, requires_grad=True)
    soft_label_loss(logits, virtual, torch.arange(4) % 3, temperature=2.0).backward()
    assert logits.grad is None
    assert virtual.grad is not None
    assert float(virtual.grad.abs().sum()) > 0


def test_gradient_flows_below_the_layer() -> None:
    model = network()
    result = step(SBA(layers=("2",), p=1.0, kl_weight=1.0), model)
    (result.loss - F.cross_entropy(result.logits, batch()[1])).backward()
    gradient = model[0].weight.grad
    assert isinstance(gradient, Tensor)
    assert float(gradient.abs().sum()) > 0


def test_layers_below_run_on_the_originals_alone_and_above_on_all() -> None:
    model, rows = network(), dict[int, int]()
    for i, module in enumerate(model):
        module.register_forward_pre_hook(lambda _m, inputs, i=i: rows.update({i: len(inputs[0])}))
    step(SBA(layers=("2",), p=1.0, copies=3), model)
    assert [rows[i] for i in range(6)] == [8, 8, 8, 32, 32, 32]


def test_layers_are_drawn_evenly_and_steps_with_probability_p() -> None:
    model, draws = network(), generator()
    sba = SBA(layers=("0", "2", "4"), p=0.25)
    layers = Counter(sba(model, *batch(), generator=draws).layer for _ in range(1200))
    assert layers[None] == pytest.approx(900, abs=60)
    assert all(layers[name] == pytest.approx(100, abs=35) for name in ("0", "2", "4"))


def test_the_scheduler_draws_once_whatever_p_is() -> None:
    states = []
    for p in (0.0, 0.5, 1.0):
        draws = generator()
        augments("bernoulli", p, SchedulerState(), draws)
        states.append(draws.get_state())
    assert all(torch.equal(states[0], state) for state in states)
    for seed in range(50):
        assert augments("bernoulli", 1.0, SchedulerState(), generator(seed))
        assert not augments("bernoulli", 0.0, SchedulerState(), generator(seed))


def test_the_same_generator_state_gives_the_same_step() -> None:
    model, sba = network(), SBA(layers=("0", "2"), p=1.0)
    first, second, other = (step(sba, model, seed).loss for seed in (1, 1, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_model_is_left_without_hooks_even_when_it_raises() -> None:
    class BrokenError(Exception):
        pass

    def fail(*_: object) -> None:
        raise BrokenError

    model = network()
    handle = model[4].register_forward_pre_hook(fail)
    with pytest.raises(BrokenError):
        step(SBA(layers=("2",), p=1.0), model)
    handle.remove()
    assert all(not module._forward_hooks for module in model.modules())
    assert model(batch()[0]).shape == (8, 3)


def test_an_unknown_layer_is_named_with_its_neighbours() -> None:
    model = nn.Sequential()
    model.add_module("layer1", nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"no layer 'layer7'.*'layer1'"):
        SBA(layers=("layer7",)).check(model)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x + self.inside(x))
        return logits


def test_a_layer_inside_a_skip_connection_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"after layer 'inside'.*skip connection"):
        step(SBA(layers=("inside",), p=1.0), Residual())


def test_a_layer_that_runs_twice_is_refused() -> None:
    shared = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="'0' is called more than once"):
        step(SBA(layers=("0",), p=1.0), nn.Sequential(shared, shared, nn.Linear(4, 3)))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("p", 1.5),
        ("p", float("nan")),
        ("noise", -0.1),
        ("noise", float("inf")),
        ("copies", 0),
        ("copies", 1.5),
        ("alpha", -1.0),
        ("kl_weight", -1.0),
        ("temperature", 0.0),
        ("layers", ()),
        ("layers", "layer1"),
    ],
)
def test_a_setting_out_of_range_names_itself(setting: str, value: object) -> None:
    settings: dict[str, Any] = {"layers": ("2",), setting: value}
    with pytest.raises(ValueError, match=rf"^{setting} must be"):
        SBA(**settings)


def test_torchvisions_resnet18_works_unmodified() -> None:
    ensure_importable()
    from torchvision.models import resnet18

    with torch.random.fork_rng(devices=[]):
        model = resnet18(num_classes=4)
    draws = generator()
    images, labels = torch.rand(2, 3, 32, 32, generator=draws), torch.tensor([0, 3])
    result = SBA(layers=("layer1", "layer2"), p=1.0)(model, images, labels, generator=draws)
    result.loss.backward()
    assert result.logits.shape == (2, 4)
    assert result.virtual == 2
    assert all(bool(p.grad is not None and p.grad.isfinite().all()) for p in model.parameters())
