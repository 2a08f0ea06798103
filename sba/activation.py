"""A forward pass in which the activation of one layer is replaced."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction

from sba.batch import describe, map_tensors, tensors
from sba.layers import find_layer

Forward = Callable[[nn.Module, Any], Any]

UNFIT = (
    "layer {layer!r} must return one floating point tensor with a row for each of the {rows} examples, it returned "
    "{found}. Name another layer, such as one that takes its output; where the examples are not in dimension 0, as in "
    "PyTorch's sequence layers with batch_first=False, no layer fits."
)


def check_not_repeated(name: str) -> None:
    """Raise ValueError, for the module called `name`, in a forward pass that the backward pass repeats without hooks.

    This is the case within torch.utils.checkpoint with use_reentrant=True, where it ends in a wrong gradient or in an
    error about shapes. With use_reentrant=False, torch compares what the two passes save, and raises CheckpointError.
    """
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        if frame.f_code is CheckpointFunction.forward.__code__:
            raise ValueError(
                f"{name} is within torch.utils.checkpoint with use_reentrant=True, whose backward pass repeats the "
                "forward pass without the virtual samples. Keep it out of the checkpointed segments."
            )


def replace_activation(
    model: nn.Module,
    layer: str,
    inputs: Any,
    change: Callable[[Tensor], Tensor],
    *,
    forward: Forward | None = None,
    prepare: Callable[[ExitStack], None] | None = None,
) -> Any:
    """Run the model once with change(h) in place of the activation h of a layer, and return its output.

    A forward hook replaces it and is removed afterwards, also after an exception. Modules compiled by torch.compile run
    uncompiled in this pass, as a compiled module does not see hooks that are added later. A model may avoid this by a
    method `below_and_above(layer)`, which returns its two halves around the layer, called in place of the model without
    any hook, or None where it cannot be cut.

    Args:
        model: the network, wrapped or not.
        layer: name of a module that is called once in a forward pass and returns one tensor; or "input".
        inputs: a batch of N rows.
        change: maps the activation (N, ...) to its replacement.
        forward: maps model and inputs to the output; None for model(inputs).
        prepare: adds further hooks, with their removal as callbacks of the stack.

    Raises:
        ValueError: of `check_not_repeated`; or no such layer, not one call of it, or no floating point tensor (N, ...).
    """
    module, rows, calls = find_layer(model, layer), len(next(tensors(inputs))), 0

    def replace(_module: nn.Module, _inputs: object, activation: object) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise ValueError(f"layer {layer!r} is called more than once in a forward pass; name another.")
        if not isinstance(activation, Tensor) or not activation.is_floating_point() or len(activation) != rows:
            raise ValueError(UNFIT.format(layer=layer, rows=rows, found=describe(activation)))
        check_not_repeated(f"layer {layer!r}")
        return change(activation)

    halves = getattr(model, "below_and_above", None)
    direct = forward is None and prepare is None and isinstance(inputs, Tensor)
    cut = halves(layer) if halves is not None and direct else None
    if cut is not None:
        below, above = cut
        return above(replace(model, (), below(inputs)))
    with ExitStack() as hooks:
        if module is not None or prepare is not None:
            hooks.enter_context(torch.compiler.set_stance("force_eager"))
        if prepare is not None:
            prepare(hooks)
        if module is not None:
            hooks.callback(module.register_forward_hook(replace).remove)
        else:
            inputs = _with_replaced_input(inputs, change)
        output = model(inputs) if forward is None else forward(model, inputs)
    if module is not None and not calls:
        raise ValueError(
            f"layer {layer!r} is not called in a forward pass (a ModuleList, for example, never is); name one that is."
        )
    return output


def _with_replaced_input(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    found = list(tensors(inputs))
    if len(found) != 1 or not found[0].is_floating_point():
        raise ValueError(
            f"layer 'input' needs inputs with one floating point tensor, got {describe(inputs)}; name a layer of the "
            "network instead, such as its embedding."
        )
    return map_tensors(change, inputs)
