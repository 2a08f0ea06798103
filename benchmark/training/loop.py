"""The training loop: one for every arm, which knows no method by name."""

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from benchmark.data.images import Feed, Images
from benchmark.data.load import to_float
from benchmark.data.seeds import stream, stream_seed
from benchmark.networks.checks import shape
from benchmark.records.schema import Epoch
from benchmark.runtime.errors import UsageError
from benchmark.settings.plan import Run
from benchmark.settings.preset import Recipe
from benchmark.training.schedule import budget, learning_rate
from benchmark.training.state import Position, State


class DivergedError(Exception):
    """The training loss or a weight is not finite; the text says where."""


def order_hash(run: Run, images: int) -> str:
    """Return the SHA-256 (16 hex digits) of the order of N training images over the recipe's epochs.

    An arm with fewer or more epochs of its own follows the same order for its epochs.
    """
    digest, order = hashlib.sha256(), stream(run.preset.data.name, run.seed, "order")
    for _ in range(run.preset.recipe.epochs):
        digest.update(torch.randperm(images, generator=order).numpy().tobytes())
    return digest.hexdigest()[:16]


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which the network runs: bfloat16 autocast or plain float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")


def train_step(run: Run, state: State, images: Tensor, labels: Tensor) -> list[Any]:
    """Take one optimizer step; return the method's `Step` of each batch: one, or each part of `accumulate`.

    Args:
        run: gives recipe and arm.
        state: is changed in place.
        images: (N, C, H, W) float images in [0, 1], this process's share of the step's.
        labels: (N,) their labels.

    Raises:
        UsageError: the method does not fit the network, for example a layer inside a skip connection, or returned
            something else than a `Step` of the batch.
    """
    parts, taken = min(run.preset.recipe.accumulate, len(labels)), list[Any]()
    state.optimizer.zero_grad(set_to_none=True)
    for part, part_labels in zip(images.chunk(parts), labels.chunk(parts), strict=True):
        with _exchange_gradients(state, last=len(taken) == parts - 1):
            try:
                with autocast(run.preset.recipe, images.device):
                    step = state.method(state.network, part, part_labels, generator=state.streams["method"])
            except ValueError as error:  # how a method refuses a network
                raise UsageError(f"arm {run.arm}: {error}") from error
            if wrong := _wrong_step(step, len(part_labels)):
                raise UsageError(f"arm {run.arm}: method {run.preset.arms[run.arm].method!r} returned {wrong}.")
            (step.loss if parts == 1 else step.loss / parts).backward()
        taken.append(step)
    state.optimizer.step()
    return taken


def _wrong_step(step: Any, images: int) -> str:
    """Return what is wrong with a method's result for N images, and what it must be; "" if it is a `Step`."""
    if not all(hasattr(step, name) for name in ("loss", "logits", "virtual", "layer")):
        return f"a {type(step).__name__}; it must return a Step, which has loss, logits, virtual and layer"
    if not isinstance(step.loss, Tensor) or step.loss.dim() or not step.loss.requires_grad:
        return f"a loss ({_described(step.loss)}); it must be a scalar tensor with a gradient, as a mean over the batch"
    if not isinstance(step.logits, Tensor) or step.logits.dim() < 2 or len(step.logits) != images:
        return f"logits ({_described(step.logits)}) for {images} images; they must have one row for each image"
    if not isinstance(step.virtual, int) or step.virtual < 0 or (step.virtual > 0) != isinstance(step.layer, str):
        return (
            f"virtual = {step.virtual!r} and layer = {step.layer!r}; they must be the number of virtual samples and "
            "the layer behind which they joined the batch, or 0 and None"
        )
    return ""


