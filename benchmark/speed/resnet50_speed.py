"""What one device does with the preset `imagenet`, ResNet-50 at 224 px: the figures that docs/cluster.md plans with."""

import functools
from collections.abc import Callable

import torch
from torch.nn import functional as F

from benchmark.data.datasets import Split
from benchmark.data.load import to_float
from benchmark.networks.compiled import compiles, warm_up
from benchmark.runtime.environment import choose_device, describe_environment
from benchmark.settings.load import load_preset
from benchmark.settings.plan import Run, make_plan
from benchmark.speed.planning import Measured
from benchmark.speed.throughput import as_data, random_images, timed
from benchmark.training.loop import autocast, train_step
from benchmark.training.state import State, start

BATCHES, STEPS = {"cpu": 8, "cuda": 256}, {"cpu": 4, "cuda": 40}  # even: half of SBA's steps are augmented
PIXELS, CLASSES = 224, 1000
ARMS = ("erm", "mixup", "sba")


def measure(device_name: str, note: str) -> Measured:
    """Return the figures of one device: training as the preset trains, evaluating, and gradients of images in float32.

    The images are random and stay on the device: what it costs to read them is not in these figures.

    Args:
        device_name: as `--device` takes it.
        note: what else is to be known of the machine.

    Raises:
        UsageError: there is no such device.
    """
    device = choose_device(device_name)
    batch, steps = BATCHES[device.type], STEPS[device.type]
    every_other = "arms.sba.settings.scheduler='every_nth'"
    preset = load_preset("imagenet", (f"recipe.batch_size={batch}", f"data.pixels={PIXELS}", every_other))
    chosen = random_images(batch, device, PIXELS, CLASSES)
    images, labels = to_float(chosen.images), chosen.labels

    def rate(step: Callable[[], object]) -> float:
        def turn() -> None:
            for _ in range(steps):
                step()

        step()  # warms
        return round(batch * steps / timed(turn, device), 3)

    trained = dict[str, float]()
    for run in make_plan(preset, ARMS, preset.seeds[:1]):
        state = begin(run, chosen, device)
        trained[run.arm] = rate(functools.partial(train_step, run, state, images, labels))
    model = state.model.eval().requires_grad_(False)

    def evaluating() -> None:
        with torch.no_grad(), autocast(preset.recipe, device):
            model(images)

    def attacking() -> None:
        attacked = images.clone().requires_grad_()
        F.cross_entropy(model(attacked), labels).backward()

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


def begin(run: Run, images: Split, device: torch.device) -> State:
    """Return a run's state before its first step, compiled if it will be, and in training mode."""
    state = start(run, as_data(images, CLASSES), device)
    if compiles(run.preset.recipe, device):
        warm_up(run, state, images)
    state.model.train()
    return state
