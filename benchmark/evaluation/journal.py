"""The journal of an evaluation: finished parts, cached in a file, so that no attack runs twice."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from benchmark.runtime.files import checksum, remove_leftovers, write_whole, writing_to

T = TypeVar("T")


class Journal:
    """Computes the parts of an evaluation, each a JSON value, or returns them from an interrupted start.

    Attributes:
        path: of the file; None keeps nothing.
        key: identifies the evaluated network; the journal of another one, or a damaged one, is ignored.
        check: called before each write; see `benchmark.runtime.files.write_whole`.
        parts: name -> value and the seconds to compute it.
        resumed: seconds spent on the parts that were found in the file.
    """

    def __init__(self, path: Path | None = None, key: str = "", check: Callable[[], object] = lambda: None) -> None:
        self.path, self.key, self.check = path, key, check
        self.parts: dict[str, dict[str, Any]] = self._found()
        self.resumed = sum(part["seconds"] for part in self.parts.values())

    def _found(self) -> dict[str, dict[str, Any]]:
        if self.path is None or not self.path.is_file():
            return {}
        remove_leftovers(self.path)
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            whole = kept.pop("sha256") == checksum(kept) and kept["key"] == self.key
        except (ValueError, KeyError, AttributeError, TypeError):  # damaged: the parts are computed again
            return {}
        return kept["parts"] if whole else {}

    def __call__(self, name: str, compute: Callable[[], T]) -> T:
        """Return the part of this name; `compute` returns a value that JSON represents without loss.

        Raises:
            UsageError: the folder cannot be written.
        """
        if name not in self.parts:
            began = time.perf_counter()
            self.parts[name] = {"value": compute(), "seconds": time.perf_counter() - began}
            self._keep()
        value: T = self.parts[name]["value"]
        return value

    def _keep(self) -> None:
        if self.path is None:
            return
        kept = {"key": self.key, "parts": self.parts}
        text = json.dumps(kept | {"sha256": checksum(kept)})
        with writing_to(self.path.parent):
            write_whole(self.path, lambda file: file.write(text.encode()), check=self.check)
