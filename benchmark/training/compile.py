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

MOST_FORMS = 64  # of a network: whole and in halves, for each size of batch, training and evaluating
REHEARSED = 32  # steps; a method that draws one of three layers in half of them misses one in 1 of 100 rehearsals


def compiles(recipe: Recipe, device: torch.device, group: Group = ALONE) -> bool:
    """Say whether the recipe compiles here: on a GPU, where one process trains.

    On a CPU compiling takes longer than it saves, and DistributedDataParallel does not see calls of a network's halves.
    """
    return recipe.compile and device.type == "cuda" and group.size == 1


def warm_up(run: Run, state: State, train: Images) -> float:
    """Compile what the run's steps call, in rehearsed steps that leave the state as it was.

    Without them the first steps of an epoch would take the time of compilation. What none of them calls, such as the
    halves of a method that begins to act later, is compiled when it is first called, and that epoch takes the time.

    Args:
        run: what is trained.
        state: its `network` becomes the compiled form of its model.
        train: what it is trained on.

    Returns:
        Seconds that it took.

    Raises:
        UsageError: torch.compile fails here.
    """
    import torch._dynamo  # takes seconds, and only compilation needs it
    from torch._dynamo.exc import TorchDynamoException

    began = time.perf_counter()
    # All parts of all networks share one function of torch, and with it the limit, 8 unless changed, behind which torch
    # would go on uncompiled without a word.
    torch.compiler.reset()
    torch._dynamo.config.recompile_limit = MOST_FORMS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    before = copy.deepcopy(snapshot(state))
    state.network = Compiled(state.model)
    state.position = begin_epoch(state, train, len(train.labels) // run.preset.recipe.batch_size)
    state.model.train()
    with contextlib.closing(training_batches(run, state, train)) as batches:
        images, labels = next(batches)  # as training has them: another memory format would be compiled anew
    try:
        for _ in range(REHEARSED):
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