def _described(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{shape(value)}, {'with' if value.requires_grad else 'without'} a gradient"


def _exchange_gradients(state: State, last: bool) -> AbstractContextManager[Any]:
    """Return the context of one part of a step: processes exchange gradients in the last, when all are summed up."""
    if isinstance(state.network, DistributedDataParallel) and not last:
        return state.network.no_sync()
    return contextlib.nullcontext()


class Callback:
    """Called while a run trains. After an exception raised in a method the run can resume from its state."""

    def on_step(self, steps: int) -> None:
        """Called after each optimizer step, with the number of the epoch's steps so far."""

    def on_epoch(self, epoch: Epoch, share: float) -> None:
        """Called after each epoch, with its record and the share of the training that is over, in [0, 1]."""


class OnStep(Callback):
    """Calls a function in `on_step`."""

    def __init__(self, call: Callable[[int], object]) -> None:
        self.call = call

    def on_step(self, steps: int) -> None:  # noqa: D102
        self.call(steps)


def train_epoch(run: Run, state: State, train: Images, callbacks: Sequence[Callback] = ()) -> Epoch:
    """Train one epoch, or the rest of one in progress, in a new random order; an incomplete last batch is left out.

    In compute mode the last epoch ends with the budget. One process does not wait for its device inside the epoch;
    several do, in torch's SyncBatchNorm. The caller fills in the accuracy.

    Args:
        run: gives recipe, arm and seed.
        state: is changed in place, `position` at every step.
        train: the training images.
        callbacks: called after each step.

    Raises:
        DivergedError: a loss or a weight is not finite.
        ValueError: the run's training is over.
    """
    recipe, allowed = run.recipe, budget(run, state, train)
    if state.position is None and allowed.is_spent(state):
        raise ValueError(f"the training of {run.arm} seed {run.seed} is over: nothing of its budget is left")
    whole = len(train.labels) // recipe.batch_size
    position = state.position = state.position or begin_epoch(state, train, whole)
    state.model.train()
    with contextlib.closing(training_batches(run, state, train)) as batches:
        while position.steps < whole and not allowed.is_spent(state):
            began = time.perf_counter()
            images, labels = next(batches)
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate(recipe, allowed.share(state))
            _count(state, train_step(run, state, to_float(images), labels))
            state.images += recipe.batch_size
            position.seconds += time.perf_counter() - began
            for callback in callbacks:
                callback.on_step(position.steps)
    return _end_epoch(state, recipe, whole)


def _count(state: State, taken: Sequence[Any]) -> None:
    """Count one more optimizer step, of one `Step` for each of its parts."""
    position = state.epoch_in_progress
    losses = [step.loss.detach() for step in taken]
    position.losses[position.steps] = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
    for step in taken:
        if step.virtual:
            position.augmented += 1
            state.virtual[step.layer] = state.virtual.get(step.layer, 0) + step.virtual * state.group.size
    position.steps += 1


def begin_epoch(state: State, train: Images, whole: int) -> Position:
    """Return the start of an epoch of `whole` steps, with its random order."""
    order = torch.randperm(len(train.labels), generator=state.streams["order"])
    device = next(state.model.parameters()).device
    return Position(order.to(train.labels.device, non_blocking=True), torch.zeros(whole, device=device))


def _end_epoch(state: State, recipe: Recipe, whole: int) -> Epoch:
    """Return the record of the epoch whose last step is done."""
    position = state.epoch_in_progress
    began = time.perf_counter()
    raise_if_diverged(state)  # the one wait for the device, and for the other processes
    position.seconds += time.perf_counter() - began
    total = np.add.accumulate(position.losses[: position.steps].cpu().numpy())[-1]
    finished = Epoch(
        epoch=len(state.epochs) + 1,
        learning_rate=round(state.optimizer.param_groups[0]["lr"], 8),
        train_loss=round(float(total) / position.steps, 6),
        accuracy=0.0,
        images_per_second=round(position.steps * recipe.batch_size / position.seconds, 1),
        seconds=round(position.seconds, 3),
        augmented=round(position.augmented / (position.steps * recipe.accumulate), 6),
    )
    if position.steps < whole:
        finished["images"] = position.steps * recipe.batch_size
    state.position = None
    return finished


def raise_if_diverged(state: State) -> None:
    """Check the losses of the epoch in progress, which become means over all processes, and the weights.

    Waits for the device; all processes call it at the same steps.

    Raises:
        DivergedError: one is not finite; the text names step and values.
    """
    position = state.epoch_in_progress
    position.losses[: position.steps] = state.group.mean(position.losses[: position.steps])
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


def training_batches(run: Run, state: State, train: Images) -> Generator[tuple[Tensor, Tensor]]:
    """Yield this process's uint8 images, augmented, and labels of every step that is left of the epoch."""
    preset, recipe, position = run.preset, run.preset.recipe, state.epoch_in_progress
    feed = Feed(
        rows=position.order.split(recipe.batch_size)[position.steps : len(train.labels) // recipe.batch_size],
        own=lambda batch: state.group.own(batch, recipe.accumulate),
        augmentation=preset.arms[run.arm].augmentation,
        padding=recipe.padding,
        flip=recipe.flip,
        generator=state.streams["augmentation"],
        seed=stream_seed(preset.data.name, run.seed, f"augmentation of epoch {len(state.epochs) + 1}"),
        device=next(state.model.parameters()).device,
    )
    yield from train.training_batches(feed)
