"""Damaged image files that are replaced instead of ending a run: how many may be, and which were."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.runtime.console import print_line
from benchmark.runtime.errors import DataError


@dataclass
class Skipped:
    """The damaged image files that a run has met, each once, and how many different ones it may.

    Attributes:
        may_skip: so many may be replaced.
        files: path, relative to the data set's folder, -> what is wrong with it, in the order in which they were met.
    """

    may_skip: int = 0
    files: dict[str, str] = field(default_factory=dict)

    def add(self, folder: Path, damaged: Iterable[tuple[str, str]]) -> None:
        """Take the (path, reason) of damaged files, and print a line for each new one.

        Raises:
            DataError: they are more than may be skipped; it names all of them.
        """
        for path, reason in damaged:
            if path not in self.files:
                self.files[path] = reason
                if len(self.files) <= self.may_skip:
                    print_line(f"{folder / path} is replaced by the image after it: it cannot be read ({reason}).")
        if len(self.files) > self.may_skip:
            raise self.error(folder)

    def error(self, folder: Path) -> DataError:
        """Return the message that names all damaged files and says what to do."""
        met = [f"\n  {folder / path}: {reason}" for path, reason in self.files.items()]
        return DataError(
            f"{len(met)} damaged image file{'s'[: len(met) != 1]}, and {self.may_skip} may be skipped:{''.join(met)}\n"
            f"Restore from the original archives what is named, or let N different files be replaced by the images "
            f"after them and listed in the record: --skip-corrupt N."
        )
