"""PGD adversarial training: the attack against a plain recomputation, and the state of the network after it."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks.sba_cases import colour_network as network
from networks.sba_cases import generator
from processes.process_groups import in_process_group
from torch import Tensor, nn

from baselines.adversarial import Adversarial


def images(n: int = 8) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 3, 6, 6, generator=generator(3)).mul(1.4).sub(0.2).clamp(0, 1), torch.arange(n) % 3


def running(model: nn.Module) -> list[Tensor]:
    return [buffer.clone() for buffer in model.buffers()]


def test_the_attack_is_its_formula_example_by_example() -> None:
    model, (x, y) = network(norm=False), images()
    method = Adversarial(eps=10.0, steps=3, step_size=4.0)
    found = method.attack(model, x, y, generator(5))
    seed = int(torch.randint(2**62, (), generator=generator(5)))
    start = torch.empty_like(x).uniform_(-10 / 255, 10 / 255, generator=generator(seed))
    for i in range(len(x)):
        adversarial = (x[i : i + 1] + start[i : i + 1]).clamp(0, 1)
        for _ in range(3):
            adversarial = adversarial.detach().requires_grad_()
            F.cross_entropy(model(adversarial), y[i : i + 1]).backward()
            assert adversarial.grad is not None
            moved = adversarial.detach() + 4 / 255 * adversarial.grad.sign()
            moved = torch.maximum(torch.minimum(moved, x[i : i + 1] + 10 / 255), x[i : i + 1] - 10 / 255)
            adversarial = moved.clamp(0, 1)
        torch.testing.assert_close(found[i : i + 1], adversarial)
    assert not found.requires_grad


@pytest.mark.parametrize("compiled", [False, True])
def test_it_trains_on_the_adversarial_images_alone_which_alone_enter_running_statistics(compiled: bool) -> None:
    model, (x, y) = network(), images()
    before = running(model)
    trained: Any = torch.compile(model, backend="eager") if compiled else model
    found = Adversarial().attack(trained, x, y, generator(2))
    assert all(map(torch.equal, before, running(model)))
    step = Adversarial()(trained, x, y, generator=generator(2))
    reference = network()
    logits = reference(found)
    assert torch.equal(step.logits, logits)
    assert torch.equal(step.loss, F.cross_entropy(logits, y))
    assert (step.virtual, step.layer) == (7 * 8, "input")
    assert all(map(torch.equal, running(reference), running(model)))


@pytest.mark.parametrize("tracked", [True, False])
def test_an_error_inside_the_attack_leaves_the_network_as_it_was(tracked: bool) -> None:
    class FailsAtTheThird(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 3:
                raise RuntimeError("third call")
            return x

    model = nn.Sequential(*network().children(), FailsAtTheThird())
    norm = model[1] = nn.BatchNorm2d(4, track_running_stats=tracked)
    state = running(model)
    with pytest.raises(RuntimeError, match="third call"):
        Adversarial()(model, *images(), generator=generator())
    assert (norm.track_running_stats, norm.training) == (tracked, True)
    assert all(map(torch.equal, state, running(model)))


def test_the_attack_sees_the_network_in_the_mode_it_is_in() -> None:
    modes = list[bool]()
    for mode in (True, False):
        model = network().train(mode)
        model.register_forward_pre_hook(lambda module, _inputs: modes.append(module.training))
        Adversarial(steps=1).attack(model, *images(), generator(2))
        assert model.training == model[1].training == mode
    assert modes == [True, False]


def test_the_attack_goes_around_distributed_data_parallel(tmp_path: Path) -> None:
    calls = list[str]()

    def work() -> None:
        wrapped = nn.parallel.DistributedDataParallel(network())
        wrapped.register_forward_pre_hook(lambda *_: calls.append("wrapped"))
        wrapped.module.register_forward_pre_hook(lambda *_: calls.append("network"))
        Adversarial(steps=3)(wrapped, *images(), generator=generator()).loss.backward()

    in_process_group(tmp_path, work)
    assert calls == ["network"] * 3 + ["wrapped", "network"]
