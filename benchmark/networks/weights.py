"""The weights in a file beside those of a network: names, shapes and kinds of numbers that differ."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from benchmark.networks.outputs import shape
from benchmark.runtime.errors import shorten

LISTED = 4  # differences, or names of weights, in a message


def differences(weights: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Return the first differences between a state_dict and that of a network, for a message; empty if it fits.

    Example:
        >>> differences({}, {"bias": Tensor([0.0])})
        'lacks bias'
    """
    both = [key for key in own if isinstance(own[key], Tensor) and isinstance(weights.get(key), Tensor)]
    shapes = [key for key in both if weights[key].shape != own[key].shape]
    kinds = [key for key in both if key not in shapes and _kind(weights[key]) != _kind(own[key])]
    found = [
        *(f"lacks {short(key)}" for key in own if key not in weights),
        *(f"has {short(key)}, unknown here" for key in weights if key not in own),
        *(f"has {short(key)} as {shape(weights[key])}, here {shape(own[key])}" for key in shapes),
        *(f"has {short(key)} in {weights[key].dtype}, here {own[key].dtype}" for key in kinds),
    ]
    more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return f"{'; '.join(found[:LISTED])}{more}"


def _kind(tensor: Tensor) -> tuple[bool, bool, bool]:
    """Return the kind of a tensor's numbers: copying one kind into another changes their meaning."""
    return tensor.is_floating_point(), tensor.is_complex(), tensor.is_quantized


def short(name: object) -> str:
    """Return the name of a weight for a message."""
    return shorten(str(name), 80)
