"""The joint pass: originals and virtual samples share the layers below one layer, and the batch above it."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from sba.activation import Forward, replace_activation
from sba.batch import repeat, tensors
from sba.checks import check_logits
from sba.layers import INPUT, unwrap
from sba.separate_batchnorm import BatchNorm, separate

_SKIPPED = (
    "the batch could not be widened after layer {layer!r}: something behind it still expects {examples} examples, such "
    "as a skip connection that spans the layer, or a mask made before it. Name the whole block, or a layer behind it. "
    "({error})"
)


def forward_with_copies(
    model: nn.Module,
    layer: str,
    inputs: Any,
    draw: Callable[[Tensor], Tensor],
    *,
    copies: int,
    batchnorm: BatchNorm = "joint",
    gradient_below: bool = True,
    forward: Forward | None = None,
) -> Tensor:
    """Run the model once, with virtual activations joined to the batch after `layer`.

    Inputs of one tensor: the batch grows from N to (1 + M) N examples after the layer, and the layers up to it run on
    N. Inputs of several tensors, such as tokens and a mask: the others reach layers above that one, so all are
    repeated, the model runs on (1 + M) N examples throughout, and the activations of the repeated examples are replaced
    by the virtual ones. BatchNorm up to the layer sees the originals alone in either case.

    Args:
        model: a module that treats the examples of a batch independently (but for BatchNorm); wrapped or not.
        layer: see `replace_activation`.
        inputs: a tensor (N, ...), or a tuple, list or dict of tensors that have N rows each.
        draw: gives (M * N, ...) virtual activations for (N, ...) activations.
        copies: M.
        batchnorm: "joint": BatchNorm above the layer normalises originals and virtual samples together, and all enter
            its running statistics; "originals": see `separate`.
        gradient_below: whether the virtual samples' gradient flows into the layers up to `layer`.
        forward: maps model and inputs to the logits; None for model(inputs).

    Returns:
        ((1 + M) * N, classes, ...) logits: the originals', then each copy's.

    Raises:
        ValueError: see `replace_activation`; something behind the layer still has N examples; or no logits.
    """
    given = list(tensors(inputs))
    examples, repeated = len(given[0]), len(given) > 1 and layer != INPUT
    behind = False

    def join(activation: Tensor) -> Tensor:
        nonlocal behind
        behind = True
        if repeated:
            activation = activation[:examples]
        virtual = draw(activation if gradient_below else activation.detach())
        return torch.cat([activation, virtual])

    def keep_apart(hooks: ExitStack) -> None:
        apart = batchnorm == "originals"
        separate(unwrap(model), copies, lambda: apart if behind else repeated, hooks)

    try:
        batch = repeat(inputs, 1 + copies) if repeated else inputs
        prepare = keep_apart if repeated or batchnorm == "originals" else None
        logits = replace_activation(model, layer, batch, join, forward=forward, prepare=prepare)
    except (RuntimeError, AssertionError) as error:
        if behind and ("size" in str(error) or "shape" in str(error)):
            raise ValueError(_SKIPPED.format(layer=layer, examples=examples, error=error)) from error
        raise
    return check_logits(logits, (1 + copies) * examples)
