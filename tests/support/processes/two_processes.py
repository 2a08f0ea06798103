"""The work of each of two processes in the tests of DistributedDataParallel, and of one for comparison."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from networks.sba_cases import generator, gradients, traces
from processes.process_groups import in_process_group
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from benchmark.networks.sync_batchnorm import synchronised
from benchmark.settings import methods
from benchmark.settings.names import look_up
from sba import SBA, processes
from sba.processes import Processes

STEPS, FEW = 12, 4
METHODS: dict[str, dict[str, Any]] = {name: {} for name in methods.METHODS} | {
    "manifold_mixup": {"layers": ("input", "2", "5")},
    "stability": {"noise": 0.3, "weight": 1.0},  # the default's weight would hide any noise
    "sba": {"layers": ("input", "2", "5")},
    "sba_mixup": {"layers": ("input", "2", "5"), "alpha": 0.5, "mixing": "cutmix"},
}
READINGS: dict[str, dict[str, Any]] = {
    "copies": {"copies": 2},
    "three copies": {"copies": 3, "noise_jitter": 1.0, "similarity_tau": 0.3, "noise_kind": "uniform_ball"},
    "ball": {"noise_kind": "uniform_ball"},
    "interpolation": {"noise_kind": "interpolation"},
    "interpolation, copies": {"noise_kind": "interpolation", "copies": 2, "similarity_tau": 0.5},
    "interpolation, no gradient below": {"noise_kind": "interpolation", "gradient_below": False},
    "channels": {"noise_unit": "channel_std"},
    "absolute": {"noise_unit": "absolute", "noise_jitter": 0.5},
    "jitter": {"noise_jitter": 0.8},
    "similarity": {"similarity_tau": 0.5, "noise_jitter": 1.0},
    "input": {"layers": ("input",)},
    "behind pooling": {"layers": ("7",)},
    "originals": {"batchnorm": "originals", "layers": ("input", "0", "2")},
    "originals, copies": {"batchnorm": "originals", "layers": ("2", "3"), "copies": 2, "noise_unit": "channel_std"},
    "no gradient below": {"gradient_below": False},
    "hard labels": {"alpha": 1.0, "label_mix": 0.3},
    "symmetric": {"divergence": "symmetric", "label_gradient": True},
    "dark knowledge": {"soft_label": "dark_knowledge"},
    "every second": {"p": 0.5, "scheduler": "every_nth"},
    "ramps": {"p": 0.9, "ramp": "cosine_up", "ramp_steps": 8, "kl_ramp_steps": 6, "warmup_steps": 2},
}
SMALL = ("copies", "ball", "interpolation, copies", "channels", "similarity")
ROWS = 10  # of the whole batch; 245 activations each, so that the 16 parts of the noise end within rows
CASES: dict[str, tuple[str, dict[str, Any], int]] = (  # method, settings, rows of the whole batch
    {name: (name, settings, ROWS) for name, settings in METHODS.items()}
    | {f"sba: {name}": ("sba", {"layers": ("2", "5"), "p": 1.0} | row, ROWS) for name, row in READINGS.items()}
    | {f"sba, one row each: {name}": ("sba", {"layers": ("2",), "p": 1.0, **READINGS[name]}, 2) for name in SMALL}
)
PAIRING = ("mixup", "cutmix", "manifold_mixup", "sba: interpolation")
NORMS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "images": (nn.BatchNorm2d(4), (4, 5, 3)),
    "vectors": (nn.BatchNorm1d(4), (4,)),
    "volumes": (nn.BatchNorm3d(4), (4, 2, 3, 2)),
    "averaged": (nn.BatchNorm2d(4, momentum=None), (4, 5, 3)),
    "without weights": (nn.BatchNorm2d(4, affine=False), (4, 5, 3)),
    "without running statistics": (nn.BatchNorm2d(4, track_running_stats=False), (4, 5, 3)),
}


def network(norm: bool = True) -> nn.Sequential:
    """Two convolutions; 5 x 7 x 7 activations behind "2"."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5) if norm else nn.Identity(), nn.ReLU(),
            nn.Conv2d(5, 6, 3, stride=2), nn.BatchNorm2d(6) if norm else nn.Identity(), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4),
        )  # fmt: skip


