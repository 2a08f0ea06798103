"""Ranges of the methods' settings; every message begins with the setting's name and ends with the value."""

import math
from typing import TypeGuard


def positive(name: str, value: object) -> None:
    """Raise ValueError unless the value is a finite number above 0.

    Example:
        >>> positive("alpha", 0.0)
        Traceback (most recent call last):
        ValueError: alpha must be a finite number above 0, got 0.0.
    """
    if not _is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}.")


def not_negative(name: str, value: object) -> None:
    """Raise ValueError unless the value is a finite number of at least 0."""
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}.")


def share(name: str, value: object) -> None:
    """Raise ValueError unless the value is a number from 0 to 1."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}.")


def count(name: str, value: object, *, least: int) -> None:
    """Raise ValueError unless the value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")


def switch(name: str, value: object) -> None:
    """Raise ValueError unless the value is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def layer_names(name: str, value: object) -> None:
    """Raise ValueError unless the value is a tuple of one or more different, non-empty names."""
    names = value if isinstance(value, tuple) else ()
    if not names or not all(isinstance(one, str) and one for one in names) or len(set(names)) < len(names):
        raise ValueError(f"{name} must be a tuple of one or more different layer names, got {value!r}.")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
