"""torch.compile for training: the network, and its halves around the layer that a method acts behind."""

import contextlib
import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmark.data.datasets import Split
from benchmark.data.load import to_float
from benchmark.data.streamed import Files
from benchmark.runtime.distributed import ALONE, Group
from benchmark.runtime.errors import UsageError, shorten
from benchmark.settings.plan import Run
from benchmark.settings.preset import Recipe
from benchmark.training.checkpoint import fill, snapshot
from benchmark.training.loop import begin_epoch, train_step, training_batches
from benchmark.training.state import State

Part = Callable[[Tensor], Tensor]
INPUT = "input"  # the place before the first layer
MOST_FORMS = 64  # of a network: whole and in halves, for each size of batch, training and evaluating
REHEARSED = 32  # steps; a method that draws one of three layers in half of them misses one in 1 of 100 rehearsals


class Compiled(nn.Module):
    """A network whose calls are compiled; it shares the network's weights, and compiles each part at its first call.

    What is compiled does not see hooks that come later. A method that widens the batch or mixes it behind a layer
    therefore asks for the two halves around that layer, and does its work between them.

    Args:
        network: images to logits; its training and evaluation modes are its own.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._orig_mod = network  # as torch.compile names it, so that layers are found by their own names
        self._whole: Part = _compiled(network)
        self._halves: dict[str, tuple[Part, Part]] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, ...) images to (N, classes) logits."""
        return self._whole(images)

    def below_and_above(self, layer: str) -> tuple[Part, Part] | None:
        """Return the network up to and with a layer, and the rest of it, both compiled.

        None where the layer is not one of the stages of a Sequential network: then nothing but a hook gets there.
        """
        if layer == INPUT:
            return (lambda images: images), self._whole
        stages = [name for name, _ in self._orig_mod.named_children()]
        if not isinstance(self._orig_mod, nn.Sequential) or layer not in stages:
            return None
        if layer not in self._halves:
            cut = stages.index(layer) + 1
            self._halves[layer] = _compiled(self._orig_mod[:cut]), _compiled(self._orig_mod[cut:])
        return self._halves[layer]


def _compiled(network: nn.Module) -> Part:
    """Compile for each size of batch by itself: training has one or two, and known sizes give the faster code."""
    part: Part = torch.compile(network, dynamic=False)
    return part


def compiles(recipe: Recipe, device: torch.device, group: Group = ALONE) -> bool:
    """Say whether the recipe compiles here: on a GPU, where one process trains.

    On a CPU compiling takes longer than it saves, and DistributedDataParallel does not see calls of a network's halves.
    """
    return recipe.compile and device.type == "cuda" and group.size == 1


def warm_up(run: Run, state: State, train: Split | Files) -> float:
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
