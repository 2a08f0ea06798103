"""torch.compile for training: whether a recipe uses it here, and compilation before the first step."""

import contextlib
import copy
import time

import torch

from benchmark.data.images import Images
from benchmark.data.load import to_float
from benchmark.networks.compiled import Compiled
from benchmark.runtime.distributed import ALONE, Group
from benchmark.runtime.errors import UsageError, shorten
from benchmark.settings.plan import Run
from benchmark.settings.preset import Recipe
from benchmark.training.checkpoint import fill, snapshot
from benchmark.training.loop import begin_epoch, train_step, training_batches
from benchmark.training.state import State

MAX_FORMS = 64  # of a network: whole and in halves, for each size of batch, training and evaluating
WARM_UP_STEPS = 32  # with three layers drawn in half of them, 1 warm-up of 100 misses a layer


def compiles(recipe: Recipe, device: torch.device, group: Group = ALONE) -> bool:
    """Return whether the recipe compiles here: on a GPU, where one process trains.

    On a CPU compiling takes longer than it saves, and DistributedDataParallel does not see calls of a network's halves.
    """
    return recipe.compile and device.type == "cuda" and group.size == 1


def warm_up(run: Run, state: State, train: Images) -> float:
    """Compile the network in training steps that leave the state as it was; return the seconds spent.

    Without them the first epoch's time would include compilation. A part that none of them calls, such as the halves
    of a method that begins to act later, is compiled in the epoch that first calls it.

    Args:
        run: gives recipe and arm.
        state: its `network` becomes the compiled form of its model.
        train: the training images.

    Raises:
        UsageError: torch.compile fails here.
    """
    import torch._dynamo  # takes seconds, and only compilation needs it
    from torch._dynamo.exc import TorchDynamoException

    began = time.perf_counter()
    # All parts of all networks share one function of torch, and with it the limit, 8 by default, beyond which torch
    # silently runs uncompiled.
    torch.compiler.reset()
    torch._dynamo.config.recompile_limit = MAX_FORMS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    before = copy.deepcopy(snapshot(state))
    state.network = Compiled(state.model)
    state.position = begin_epoch(state, train, len(train.labels) // run.preset.recipe.batch_size)
    state.model.train()
    with contextlib.closing(training_batches(run, state, train)) as batches:
        images, labels = next(batches)  # in training's memory format; another would be compiled again
    try:
        for _ in range(WARM_UP_STEPS):
            train_step(run, state, to_float(images), labels)
    except TorchDynamoException as error:
        raise UsageError(
            f"recipe.compile: torch.compile cannot compile network {run.preset.model.name} here "
            f"({shorten(' '.join(str(error).split()))}). It needs Triton and a C compiler; without them train by "
            "--set recipe.compile=false, a run of its own."
        ) from error
    state.optimizer.zero_grad(set_to_none=True)
    fill(state, before)
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
    return time.perf_counter() - began
