"""What one device does with ResNet-50 at 224 px: the figures that the plan in docs/cluster.md follows from."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from baselines.erm import ERM
from baselines.mixup import Mixup
from benchmark.environment import choose_device, describe_environment
from benchmark.planning import Measured
from benchmark.throughput import timed
from benchmark.torchvision_ops import ensure_importable
from sba import SBA

BATCHES, STEPS = {"cpu": 8, "cuda": 256}, {"cpu": 4, "cuda": 40}  # even: half of SBA's steps are augmented
PIXELS, CLASSES = 224, 1000
METHODS: Mapping[str, Any] = {
    "erm": ERM(),
    "mixup": Mixup(),
    "sba": SBA(layers=("maxpool", "layer1", "layer2"), p=0.5, scheduler="every_nth", noise=0.5, temperature=2.0),
}


def measure(device_name: str, note: str) -> Measured:
    """Return the figures of one device: training in bfloat16, evaluating, and gradients of images in float32.

    The images are random and stay on the device: what it costs to read them is not in these figures.

    Args:
        device_name: as `--device` takes it.
        note: what else is to be known of the machine.

    Raises:
        UsageError: there is no such device.
    """
    device = choose_device(device_name)
    batch, steps = BATCHES[device.type], STEPS[device.type]
    model, generator = network(device), torch.Generator().manual_seed(0)
    images = torch.rand((batch, 3, PIXELS, PIXELS), generator=generator)
    images = images.to(device, memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (batch,), generator=generator).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4, nesterov=True)

    def rate(step: Callable[[], object]) -> float:
        def turn() -> None:
            for _ in range(steps):
                step()

        step()  # warms
        return round(batch * steps / timed(turn, device), 3)

    def training(method: Any) -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = method(model, images, labels, generator=generator).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def evaluating() -> None:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            model(images)

    def attacking() -> None:
        attacked = images.clone().requires_grad_()
        F.cross_entropy(model(attacked), labels).backward()

    trained = {name: rate(functools.partial(training, method)) for name, method in METHODS.items()}
    model.eval().requires_grad_(False)
    about = describe_environment(device)
    return Measured(
        device=about["device_name"],
        device_type=device.type,
        threads=about["threads"],
        torch=about["torch"],
        date=about["date"][:10],
        batch=batch,
        steps=steps,
        note=note,
        train=trained,
        evaluate=rate(evaluating),
        attack=rate(attacking),
    )


def network(device: torch.device) -> nn.Module:
    """Return torchvision's ResNet-50 for 1,000 classes with fixed initial weights, in channels_last."""
    ensure_importable()
    from torchvision.models import resnet50

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = resnet50(num_classes=CLASSES)
    return cast("nn.Module", model.to(device=device, memory_format=torch.channels_last))
