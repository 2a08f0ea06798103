"""A batch: one tensor, or tensors in tuples, lists and dicts, each with a row for every example."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors with rows in a batch, in order; scalars and values of other types have none."""
    if isinstance(value, Tensor):
        if value.dim():
            yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors(part)


def map_tensors(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Return the batch with `change` applied to each of its tensors with rows; any mapping becomes a dict."""
    if isinstance(value, Tensor):
        return change(value) if value.dim() else value
    if isinstance(value, Mapping):
        return {key: map_tensors(change, part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [map_tensors(change, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def repeat(value: Any, times: int) -> Any:
    """Return the batch with (times * N) rows: all examples, `times` times over."""
    return map_tensors(lambda rows: rows.repeat(times, *[1] * (rows.dim() - 1)), value) if times > 1 else value


def describe(value: object) -> str:
    """Return a short text: a tensor's dtype and shape, of a batch those of its tensors, else the type."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    held = list(map(describe, tensors(value)))
    return f"a {type(value).__name__}" + (f" of {', '.join(held)}" if held else "")
