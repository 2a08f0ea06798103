"""Names in presets: the table that holds the names of each kind, and the object that a name stands for.

Each table lives in the package of what it lists. Settings check names before torch or data is loaded, so the modules
that hold tables import no torch: where an object needs it, the row gives its address, "package.module:name".
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from benchmark.runtime.errors import UsageError, nearest, shorten

# By address, because these packages lie above this one.
TABLES = {
    "data set": "benchmark.data.catalogue:DATASETS",
    "network": "benchmark.networks.catalogue:NETWORKS",
    "attack": "benchmark.evaluation.catalogue:ATTACKS",
    "method": "benchmark.settings.methods:methods",
    "endpoint": "benchmark.analysis.endpoints:ENDPOINTS",
}


class Entry(Protocol):
    """What rows have whose object is imported when it is used."""

    @property
    def target(self) -> str:
        """The object that the name stands for, as "package.module:name"."""

    @property
    def source(self) -> str:
        """Where it comes from, in one line."""


class Row(NamedTuple):
    """One name: the object "package.module:name" it stands for and one line on its source."""

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


def check(kind: str, name: str, where: str) -> None:
    """Raise UsageError, with the nearest names, where a kind has no such name; `where` is the file and the key."""
    rows = table(kind)
    if name not in rows:
        raise UsageError(f"{where} = {shorten(repr(name))}: there is no such {kind}; {nearest(name, rows)}")


def look_up(name: str, rows: Mapping[str, Entry]) -> Any:
    """Import and return the object that a name in `rows` stands for.

    Raises:
        UsageError: it cannot be imported, as may happen to a package that somebody else installed.
    """
    row = rows[name]
    try:
        return load(row.target)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{name!r} ({row.source}) cannot be imported from {row.target}: {error}.") from error


def load(target: str) -> Any:
    """Return the object at "package.module:name"."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
