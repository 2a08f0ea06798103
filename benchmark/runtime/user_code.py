"""Errors of the user's own code: one message with its words, and where it was raised."""

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.runtime.errors import BenchmarkError, shorten
from benchmark.runtime.signals import Stopped

LONGEST = 400  # characters of the words
PACKAGE = Path(__file__).parents[1]
INSTALLED = [PACKAGE, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))]


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
