"""Ranges of settings. Every error begins with the setting's name and ends with its value."""

import math
from collections.abc import Collection
from typing import TypeGuard

# The largest number that float32, in which networks compute, can hold, rounded down.
LARGEST = 1e38


def positive(name: str, value: object, *, most: float = LARGEST) -> None:
    """Raise ValueError unless the value is a finite number above 0, and at most `most`.

    Example:
        >>> positive("alpha", 0.0)
        Traceback (most recent call last):
        ValueError: alpha must be a finite number above 0, got 0.0.
    """
    if not _is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}.")
    _at_most(name, value, most)


def not_negative(name: str, value: object, *, most: float = LARGEST) -> None:
    """Raise ValueError unless the value is a finite number of at least 0, and at most `most`."""
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}.")
    _at_most(name, value, most)


def share(name: str, value: object) -> None:
    """Raise ValueError unless the value is a number from 0 to 1."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}.")


def count(name: str, value: object, *, least: int, most: int = 2**53) -> None:
    """Raise ValueError unless the value is an integer from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")
    _at_most(name, value, most)


def switch(name: str, value: object) -> None:
    """Raise ValueError unless the value is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def choice(name: str, value: object, allowed: Collection[str]) -> None:
    """Raise ValueError unless the value is one of the allowed names."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")


def layer_names(name: str, value: object) -> None:
    """Raise ValueError unless the value is a tuple of one or more different, non-empty names."""
    if not isinstance(value, tuple) or not value or not all(isinstance(one, str) and one for one in value):
        raise ValueError(f'{name} must be a tuple of one or more layer names, like ("layer1",), got {_shown(value)}.')
    if len(set(value)) < len(value):
        raise ValueError(f"{name} must be different names, got {value!r}.")


def _at_most(name: str, value: float, most: float) -> None:
    if value > most:
        raise ValueError(f"{name} must be at most {most:,}, got {value!r}.")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    """Return the repr of a value, with the type in place of long ones, such as modules given for their names."""
    if isinstance(value, tuple | list):
        return repr(type(value)(one if isinstance(one, str | int) else type(one).__name__ for one in value))
    return repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
