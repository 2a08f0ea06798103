"""Names in presets: the table that holds the names of each kind, and the object that a name refers to.

Each table lives in the package that its rows belong to. Settings check names before torch or data is loaded, so the
modules that hold tables import no torch: where an object needs it, the row gives its address, "package.module:name".
"""

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from benchmark.runtime.errors import UsageError, own_words, shorten

MAX_DEPTH = 20  # of a dotted key
# By address, because these packages lie above this one.
TABLES = {
    "data set": "benchmark.data.catalogue:DATASETS",
    "network": "benchmark.networks.catalogue:NETWORKS",
    "attack": "benchmark.evaluation.catalogue:ATTACKS",
    "method": "benchmark.settings.methods:methods",
    "endpoint": "benchmark.analysis.endpoints:ENDPOINTS",
}


class Entry(Protocol):
    """A row whose object is imported when it is used."""

    @property
    def target(self) -> str:
        """The object that the name refers to, as "package.module:name"."""

    @property
    def source(self) -> str:
        """Where it comes from, in one line."""


class Row(NamedTuple):
    """One name: the object "package.module:name" that it refers to, and one line on its source."""

    target: str
    source: str


def table(kind: str) -> Mapping[str, Any]:
    """Return the table of a kind in `TABLES`, name -> row.

    Raises:
        UsageError: an installed package declares the name of another method.
    """
    found = load(TABLES[kind])
    rows: Mapping[str, Any] = found() if callable(found) else found
    return rows


def look_up(name: str, rows: Mapping[str, Entry]) -> Any:
    """Import and return the object that a name in `rows` refers to.

    Raises:
        UsageError: it cannot be imported, which may happen to a package that the user installed.
    """
    row = rows[name]
    with own_words(UsageError, f"{name!r} ({row.source}) cannot be imported from {row.target}"):
        return load(row.target)


def load(target: str) -> Any:
    """Return the object at "package.module:name"."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def dotted(place: Sequence[int | str]) -> str:
    """Return the dotted key of a place, as TOML writes it: parts that are no bare keys are quoted, long ones cut.

    Example:
        >>> dotted(("arms", "../x", "method"))
        "arms.'../x'.method"
    """
    parts = [str(part) if re.fullmatch(r"[\w-]+", str(part), re.ASCII) else repr(part) for part in place]
    return ".".join(shorten(part, 80) for part in parts[:MAX_DEPTH])
