"""Ranges of settings, as functions (name, value) that raise ValueError for a value outside of them.

A method annotates its fields with them, and calls `check` when it is made. Every error begins with the setting's name
and ends with its value.
"""

import math
from functools import partial
from numbers import Integral, Real
from typing import Annotated, Literal, TypeGuard, get_args, get_origin, get_type_hints

LARGEST = 1e38  # the largest number that float32, in which networks compute, can hold, rounded down
MOST_COPIES = 1000  # a step holds all copies of a batch at once


def check(settings: object) -> None:
    """Raise ValueError for a field of a dataclass that is out of range.

    The range is a function in `Annotated`, the names of a `Literal`, or True and False for a bool.
    """
    for name, kind in get_type_hints(type(settings), include_extras=True).items():
        value = getattr(settings, name)
        if get_origin(kind) is Annotated:
            kind.__metadata__[0](name, value)
        elif get_origin(kind) is Literal:
            if value not in get_args(kind):
                allowed = ", ".join(map(repr, get_args(kind)))
                raise ValueError(f"{name} must be one of {allowed}, got {value!r}.")
        elif kind is bool and not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, got {value!r}.")


def positive(name: str, value: object, *, most: float = LARGEST) -> None:
    """Check for a finite number above 0, and at most `most`.

    Example:
        >>> positive("alpha", 0.0)
        Traceback (most recent call last):
        ValueError: alpha must be a finite number above 0, got 0.0.
    """
    if not _is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}.")
    _at_most(name, value, most)


def positive_or_none(name: str, value: object) -> None:
    """Check for a finite number above 0, or None."""
    if value is not None:
        positive(name, value)


def not_negative(name: str, value: object, *, most: float = LARGEST) -> None:
    """Check for a finite number of at least 0, and at most `most`."""
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}.")
    _at_most(name, value, most)


def share(name: str, value: object) -> None:
    """Check for a number from 0 to 1."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}.")


def count(name: str, value: object, *, least: int = 0, most: int = 2**53) -> None:
    """Check for a whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")
    _at_most(name, int(value), most)


copies = partial(count, least=1, most=MOST_COPIES)


def layer_names(name: str, value: object) -> None:
    """Check for a tuple of one or more different, non-empty names."""
    if not isinstance(value, tuple) or not value or not all(isinstance(one, str) and one for one in value):
        raise ValueError(f'{name} must be a tuple of one or more layer names, like ("layer1",), got {_shown(value)}.')
    if len(set(value)) < len(value):
        raise ValueError(f"{name} must be different names, got {value!r}.")


def _at_most(name: str, value: float, most: float) -> None:
    if value > most:
        raise ValueError(f"{name} must be at most {most:,}, got {value!r}.")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)  # numpy's numbers too


def _shown(value: object) -> str:
    """Return the repr of a value, with the type in place of long ones, such as modules given for their names."""
    if isinstance(value, tuple | list):
        return repr(type(value)(one if isinstance(one, str | int) else type(one).__name__ for one in value))
    return repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
