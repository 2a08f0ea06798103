"""Errors for users: one message, one exit code, never a traceback."""

import difflib
from collections.abc import Callable, Iterable

LISTED = 40  # names, at most, that a message lists


class BenchmarkError(Exception):
    """An error that the user can correct; its text is the whole message."""

    exit_code = 2


class UsageError(BenchmarkError):
    """Wrong command line, preset or settings (exit code 2)."""

    exit_code = 2


class DataError(BenchmarkError):
    """Data that is missing or damaged (exit code 3)."""

    exit_code = 3


class RunError(BenchmarkError):
    """A run that failed or diverged, or a check that found differences (exit code 1)."""

    exit_code = 1


def refuse_together(heading: str, checks: Iterable[Callable[[], object]]) -> None:
    """Do all checks, and refuse once with the message of each that failed.

    Raises:
        UsageError: the heading, then one line for each different message.
    """
    found = dict[str, None]()
    for check in checks:
        try:
            check()
        except UsageError as error:
            found[str(error)] = None
    if found:
        raise UsageError(f"{heading}:" + "".join(f"\n  {message}" for message in found))


def shorten(text: str, limit: int = 200) -> str:
    """Return the text, without its middle if it has more than `limit` characters.

    Example:
        >>> shorten("0123456789", 6)
        '0123...89'
    """
    return text if len(text) <= limit else f"{text[: limit - limit // 3]}...{text[-(limit // 3) :]}"


def shown(value: object) -> str:
    """Return the representation of a value for a message, shortened."""
    return shorten(repr(value))


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return the end of an error message about an unknown name: "did you mean 'x'? Allowed: ..." or "allowed: ..."."""
    names = sorted(valid)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    allowed = f"llowed: {', '.join(names[:LISTED]) if names else 'none'}{more}."
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(repr(n) for n in close)}? A{allowed}" if close else f"a{allowed}"
