"""mixup, Manifold Mixup and CutMix, example by example against plain recomputation and against torchvision."""

import random

import pytest
import torch
import torch.nn.functional as F
from networks.sba_cases import generator
from torch import Tensor, nn

from baselines.cutmix import CutMix
from baselines.manifold_mixup import ManifoldMixup
from baselines.mixup import Mixup
from benchmark.runtime.torchvision import ensure_importable

DRAWN = 0.3  # lam where a test fixes it


def images(n: int = 6, height: int = 4, width: int = 5) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 3, height, width, generator=generator(3)), torch.arange(n) % 3


def network() -> nn.Sequential:  # "2" is the activation after the hidden layer
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(60, 8), nn.Tanh(), nn.Linear(8, 3))


class Spy(nn.Module):
    """Keeps its inputs; its logits are the first three pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        return x.flatten(1)[:, :3]


def soft_cross_entropy(logits: Tensor, target: list[float]) -> float:
    """Cross-entropy of one example's logits with a soft label, in plain Python."""
    log_p: list[float] = F.log_softmax(logits.detach().double(), dim=-1).flatten().tolist()
    return -sum(q * value for q, value in zip(target, log_p, strict=True))


def mixed_label(first: int, second: int, lam: float) -> list[float]:
    return [lam * (k == first) + (1 - lam) * (k == second) for k in range(3)]


def replayed(alpha: float, replay: torch.Generator) -> tuple[float, list[int]]:
    """Return lam and the partners, as the methods draw them."""
    lam = random.Random(int(torch.randint(2**62, (), generator=replay))).betavariate(alpha, alpha)
    return lam, torch.randperm(6, generator=replay).tolist()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("method", [Mixup(0.4), ManifoldMixup(("input", "1", "2"), 0.4)], ids=["mixup", "manifold"])
def test_mixup_is_its_formula_example_by_example(method: Mixup | ManifoldMixup, seed: int) -> None:
    model, (x, y) = network(), images()
    step = method(model, x, y, generator=generator(seed))
    replay = generator(seed)
    lam, partners = replayed(0.4, replay)
    layers = (0, 2, 3) if isinstance(method, ManifoldMixup) else (0,)  # modules below each mixed activation
    depth = layers[int(torch.randint(len(layers), (), generator=replay))]
    h, total = model[:depth](x), 0.0
    for i, j in enumerate(partners):
        logits = model[depth:]((lam * h[i] + (1 - lam) * h[j])[None])
        torch.testing.assert_close(step.logits[i : i + 1], logits)
        total += soft_cross_entropy(logits, mixed_label(int(y[i]), int(y[j]), lam))
    assert float(step.loss.detach()) == pytest.approx(total / 6, rel=1e-5)


def test_manifold_mixup_at_the_input_is_mixup_to_the_last_bit() -> None:
    model, (x, y) = network(), images()
    for seed in range(5):
        manifold = ManifoldMixup(("input",), alpha=0.7)(model, x, y, generator=generator(seed))
        mixup = Mixup(alpha=0.7)(model, x, y, generator=generator(seed))
        assert torch.equal(manifold.loss, mixup.loss)
        assert torch.equal(manifold.logits, mixup.logits)


@pytest.mark.parametrize("form", [torch.channels_last, torch.contiguous_format])
def test_manifold_mixups_gradient_goes_to_both_examples_in_every_memory_format(form: torch.memory_format) -> None:
    x, y = images()
    h = x.contiguous(memory_format=form).requires_grad_()
    lam, partners = replayed(0.4, generator(2))
    spy = Spy()
    ManifoldMixup(("0",), alpha=0.4)(nn.Sequential(nn.Identity(), spy), h, y, generator=generator(2)).loss.backward()
    assert spy.seen[0].is_contiguous(memory_format=form)
    other = x.detach().clone().requires_grad_()
    logits = torch.lerp(other[partners], other, lam).flatten(1)[:, :3]
    (lam * F.cross_entropy(logits, y) + (1 - lam) * F.cross_entropy(logits, y[partners])).backward()
    torch.testing.assert_close(h.grad, other.grad)
    assert h.grad is not None
    assert bool(h.grad.flatten(1)[:, :3].abs().min() > 0)


