"""Errors for users: one message, one exit code, never a traceback; also where the user's own code fails."""

import difflib
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.runtime.signals import Stopped

LISTED = 40  # names, at most, that a message lists
LONGEST = 400  # characters of the words of the user's code
PACKAGE = Path(__file__).parents[1]
INSTALLED = [PACKAGE, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))]


class BenchmarkError(Exception):
    """An error that the user can correct; its text is the whole message.

    Args:
        text: the message.
        exit_code: of the program, if not that of the kind, as of an error in another process.
    """

    exit_code = 2

    def __init__(self, text: str, exit_code: int | None = None) -> None:
        super().__init__(text)
        self.exit_code = exit_code or type(self).exit_code


class UsageError(BenchmarkError):
    """Wrong command line, preset or settings (exit code 2)."""


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


@contextmanager
def own_words(kind: type[Exception], problem: str) -> Iterator[None]:
    """Turn anything that the user's code raises in the block, SystemExit too, into one message.

    Errors of this program, signals and Ctrl-C pass.

    Args:
        kind: of the message; a BenchmarkError gives the exit code.
        problem: the beginning of the message.

    Raises:
        kind: "<problem>: <type>: <text> (networks.py, line 12)."
    """
    try:
        yield
    except (BenchmarkError, KeyboardInterrupt, Stopped):
        raise
    except BaseException as error:  # SystemExit would end the program without a word
        raise kind(f"{problem}: {_words(error)}{_origin(error)}.") from error


def _words(error: BaseException) -> str:
    lines = traceback.format_exception_only(error)  # safe for errors whose own str() fails
    text = lines[-1] if isinstance(error, SyntaxError) else lines[0]
    return shorten(" ".join(text.split()), LONGEST).rstrip(".:")


def _origin(error: BaseException) -> str:
    """Return the innermost line of the user's code, in parentheses, or nothing.

    It is in no installed package; else, as a file that the user added to this package may be, in another file of this
    package than the block that `own_words` guards.
    """
    guard, *frames = traceback.extract_tb(error.__traceback__)[1:]
    paths = [Path(f.filename) for f in (guard, *frames)]
    places = [(path, f.lineno) for path, f in zip(paths, (guard, *frames), strict=True) if path.is_absolute()]
    own = [place for place in places if not any(place[0].is_relative_to(folder) for folder in INSTALLED)]
    own = own or [place for place in places if place[0].is_relative_to(PACKAGE) and place[0] != paths[0]]
    return f" ({own[-1][0]}, line {own[-1][1]})" if own else ""
