"""Layers by name, in a network that may be wrapped."""

import difflib
from collections.abc import Iterable, Sequence

import torch
from torch import nn

INPUT = "input"  # names the place before the first layer
# Attributes in which torch.compile, FSDP1 and activation checkpointing keep the module that they wrap.
_WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


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
