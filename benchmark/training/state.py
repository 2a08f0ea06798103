"""The state of a run in training: everything that changes, its start, and the position in an epoch in progress."""

import copy
import inspect
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmark.data.load import Data
from benchmark.data.seeds import stream, stream_seed
from benchmark.networks.build import build_model, weights_hash
from benchmark.networks.sync_batchnorm import synchronised
from benchmark.records.schema import Epoch
from benchmark.runtime.distributed import ALONE, Group
from benchmark.runtime.errors import UsageError
from benchmark.settings.plan import Run
from benchmark.settings.preset import Recipe

PURPOSES = ("order", "augmentation", "method")


@dataclass
class Position:
    """The position in an epoch in progress.

    Attributes:
        order: (N,) the epoch's order of the training images.
        losses: (steps of a whole epoch,) float32, the loss of each step done.
        steps: steps done.
        augmented: batches that the method augmented; a step takes one, with gradient accumulation several.
        seconds: spent on the steps.
    """

    order: Tensor
    losses: Tensor
    steps: int = 0
    augmented: int = 0
    seconds: float = 0.0


@dataclass
class State:
    """Everything that changes while a run trains, and all that a checkpoint holds.

    Attributes:
        model, optimizer: the network that is trained, and its optimizer.
        network: the model as methods call it: itself, its DistributedDataParallel wrapper, or a compiled form that
            shares its weights (`benchmark.networks.compiled`).
        group: the processes that train it.
        method: the arm's method; it may keep a state of its own (`state_dict`), so each run has its own.
        streams: one generator for each purpose.
        weights_hash: hash of the initial weights.
        epochs: the records of finished epochs.
        images: number of images trained on so far.
        virtual: number of virtual samples so far, for each layer behind which they joined the batch.
        position: in the epoch in progress; None between epochs.
        skipped: damaged image file -> what is wrong with it, of those replaced so far; the data set's own dictionary.
        flops: layer -> FLOPs of training on a sample that joins behind it, of those counted so far; in no checkpoint.
    """

    model: nn.Module
    network: nn.Module
    group: Group
    optimizer: torch.optim.Optimizer
    method: Any
    streams: dict[str, torch.Generator]
    weights_hash: str
    epochs: list[Epoch] = field(default_factory=list)
    images: int = 0
    virtual: dict[str, int] = field(default_factory=dict)
    position: Position | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    flops: dict[str | None, int] = field(default_factory=dict)

    @property
    def epoch_in_progress(self) -> Position:
        """The position, inside an epoch."""
        assert self.position is not None
        return self.position


def start(run: Run, data: Data, device: torch.device, group: Group = ALONE) -> State:
    """Return the state before the first step, the same in every process of the group.

    Raises:
        UsageError: the network does not exist, or lacks a layer that the method names.
    """
    name, recipe = run.preset.data.name, run.recipe
    model = build_model(run.preset.model.name, data.sample, data.classes, stream_seed(name, run.seed, "weights"))
    initial = weights_hash(model)
    _check_method(run, model)
    model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub lacks it
    if group.size > 1:
        model = synchronised(model)
    method = copy.deepcopy(run.method)
    streams = {purpose: stream(name, run.seed, purpose) for purpose in PURPOSES}
    optimizer = make_optimizer(recipe, model, device)
    state = State(model, _network(model, device, group), group, optimizer, method, streams, initial)
    state.skipped = data.train.damaged
    return state


def _network(model: nn.Module, device: torch.device, group: Group) -> nn.Module:
    """Return the model, wrapped in DistributedDataParallel where several processes train it."""
    if group.size == 1:
        return model
    devices = [device] if device.type == "cuda" else None
    # Buffers stay equal by themselves. torch 2.13 warns of the option's old name, which older versions have alone.
    known = inspect.signature(DistributedDataParallel).parameters
    option = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    return DistributedDataParallel(model, device_ids=devices, **{option: False})  # type: ignore[arg-type]


def make_optimizer(recipe: Recipe, model: nn.Module, device: torch.device) -> torch.optim.SGD:
    """Return Nesterov SGD of the trainable weights; on a GPU one kernel does a whole step."""
    return torch.optim.SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
        fused=True if device.type == "cuda" else None,
    )


def _check_method(run: Run, model: nn.Module) -> None:
    """Let the method refuse the network before the first step, where it has a `check`."""
    check = getattr(run.method, "check", None)
    try:
        if check is not None:
            check(model)
    except ValueError as error:
        raise UsageError(f"arm {run.arm}, network {run.preset.model.name}: {error}") from error
