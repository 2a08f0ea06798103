"""The joint pass: originals and virtual samples share the layers below one layer, and the batch above it."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sba.batch import describe, repeat, tensors
from sba.call import Call, check_logits
from sba.layers import INPUT, UNFIT, check_not_repeated, replace_activation, unwrap

if TYPE_CHECKING:
    from sba.method import SBA


def joint_pass(call: Call, layer: str, draw: Callable[[Tensor], Tensor], settings: "SBA") -> Tensor:
    """Run the model once, with virtual activations joined to the batch after `layer`.

    With inputs of one tensor, the layers up to `layer` run on N examples and those above it on (1 + M) N. With inputs
    of several tensors, such as tokens and a mask, the other tensors reach layers above it, so all are repeated, the
    whole model runs on (1 + M) N examples, and the virtual activations replace those of the repeated examples.
    BatchNorm up to the layer normalises by the originals alone in either case.

    Args:
        call: its model treats the examples of a batch independently (but for BatchNorm).
        layer: see `replace_activation`.
        draw: maps the activation (N, ...) to M * N virtual ones, copy by copy.
        settings: `copies` is M. With `batchnorm` "joint", BatchNorm above the layer normalises originals and virtual
            samples together, and all enter its running statistics; with "originals", it normalises them apart, and the
            originals alone enter. With `gradient_below`, the virtual samples' gradient flows into the layers up to
            `layer`.

    Returns:
        ((1 + M) * N, classes, ...) logits: the originals', then each copy's.

    Raises:
        ValueError: see `replace_activation` and `check_logits`; or an operation behind the layer still has N examples.
    """
    given, copies = list(tensors(call.inputs)), settings.copies
    examples, repeated = len(given[0]), len(given) > 1 and layer != INPUT
    behind = False

    def join(activation: Tensor) -> Tensor:
        nonlocal behind
        behind = True
        if repeated:
            if _has_examples_second(activation, examples):
                raise ValueError(UNFIT.format(layer=layer, rows=len(activation), found=describe(activation)))
            activation = activation[:examples]
        virtual = draw(activation if settings.gradient_below else activation.detach())
        return torch.cat([activation, virtual])

    def keep_apart(hooks: ExitStack) -> None:
        apart = settings.batchnorm == "originals"
        for norm in unwrap(call.model).modules():
            if isinstance(norm, _BatchNorm):
                _separate(norm, copies, lambda: apart if behind else repeated, hooks)

    try:
        batch = repeat(call.inputs, 1 + copies) if repeated else call.inputs
        prepare = keep_apart if repeated or settings.batchnorm == "originals" else None
        logits = replace_activation(call.model, layer, batch, join, forward=call.forward, prepare=prepare)
    except (RuntimeError, AssertionError) as error:
        if behind and ("size" in str(error) or "shape" in str(error)):
            raise ValueError(
                f"the batch could not be widened after layer {layer!r}: an operation behind it still expects "
                f"{examples} examples, such as a skip connection that spans the layer, or a mask made before it. Name "
                f"the whole block, or a layer behind it. ({error})"
            ) from error
        raise
    return check_logits(logits, (1 + copies) * examples)


def _has_examples_second(repeated: Tensor, examples: int) -> bool:
    """Return whether the examples of a repeated batch are in dimension 1, where the shape leaves that open.

    The repetitions of an example differ by dropout alone, two tokens or channels of it by more.
    """
    if repeated.dim() != 3 or repeated.shape[1] != len(repeated):  # a sequence; images would wait for a GPU here
        return False
    with torch.no_grad():
        first, second = (repeated.narrow(dim, 0, examples) - repeated.narrow(dim, examples, examples) for dim in (0, 1))
        return bool(second.float().square().sum() < first.float().square().sum())


def _separate(norm: _BatchNorm, copies: int, widened: Callable[[], bool], hooks: ExitStack) -> None:
    """Make a BatchNorm normalise the originals, the first of 1 + copies parts of a widened batch, and the rest apart.

    The originals alone enter the running statistics; in evaluation mode both are normalised with those. Subclasses
    (SyncBatchNorm, BatchNorm with an activation) treat each part as a batch of its own.

    Source: none; it is the usual contrast to a joint pass, as in AdvProp (Xie et al., arXiv:1911.09665), whose second
    set of statistics and weights is left out here.
    """
    aside: list[Tensor] = []

    def take_aside(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not widened():
            return None
        check_not_repeated("a BatchNorm that normalises virtual samples apart")
        rows, left = divmod(len(inputs[0]), 1 + copies)
        if left:
            raise ValueError(f"batchnorm: {len(inputs[0])} rows are not {1 + copies} equal parts; use 'joint'.")
        aside.append(inputs[0][rows:])
        return (inputs[0][:rows], *inputs[1:])

    def put_back(_module: nn.Module, _inputs: object, normalised: Tensor) -> Tensor:
        if not aside:
            return normalised
        tracked = norm.track_running_stats
        norm.track_running_stats = tracked and not norm.training  # statistics of the batch, and no update
        try:
            return torch.cat([normalised, norm.forward(aside.pop())])
        finally:
            norm.track_running_stats = tracked

    hooks.callback(norm.register_forward_pre_hook(take_aside).remove)
    hooks.callback(norm.register_forward_hook(put_back).remove)
