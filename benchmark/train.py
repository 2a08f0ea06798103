"""Training: one loop for every arm, which knows no method by name."""

import copy
import functools
import hashlib
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmark import registry
from benchmark.cost import training_flops
from benchmark.data import Data
from benchmark.datasets import Split
from benchmark.errors import UsageError
from benchmark.models import build_model, weights_hash
from benchmark.plan import Run
from benchmark.schema import Epoch
from benchmark.settings import Recipe
from benchmark.streams import stream, stream_seed

PURPOSES = ("order", "augmentation", "method")


@dataclass
class State:
    """All that changes while a run trains, and all that a checkpoint holds.

    Attributes:
        model, optimizer: what is trained.
        method: the arm's method; it may keep a state of its own (`state_dict`), so each run has its own.
        streams: one generator for each purpose.
        weights_hash: hash of the initial weights.
        epochs: what is recorded of each finished epoch.
        images: number of images trained on so far.
        virtual: number of virtual samples so far, for each layer behind which they joined the batch.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    method: Any
    streams: dict[str, torch.Generator]
    weights_hash: str
    epochs: list[Epoch] = field(default_factory=list)
    images: int = 0
    virtual: dict[str, int] = field(default_factory=dict)


class DivergedError(Exception):
    """The training loss is not finite; the text says where."""


def start(run: Run, data: Data, device: torch.device) -> State:
    """Return the state before the first step.

    Raises:
        UsageError: the network does not exist, or lacks a layer that the method names.
    """
    name, recipe = run.preset.data.dataset, run.preset.recipe
    model = build_model(run.preset.model.name, data.train.images, data.classes, stream_seed(name, run.seed, "weights"))
    initial = weights_hash(model)
    _check_method(run, model)
    model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub lacks it
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(
        trained,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    method = copy.deepcopy(run.method)
    return State(model, optimizer, method, {p: stream(name, run.seed, p) for p in PURPOSES}, initial)


def _check_method(run: Run, model: nn.Module) -> None:
    """Let the method refuse the network before the first step, where it has a `check`."""
    check = getattr(run.method, "check", None)
    try:
        if check is not None:
            check(model)
    except ValueError as error:
        raise UsageError(f"arm {run.arm}, network {run.preset.model.name}: {error}") from error


def order_hash(run: Run, images: int) -> str:
    """Return the SHA-256 (16 hex digits) of the order of `images` images over the recipe's epochs; arms with epochs of
    their own follow it as far as they go.
    """
    digest, order = hashlib.sha256(), stream(run.preset.data.dataset, run.seed, "order")
    for _ in range(run.preset.recipe.epochs):
        digest.update(torch.randperm(images, generator=order).numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Budget:
    """What a run may spend in training: optimizer steps or, in compute mode, FLOPs.

    Attributes:
        total: all that it may spend; in compute mode what plain training spends in the recipe's epochs.
        step: what a plain step costs; training ends when not even that is left.
        spent: what the state has spent so far.
    """

    total: int
    step: int
    spent: Callable[[State], int]

    def share(self, state: State) -> float:
        """Return the share of the training that is over, which the learning rate follows: 0 at the first step, 1 at
        the last plain one; an augmented one may pass it.
        """
        return min(self.spent(state) / max(self.total - self.step, 1), 1.0)

    def is_spent(self, state: State) -> bool:
        """Say whether training is over."""
        return self.spent(state) + self.step > self.total


def budget(run: Run, state: State, train: Split) -> Budget:
    """Return a run's budget: its epochs of whole batches or, in compute mode, the FLOPs of plain training."""
    batch = run.preset.recipe.batch_size
    steps_per_epoch = len(train.labels) // batch
    if not run.preset.compute:
        return Budget(run.epochs * steps_per_epoch, 1, lambda state: state.images // batch)
    image = to_float(train.images[:1])
    plain = batch * training_flops(state.model, image)
    behind = functools.cache(lambda layer: training_flops(state.model, image, layer))

    def spent(state: State) -> int:
        return state.images // batch * plain + sum(n * behind(layer) for layer, n in state.virtual.items())

    return Budget(run.preset.recipe.epochs * steps_per_epoch * plain, plain, spent)


def learning_rate(recipe: Recipe, share: float) -> float:
    """Return the triangular rate (see `Recipe`) where `share` of the training, in [0, 1], is over."""
    if share < recipe.peak:
        factor = recipe.initial + (1 - recipe.initial) * share / recipe.peak
    else:
        factor = 1 + (recipe.final - 1) * (share - recipe.peak) / max(1 - recipe.peak, 1e-12)
    return recipe.learning_rate * factor


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """Return the precision of training: bfloat16 autocast or plain float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 images into float32 in [0, 1], channels_last."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def train_step(run: Run, state: State, images: Tensor, labels: Tensor) -> Any:
    """Take one optimizer step on float images (N, C, H, W) in [0, 1]; return what the method returned.

    Raises:
        UsageError: the method does not fit the network, for example a layer inside a skip connection.
    """
    try:
        with autocast(run.preset.recipe, images.device):
            step = state.method(state.model, images, labels, generator=state.streams["method"])
    except ValueError as error:  # a method's word that it does not fit this network
        raise UsageError(f"arm {run.arm}: {error}") from error
    state.optimizer.zero_grad(set_to_none=True)
    step.loss.backward()
    state.optimizer.step()
    return step


def train_epoch(run: Run, state: State, train: Split, after_step: Callable[[int], None] = lambda _step: None) -> Epoch:
    """Train one epoch: a new random order, whole batches only (the rest of the order is left out).

    In compute mode the last epoch ends where the budget does. Nothing waits for the device inside the epoch. Accuracy
    is filled in by the caller.

    Args:
        after_step: called with the number of steps done in this epoch.

    Raises:
        DivergedError: the epoch's loss or a weight is not finite.
        ValueError: the run's training is over.
    """
    recipe, epoch, allowed = run.preset.recipe, len(state.epochs), budget(run, state, train)
    if allowed.is_spent(state):
        raise ValueError(f"the training of {run.arm} seed {run.seed} is over: nothing of its budget is left")
    whole = len(train.labels) // recipe.batch_size
    order = torch.randperm(len(train.labels), generator=state.streams["order"])
    order = order.to(train.labels.device)
    augment = augmentation(run)
    total, augmented, steps = torch.zeros((), device=train.labels.device), 0, 0
    began = time.perf_counter()
    state.model.train()
    while steps < whole and not allowed.is_spent(state):
        picked = order[steps * recipe.batch_size : (steps + 1) * recipe.batch_size]
        rate = learning_rate(recipe, allowed.share(state))
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        images = to_float(augment(train.images[picked], state.streams["augmentation"]))
        step = train_step(run, state, images, train.labels[picked])
        total += step.loss.detach()
        state.images += len(picked)
        augmented += step.virtual > 0
        if step.virtual:
            state.virtual[step.layer] = state.virtual.get(step.layer, 0) + step.virtual
        steps += 1
        after_step(steps)
    loss = float(total) / steps  # the one wait for the device
    seconds = time.perf_counter() - began
    if not math.isfinite(loss) or not all(bool(p.isfinite().all()) for p in state.model.parameters()):
        what = f"the training loss became {loss}" if not math.isfinite(loss) else "weights are no longer finite"
        raise DivergedError(f"{what} in epoch {epoch + 1} (steps {epoch * whole + 1} to {epoch * whole + steps})")
    finished = Epoch(
        epoch=epoch + 1,
        learning_rate=round(rate, 8),
        train_loss=round(loss, 6),
        accuracy=0.0,
        images_per_second=round(steps * recipe.batch_size / seconds, 1),
        seconds=round(seconds, 3),
        augmented=round(augmented / steps, 6),
    )
    if steps < whole:
        finished["images"] = steps * recipe.batch_size
    return finished


def augmentation(run: Run) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Return the arm's augmentation of uint8 batches."""
    recipe, name = run.preset.recipe, run.preset.arms[run.arm].augmentation
    if name == "none":
        return lambda images, _generator: images
    operation = registry.look_up(name, registry.AUGMENTATIONS)
    return lambda images, generator: operation(images, padding=recipe.padding, flip=recipe.flip, generator=generator)