def batch(step: int, rows: int) -> tuple[Tensor, Tensor]:
    """Return the whole batch of a step, channels last at every second one."""
    draws = generator(100 + step)
    images, labels = torch.rand(rows, 3, 7, 7, generator=draws), torch.randint(4, (rows,), generator=draws)
    return (images.to(memory_format=torch.channels_last) if step % 2 else images), labels


def own(whole: Tensor, rank: int | None) -> Tensor:
    return whole if rank is None else whole.chunk(2)[rank]


def take_steps(name: str, model: nn.Module, rank: int | None = None, steps: int | None = None) -> dict[str, Any]:
    """Train a network by a case, by default for STEPS, or for FEW if every step is augmented.

    Returns every step's loss, logits and layer, and the state at the end.
    """
    method, settings, rows = CASES[name]
    draws, before = generator(), traces(model)
    number = steps or (FEW if settings.get("p") == 1.0 else STEPS)
    taken = train(look_up(method, methods.METHODS)(**settings), model, draws, rows, rank, number)
    inner: Any = model.module if isinstance(model, DistributedDataParallel) else model
    end = {"draws": draws.get_state(), "weights": inner.state_dict(), "clean": traces(model) == before}
    return taken | end


def train(
    method: Any, model: nn.Module, draws: torch.Generator, rows: int, rank: int | None, steps: int
) -> dict[str, Any]:
    """Train by momentum SGD; return every step's loss, logits and layer."""
    optimizer, taken = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), []
    for number in range(steps):
        images, labels = (own(whole, rank) for whole in batch(number, rows))
        step = method(model, images, labels, generator=draws)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        taken.append((step.loss.detach(), step.logits.detach(), str(step.layer)))
    losses, logits, layers = zip(*taken, strict=True)
    return {"losses": torch.stack(losses), "logits": torch.stack(logits), "layers": list(layers)}


def refusals(rank: int) -> dict[str, str]:
    """Return the errors for generators that differ, and for batches of different sizes."""
    errors = {}
    for name in METHODS:
        for fault, seed, rows in (("generator", rank, 4), ("images", 0, 4 + rank)):
            step_of = look_up(name, methods.METHODS)(**METHODS[name])
            images, labels = batch(0, rows)
            try:
                step_of(DistributedDataParallel(network(norm=False)), images, labels, generator=generator(seed))
            except ValueError as error:
                errors[f"{name}: {fault}"] = str(error)
    return errors


def normalised(name: str, norm: nn.Module, rank: int | None = None) -> dict[str, Any]:
    """Return a BatchNorm's outputs for three batches, the third in evaluation mode; of eight rows, rank 0 has three.

    In float64, in which sums of eight rows and of three and five agree to about 1e-14.
    """
    _, shape = NORMS[name]
    norm.double()
    outputs, of_inputs = [], []
    for number in range(3):
        whole = 3 + 2 * torch.randn(8, *shape, generator=generator(number), dtype=torch.float64)
        weights = torch.randn(8, *shape, generator=generator(10 + number), dtype=torch.float64)
        if len(shape) == 3 and number == 1:
            whole = whole.to(memory_format=torch.channels_last)
        x, w = (whole, weights) if rank is None else (t.split([3, 5])[rank] for t in (whole, weights))
        x = x.clone().requires_grad_()
        y = norm.train(number < 2)(x)
        (y * w).square().sum().backward()
        outputs.append(y.detach())
        of_inputs.append(x.grad)
    kept = [buffer.clone() for buffer in norm.buffers()]
    return {"outputs": outputs, "of_inputs": of_inputs, "of_weights": gradients(norm), "kept": kept}