def test_manifold_mixup_checks_its_layers_and_leaves_no_hook() -> None:
    with pytest.raises(ValueError, match=r"^layers: Sequential has no layer '4'"):
        ManifoldMixup(("2", "4")).check(network())
    shared = nn.Linear(60, 60)
    model = nn.Sequential(nn.Flatten(), shared, shared)
    with pytest.raises(ValueError, match=r"^layer '1' is called more than once"):
        ManifoldMixup(("1",))(model, *images(), generator=generator())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_is_its_formula_example_by_example(seed: int) -> None:
    model, (x, y) = network(), images()
    step = CutMix(alpha=0.8, p=1.0)(model, x, y, generator=generator(seed))
    replay = generator(seed)
    torch.rand((), generator=replay)  # the decision
    lam, partners = replayed(0.8, replay)
    row, column = (int(torch.randint(size, (), generator=replay)) for size in (4, 5))
    tall, wide = (int(size * (1 - lam) ** 0.5) // 2 for size in (4, 5))  # half of the box
    total = 0.0
    for i, j in enumerate(partners):
        mixed, pasted = x[i].clone(), 0
        for r in range(4):
            for c in range(5):
                if row - tall <= r < row + tall and column - wide <= c < column + wide:
                    mixed[:, r, c], pasted = x[j, :, r, c], pasted + 1
        logits = model(mixed[None])
        torch.testing.assert_close(step.logits[i : i + 1], logits)
        total += soft_cross_entropy(logits, mixed_label(int(y[i]), int(y[j]), 1 - pasted / 20))
    assert float(step.loss.detach()) == pytest.approx(total / 6, rel=1e-5)


def test_mixup_agrees_with_torchvision_given_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_importable()
    from torchvision.transforms.v2 import MixUp

    model, (x, y), transform = Spy(), images(), MixUp(num_classes=3)
    monkeypatch.setattr(transform._dist, "sample", lambda _shape: torch.tensor(DRAWN))
    monkeypatch.setattr(random.Random, "betavariate", lambda *_: float(torch.tensor(DRAWN)))
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n).roll(1))  # torchvision pairs by roll
    step = Mixup()(model, x, y, generator=generator())
    mixed, targets = transform(x, y)
    torch.testing.assert_close(model.seen[0], mixed)
    torch.testing.assert_close(step.loss, F.cross_entropy(mixed.flatten(1)[:, :3], targets))


@pytest.mark.parametrize(
    ("lam", "row", "column"),
    [(0.3, 2, 3), (0.3, 0, 0), (0.5, 15, 19), (0.75, 8, 0), (0.0, 8, 10), (0.999, 8, 10), (1.0, 3, 3), (0.02, 1, 18)],
)
def test_cutmix_agrees_with_torchvision_given_the_same_draws(
    lam: float, row: int, column: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_importable()
    from torchvision.transforms.v2 import CutMix as Theirs

    def centre(high: int, size: tuple[int, ...] = (), **_: object) -> Tensor:
        return torch.full(size, {16: row, 20: column}.get(high, 0))

    model, (x, y), transform = Spy(), images(height=16, width=20), Theirs(num_classes=3)
    monkeypatch.setattr(transform._dist, "sample", lambda _shape: torch.tensor(lam))
    monkeypatch.setattr(random.Random, "betavariate", lambda *_: float(torch.tensor(lam)))
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n).roll(1))
    monkeypatch.setattr(torch, "randint", centre)
    step = CutMix(p=1.0)(model, x, y, generator=generator())
    mixed, targets = transform(x, y)
    assert torch.equal(model.seen[0], mixed)
    torch.testing.assert_close(step.loss, F.cross_entropy(mixed.flatten(1)[:, :3], targets))


def test_cutmix_mixes_the_share_p_of_batches() -> None:
    model, draws, (x, y) = Spy(), generator(), images(8, 32, 32)
    for _ in range(1000):
        CutMix(p=0.3)(model, x, y, generator=draws)
    mixed = sum(not torch.equal(seen, x) for seen in model.seen)
    assert mixed == pytest.approx(300, abs=50)
