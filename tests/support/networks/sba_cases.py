"""Small networks and batches for the tests of SBA, the activations behind a layer, and what a step is compared with."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sba import SBA, Step

LAYER = "2"  # of `network`; its output enters module 3


def network(norm: bool = False, classes: int = 4) -> nn.Sequential:
    """Return three linear layers, if `norm` with BatchNorm below and above the layer "2"."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = (nn.BatchNorm1d(6), nn.BatchNorm1d(5)) if norm else (nn.Identity(), nn.Identity())
        return nn.Sequential(
            nn.Linear(4, 6), first, nn.Tanh(), nn.Linear(6, 5), second, nn.Tanh(), nn.Linear(5, classes)
        )


def image_network() -> nn.Sequential:
    """Return two convolutions with BatchNorm; the output of "2" enters the second."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
            nn.Conv2d(4, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
        )  # fmt: skip


def colour_network(norm: bool = True) -> nn.Sequential:
    """Return a convolution, if `norm` with BatchNorm, and a linear layer for images of 3 x 6 x 6."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.ReLU(),
            nn.Flatten(), nn.Linear(144, 3),
        )  # fmt: skip


def batch(n: int = 8) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(7)
    return torch.randn(n, 4, generator=draws), torch.randint(3, (n,), generator=draws)


def images(n: int = 8, size: int = 8) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 3, size, size, generator=generator(5)), torch.arange(n) % 4


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(**settings: Any) -> SBA:
    """Return SBA, by default augmenting every step after the layer "2"."""
    defaults: dict[str, Any] = {"layers": (LAYER,), "p": 1.0}
    return SBA(**defaults | settings)


def channels_last(of: Any) -> Any:
    """Return a network or a tensor in this layout (torch annotates it for tensors alone)."""
    return of.to(memory_format=torch.channels_last)


class Seen(NamedTuple):
    """A step, and the inputs of the module after the layer: h (N, ...) and the copies (M, N, ...)."""

    step: Step
    h: Tensor
    virtual: Tensor
    state: Tensor  # of the generator, after the step


def look(sba: SBA, model: nn.Sequential, data: tuple[Tensor, Tensor], seed: int = 3, after: int = 3) -> Seen:
    """Take a step and keep the originals and copies that entered module number `after`."""
    entered: list[Tensor] = []
    handle = model[after].register_forward_pre_hook(lambda _module, inputs: entered.append(inputs[0].detach()))
    draws = generator(seed)
    step = sba(model, *data, generator=draws)
    handle.remove()
    h, *rest = torch.cat(entered).split(len(data[0]))
    return Seen(step, h, torch.stack(rest), draws.get_state())


def divergence(z: Tensor, z_m: Tensor, y: Tensor, **reading: Any) -> Tensor:
    """Return T^2 times the divergence (N, ...) of logits of originals and of a copy, from probabilities; T is 2."""
    if reading.get("soft_label") == "dark_knowledge":
        others = torch.tensor([[c for c in range(z.shape[1]) if c != label] for label in y.tolist()])
        z, z_m = z.gather(1, others), z_m.gather(1, others)
    temperature: float = reading.get("temperature", 2.0)
    mix = reading.get("label_mix", 0.0)
    q, p = torch.softmax(z / temperature, dim=1), torch.softmax(z_m / temperature, dim=1)
    if mix:
        q = (1 - mix) * q + mix * F.one_hot(y, z.shape[1])
    q = q if reading.get("label_gradient") else q.detach()
    forward = (torch.xlogy(q, q) - torch.xlogy(q, p)).sum(1)
    if reading.get("divergence") != "symmetric":
        return temperature**2 * forward
    return temperature**2 * (forward + (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(1)) / 2


def train(model: nn.Module, loss_of: Callable[[], Tensor], steps: int = 5) -> list[Tensor]:
    """Train by momentum SGD; return every step's loss, and the state at the end."""
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), []
    for _ in range(steps):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return [*losses, *model.state_dict().values()]


def gradients(model: nn.Module) -> list[Tensor]:
    """Return copies of all gradients, and clear them."""
    copies = [torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for p in model.parameters()]
    model.zero_grad(set_to_none=True)
    return copies


def traces(model: nn.Module) -> list[Any]:
    """Return the hooks, attributes and modes of all modules, which a step must leave as they were."""
    left = []
    for name, module in model.named_modules():
        hooks = [len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks)]
        momentum = getattr(module, "momentum", None)
        left.append((name, type(module), hooks, sorted(vars(module)), module.training, momentum))
    return left
