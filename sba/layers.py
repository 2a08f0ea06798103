"""Layers by name, in a network that may be wrapped, and a forward pass in which the activation of one is replaced."""

import difflib
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointFunction

from sba.batch import describe, map_tensors, tensors

Forward = Callable[[nn.Module, Any], Any]

INPUT = "input"  # names the place before the first layer
# Attributes in which torch.compile, FSDP1 and activation checkpointing keep the module that they wrap.
_WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")

UNFIT = (
    "layer {layer!r} must return one floating point tensor with a row for each of the {rows} examples, it returned "
    "{found}. Name another layer, such as one that takes its output; where the examples are not in dimension 0, as in "
    "PyTorch's sequence layers with batch_first=False, no layer fits."
)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the network inside DistributedDataParallel, FullyShardedDataParallel and torch.compile.

    Raises:
        ValueError: it is no module, or inside DataParallel, which gives every layer a part of the batch.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got a {type(model).__name__}.")
    while True:
        if isinstance(model, nn.DataParallel):
            raise ValueError(
                "model is a DataParallel, whose replicas see parts of a batch; use DistributedDataParallel."
            )
        inner = inside(model)
        if inner is None:
            return model
        model = inner


def inside(model: nn.Module) -> nn.Module | None:
    """Return the module directly inside a wrapper, None for a module that wraps none."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        module: nn.Module = model.module
        return module
    held = (getattr(model, name, None) for name in _WRAPPED)
    return next((inner for inner in held if isinstance(inner, nn.Module)), None)


def find_layer(model: nn.Module, name: str) -> nn.Module | None:
    """Return the module called `name` in the unwrapped network, None for the input.

    Raises:
        ValueError: there is none, and the message has the nearest names and the network's top layers; or it is compiled
            by TorchScript, which runs no hook.

    Example:
        >>> find_layer(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "1")
        Linear(in_features=4, out_features=2, bias=True)
    """
    network = unwrap(model)
    modules: dict[str, nn.Module] = {}
    for key, module in network.named_modules():
        own = ".".join(part for part in key.split(".") if part not in _WRAPPED)
        modules.setdefault(own, module)  # the wrapper, which comes first
    del modules[""]
    if name in modules:
        if isinstance(modules[name], torch.jit.ScriptModule):
            raise ValueError(f"layers: {name!r} is in a TorchScript module, which runs no hooks; pass the original.")
        return modules[name]
    if name == INPUT:
        return None
    close = difflib.get_close_matches(name, [*modules, INPUT], n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    top = ", ".join(key for key, _ in network.named_children())
    raise ValueError(
        f"layers: {type(network).__name__} has no layer {name!r}.{hint} Its top layers are: {top}. "
        f"Every name in model.named_modules() is allowed, and {INPUT!r} for the input itself."
    )


def check_layers(model: nn.Module, names: Iterable[str]) -> None:
    """Raise ValueError, with the nearest names, if the model lacks one of the layers."""
    for name in names:
        find_layer(model, name)


def draw_layer(names: Sequence[str], generator: torch.Generator) -> str:
    """Draw one of the layers uniformly, by one draw of a CPU generator."""
    return names[int(torch.randint(len(names), (), generator=generator, device="cpu"))]


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
