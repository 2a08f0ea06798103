"""The contract that every registered method keeps; a new row of METHODS is tested by being there."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from networks.method_cases import SETTINGS, batch, generator, network
from processes.process_groups import in_process_group
from torch import nn

from benchmark.settings.methods import METHODS
from benchmark.settings.names import look_up


@pytest.fixture(params=sorted(METHODS))
def method(request: pytest.FixtureRequest) -> Any:
    name: str = request.param
    return look_up(name, METHODS)(**SETTINGS.get(name, {}))


def test_a_step_gives_a_scalar_loss_logits_of_the_batch_and_a_count(method: Any) -> None:
    step = method(network(), *batch(), generator=generator())
    assert step.loss.shape == ()
    assert step.logits.shape == (16, 4)
    assert step.logits.dtype == torch.float32
    assert isinstance(step.virtual, int)
    assert (step.virtual > 0) == (step.layer is not None)


def test_gradients_are_finite(method: Any) -> None:
    model = network()
    method(model, *batch(), generator=generator()).loss.backward()
    assert all(bool(p.grad is not None and p.grad.isfinite().all()) for p in model.parameters())


def test_the_generator_alone_decides(method: Any) -> None:
    losses = []
    for noise in (1, 2):
        torch.manual_seed(noise)  # what the global state is must not matter
        losses.append(method(network(), *batch(), generator=generator(5)).loss)
    assert torch.equal(*losses), "the loss depends on torch's global random state: draw from the generator passed in"


def test_global_random_state_is_untouched(method: Any) -> None:
    before = torch.get_rng_state(), random.getstate()
    method(network(), *batch(), generator=generator())
    assert torch.equal(before[0], torch.get_rng_state()), "torch's global random state was drawn from or seeded"
    assert before[1] == random.getstate(), "the global state of Python's random was drawn from or seeded"


def test_the_loss_falls(method: Any) -> None:
    model, draws = network(), generator()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(80):
        step = method(model, *batch(), generator=draws)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        losses.append(float(step.loss.detach()))
    assert sum(losses[-20:]) / 20 < 0.85 * sum(losses[:8]) / 8


def test_it_works_under_bfloat16_autocast(method: Any) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        step = method(network(), *batch(), generator=generator())
    step.loss.backward()
    assert step.loss.dtype == step.logits.dtype == torch.float32
    assert bool(step.loss.isfinite())


def test_the_default_device_of_torch_changes_nothing(method: Any) -> None:
    model, data, losses = network(), batch(), []
    for device in ("cpu", "meta"):
        draws = generator(5)
        with torch.device(device):
            losses.append([method(model, *data, generator=draws).loss for _ in range(3)])
    assert all(map(torch.equal, *losses))


def test_inputs_are_not_changed(method: Any) -> None:
    images, labels = batch()
    method(network(), images, labels, generator=generator())
    assert torch.equal(images, batch()[0])
    assert torch.equal(labels, batch()[1])


def test_the_model_is_left_as_it_was_but_for_its_running_statistics(method: Any) -> None:
    model = network()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    method(model, *batch(), generator=generator())
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    assert all(parameter.grad is not None and bool((parameter.grad == 3).all()) for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_memory_format_does_not_change_what_is_computed(method: Any) -> None:
    images, labels = batch()
    losses = [
        method(network(), layout, labels, generator=generator()).loss.detach()
        for layout in (images, images.to(memory_format=torch.channels_last))
    ]
    torch.testing.assert_close(*losses, rtol=0.05, atol=0)  # noise is drawn in the order of the memory


def test_it_works_under_distributed_data_parallel(method: Any, tmp_path: Path) -> None:
    def work() -> None:
        plain = network()
        wrapped = nn.parallel.DistributedDataParallel(network())
        for _ in range(2):  # the second step fails where the first left a forward pass without its backward pass
            losses = []
            for model in (plain, wrapped):
                step = method(model, *batch(), generator=generator())
                step.loss.backward()
                losses.append(step.loss.detach())
            assert torch.equal(*losses)
        gradients = [[parameter.grad for parameter in model.parameters()] for model in (plain, wrapped.module)]
        for of_plain, of_wrapped in zip(*gradients, strict=True):
            torch.testing.assert_close(of_plain, of_wrapped)

    in_process_group(tmp_path, work)


def test_it_works_under_torch_compile(method: Any) -> None:
    model: Any = torch.compile(network(), backend="eager")
    model(batch()[0])  # compiled before the method first sees it
    for seed in range(3):
        state = {name: value.clone() for name, value in model._orig_mod.state_dict().items()}
        loss = method(model, *batch(), generator=generator(seed)).loss
        same = network()
        same.load_state_dict(state)
        torch.testing.assert_close(loss, method(same, *batch(), generator=generator(seed)).loss)
