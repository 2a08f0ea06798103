"""Training: one loop for every arm, which knows no method by name."""

import functools
import hashlib
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark import registry
from benchmark.cost import training_flops
from benchmark.datasets import Split
from benchmark.errors import UsageError
from benchmark.plan import Run
from benchmark.schema import Epoch
from benchmark.settings import Recipe
from benchmark.state import Position, State
from benchmark.streams import stream


class DivergedError(Exception):
    """The training loss or a weight is not finite; the text says where."""


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
    """Train one epoch, or what is left of it: a new random order, whole batches only (the rest is left out).

    In compute mode the last epoch ends where the budget does. Nothing waits for the device inside the epoch. Accuracy
    is filled in by the caller.

    Args:
        run: what is trained.
        state: is changed in place, `position` at every step.
        train: the training images.
        after_step: called with the number of steps done in this epoch; what it raises leaves a state to go on from.

    Raises:
        DivergedError: a loss or a weight is not finite.
        ValueError: the run's training is over.
    """
    recipe, allowed = run.preset.recipe, budget(run, state, train)
    if state.position is None and allowed.is_spent(state):
        raise ValueError(f"the training of {run.arm} seed {run.seed} is over: nothing of its budget is left")
    whole = len(train.labels) // recipe.batch_size
    position = state.position = state.position or _begin_epoch(state, train, whole)
    augment = augmentation(run)
    state.model.train()
    while position.steps < whole and not allowed.is_spent(state):
        began = time.perf_counter()
        picked = position.order[position.steps * recipe.batch_size : (position.steps + 1) * recipe.batch_size]
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, allowed.share(state))
        images = to_float(augment(train.images[picked], state.streams["augmentation"]))
        step = train_step(run, state, images, train.labels[picked])
        position.losses[position.steps] = step.loss.detach()
        state.images += len(picked)
        position.augmented += step.virtual > 0
        if step.virtual:
            state.virtual[step.layer] = state.virtual.get(step.layer, 0) + step.virtual
        position.steps += 1
        position.seconds += time.perf_counter() - began
        after_step(position.steps)
    return _end_epoch(state, recipe, whole)


def _begin_epoch(state: State, train: Split, whole: int) -> Position:
    device = train.labels.device
    order = torch.randperm(len(train.labels), generator=state.streams["order"])
    return Position(order.to(device), torch.zeros(whole, device=device))


def _end_epoch(state: State, recipe: Recipe, whole: int) -> Epoch:
    """Return what is recorded of the epoch whose last step is done."""
    position = state.position
    assert position is not None
    began = time.perf_counter()
    raise_if_diverged(state)  # the one wait for the device
    position.seconds += time.perf_counter() - began
    total = np.add.accumulate(position.losses[: position.steps].cpu().numpy())[-1]
    finished = Epoch(
        epoch=len(state.epochs) + 1,
        learning_rate=round(state.optimizer.param_groups[0]["lr"], 8),
        train_loss=round(float(total) / position.steps, 6),
        accuracy=0.0,
        images_per_second=round(position.steps * recipe.batch_size / position.seconds, 1),
        seconds=round(position.seconds, 3),
        augmented=round(position.augmented / position.steps, 6),
    )
    if position.steps < whole:
        finished["images"] = position.steps * recipe.batch_size
    state.position = None
    return finished


def raise_if_diverged(state: State) -> None:
    """Look at the losses of the epoch in progress and at the weights; waits for the device.

    Raises:
        DivergedError: one is not finite; the text names step and values.
    """
    position = state.position
    assert position is not None
    losses = position.losses[: position.steps].tolist()
    where = f"epoch {len(state.epochs) + 1}, step"
    rate = f"learning rate {state.optimizer.param_groups[0]['lr']:.4g} in the last step"
    for step, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            before = f"{losses[step - 2]:.4g} in the step before, " if step > 1 else ""
            raise DivergedError(f"the training loss became {loss} in {where} {step} ({before}{rate})")
    broken = [name for name, value in state.model.named_parameters() if not bool(value.isfinite().all())]
    if broken:
        raise DivergedError(
            f"weights are no longer finite after {where} {position.steps}, {broken[0]} among {len(broken)} tensors "
            f"(loss {losses[-1]:.4g}, {rate})"
        )


def augmentation(run: Run) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Return the arm's augmentation of uint8 batches."""
    recipe, name = run.preset.recipe, run.preset.arms[run.arm].augmentation
    if name == "none":
        return lambda images, _generator: images
    operation = registry.look_up(name, registry.AUGMENTATIONS)
    return lambda images, generator: operation(images, padding=recipe.padding, flip=recipe.flip, generator=generator)
