"""A batch: one tensor, or tensors in tuples, lists and dicts, each with a row for every example."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors with rows in a batch, in order; scalars and values of other types have none."""
    if isinstance(value, Tensor):
        if value.dim():
            yield value
    elif isinstance(value, Mapping | tuple | list):
        for part in value.values() if isinstance(value, Mapping) else value:
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
    """Return the batch `times` times over: (times * N) rows."""
    return map_tensors(lambda rows: rows.repeat(times, *[1] * (rows.dim() - 1)), value) if times > 1 else value


def describe(value: object) -> str:
    """Return a tensor's dtype and shape, those of a batch's tensors, or the type of anything else, for a message."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    parts = ", ".join(map(describe, tensors(value)))
    return f"a {type(value).__name__}" + (f" of {parts}" if parts else "")


def is_channels_last(rows: Tensor) -> bool:
    """Return whether dimension 1 of (N, C, ...) varies fastest in memory."""
    return rows.dim() > 2 and not rows.is_contiguous() and rows.movedim(1, -1).is_contiguous()
