"""Estimates of each preset's time on this machine, from a few timed forward and backward passes."""

import functools
import time

import torch
from torch.nn import functional as F

from benchmark.data.catalogue import DATASETS
from benchmark.data.load import to_float
from benchmark.evaluation.catalogue import TARGETS
from benchmark.evaluation.corruptions import KINDS, SEVERITIES
from benchmark.evaluation.joint import suite
from benchmark.evaluation.sanity_checks import PGD
from benchmark.networks.build import build_model
from benchmark.report.table import Table
from benchmark.runtime.console import duration
from benchmark.settings.load import load_preset, preset_names
from benchmark.settings.plan import Run, make_plan
from benchmark.settings.preset import Attack, Preset, Recipe
from benchmark.training.loop import autocast

_BATCH, _REPEATS, _LONG = 8, 5, 0.5  # images; timed passes; a first pass of more seconds stays the only one
FORWARD = 1 / 3  # of a forward and backward pass
_PGD_CHECKS = 10  # attacks of the sanity checks that cost as much as PGD with its 20 steps, at most


def estimates_table(device: torch.device) -> Table:
    """Return a table of the time of all runs of each preset on a device: training, attacks, both."""
    measured = functools.cache(functools.partial(seconds_a_sample, device=device))
    rows = []
    for name in preset_names():
        preset = load_preset(name)
        plan = make_plan(preset, None, None)
        size = preset.model.name, preset.data.pixels, 1 if preset.data.dataset == "digits" else 3
        training = sum(map(training_samples, plan)) * measured(*size, preset.recipe.precision)
        attacks = attack_samples(preset) * len(plan) * measured(*size, "float32")
        times = [duration(seconds) for seconds in (training, attacks, training + attacks)]
        rows.append([name, str(len(plan)), *times])
    return Table(["preset", "runs", "training", "attacks, at most", "together, at most"], rows)


def seconds_a_sample(network: str, pixels: int, channels: int, precision: str, *, device: torch.device) -> float:
    """Return the seconds of one image's forward and backward pass, in a batch of `_BATCH` random images."""
    images = torch.randint(256, (_BATCH, channels, pixels, pixels), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    model = build_model(network, images, 10, 0)
    model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # as training
    batch, labels = to_float(images.to(device)), torch.arange(_BATCH, device=device) % 10
    recipe = Recipe.model_validate({"epochs": 1, "batch_size": _BATCH, "learning_rate": 1.0, "precision": precision})

    def once() -> float:
        began = time.perf_counter()
        with autocast(recipe, device):
            loss = F.cross_entropy(model(batch).float(), labels)
        loss.backward()
        loss.item()  # waits for the device
        return time.perf_counter() - began

    first = once()  # also warms up
    return min([first] if first > _LONG else [once() for _ in range(_REPEATS)]) / _BATCH


def training_samples(run: Run) -> float:
    """Return the gradient samples of a run's training; virtual samples count as if they joined at the input.

    A method's own samples follow from its settings: `copies` in a share `p` of the steps, and `steps` of an attack.
    The copies of Batch Augmentation include the image itself; stability training has one noisy copy.
    """
    data, batch, method = run.preset.data, run.preset.recipe.batch_size, run.method
    row = DATASETS.get(data.dataset, DATASETS["cifar10"])  # an image folder without a row counts as CIFAR-10
    images = data.train_images or row.train_images - data.validation_images
    copies = getattr(method, "copies", 0)
    copies = {"batch_augmentation": copies - 1, "stability": 1}.get(run.preset.arms[run.arm].method, copies)
    of_an_image = 1 + getattr(method, "p", 1.0) * copies + getattr(method, "steps", 0)
    return images // batch * batch * run.epochs * of_an_image


def attack_samples(preset: Preset) -> float:
    """Return an upper bound of the gradient samples of a run's attacks and checks: no attack fools any image."""
    evaluation, spend = preset.evaluation, preset.evaluation.checks
    attacks = [attack for _, attack in suite(evaluation)]
    found = evaluation.images * (sum(map(_samples_an_image, attacks)) + len(KINDS) * len(SEVERITIES) * FORWARD)
    if spend is None:
        return found
    longer = [attack.model_copy(update={"steps": max(attack.steps, spend.long_steps)}) for attack in evaluation.attacks]
    longer += [Attack(name=name, steps=spend.reference_steps) for name in ("apgd_ce", "apgd_t", "fab_t")]
    longer.append(Attack(name="square", steps=spend.reference_queries))
    found += spend.images * (_PGD_CHECKS * PGD.steps + spend.square_queries * FORWARD)
    return found + spend.repeated * sum(map(_samples_an_image, longer))


def _samples_an_image(attack: Attack) -> float:
    """Return the gradient samples of an attack on an image that it does not fool."""
    if attack.name == "square":
        return attack.steps * FORWARD
    return (attack.steps + 1) * (TARGETS if attack.name in ("apgd_t", "fab_t") else 1)