def gathered(of: Processes, rank: int | None, last: bool) -> list[Tensor]:
    """Return a loss of rows and their partners in the whole batch, in float64, and its gradient."""
    rows = torch.randn(6, 3, 4, 2, generator=generator(), dtype=torch.float64)
    weights = torch.randn(6, 3, 4, 2, generator=generator(1), dtype=torch.float64)
    h = own(rows.to(memory_format=torch.channels_last) if last else rows, rank).clone().requires_grad_()
    whole = of.gather(h)
    assert whole.is_contiguous(memory_format=torch.channels_last) == last
    partners = own(torch.randperm(6, generator=generator(2)), rank)
    loss = (own(weights, rank) * h * whole[partners].square()).mean()
    (gradient,) = torch.autograd.grad(loss, h)
    return [loss.detach(), gradient]


def blocks() -> nn.Sequential:
    """The network without BatchNorm, in two blocks and a head, so that each can be sharded."""
    layers = list(network(norm=False))
    return nn.Sequential(nn.Sequential(*layers[:3]), nn.Sequential(*layers[3:6]), nn.Sequential(*layers[6:]))


def sharded(kind: str) -> nn.Module:
    """Shard the blocks over the two processes by FSDP1 or FSDP2."""
    from torch.distributed import fsdp

    model, cpu = blocks(), torch.device("cpu")
    if kind == "FSDP2":
        mesh = distributed.device_mesh.init_device_mesh("cpu", (2,))
        for module in (*model, model):
            fsdp.fully_shard(module, mesh=mesh)
        return model
    wrapped = nn.Sequential(*(fsdp.FullyShardedDataParallel(block, device_id=cpu) for block in model))
    return fsdp.FullyShardedDataParallel(wrapped, device_id=cpu)


def sharded_steps(model: nn.Module, rank: int | None = None) -> dict[str, Any]:
    """Train by SBA behind sharded layers, within a sharded block, and at the input."""
    sba, before = SBA(layers=("input", "0", "1.0", "1"), p=0.9, copies=2, alpha=0.5), traces(model)
    taken = train(sba, model, generator(), ROWS, rank, steps=8)
    hooks = [hooks for _, _, hooks, *_ in traces(model)] == [hooks for _, _, hooks, *_ in before]
    return taken | {"clean": hooks}


def work(rank: int, folder: str) -> None:
    """Do everything once, and save the results to a file of this rank."""
    torch.set_num_threads(1)
    found: dict[Any, Any] = {}

    def cases() -> None:
        pair = distributed.group.WORLD
        for name in CASES:
            found[name] = take_steps(name, DistributedDataParallel(synchronised(network())), rank)
        for name in PAIRING:
            found["unwrapped", name] = take_steps(name, network(norm=False), steps=2)
        found["refusals"] = refusals(rank)
        for name in ("sba", "mixup"):
            with patch.object(processes, "_check_agreement", wraps=processes._check_agreement) as checked:
                take_steps(name, DistributedDataParallel(network(norm=False)), rank, steps=3)
            found["checks", name] = checked.call_count
        for name, (norm, _) in NORMS.items():
            found["norm", name] = normalised(name, synchronised(norm), rank)
        for last in (False, True):
            found["gathered", last] = gathered(Processes(rank, 2, pair), rank, last)
        for kind in ("FSDP1", "FSDP2"):
            found[kind] = sharded_steps(sharded(kind), rank)
        groups = [distributed.new_group([0]), distributed.new_group([1])]
        for name in PAIRING:
            alone = DistributedDataParallel(network(norm=False), process_group=groups[rank])
            found["alone in its group", name] = take_steps(name, alone, steps=2)

    in_process_group(Path(folder), cases, rank, processes=2)
    torch.save(found, Path(folder) / f"rank-{rank}.pt")
