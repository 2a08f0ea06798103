"""What the tests of bad input share: how they call the command line and what it said."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[3]
ONE_RUN = ("run", "smoke", "--arms", "erm", "--seeds", "0")
TINY = (
    *("--set", "recipe.epochs=1", "--set", "data.train_images=128"),
    *("--set", "evaluation.images=16", "--set", "evaluation.eps=[16.0]"),
    *("--set", 'evaluation.attacks=[{name="fgsm", steps=1}, {name="apgd_dlr", steps=2}]'),
)


class Said(NamedTuple):
    """What a command printed and how it ended."""

    code: int
    out: str
    error: str

    def has(self, *parts: str) -> bool:
        """Whether the message has all parts."""
        missing = [part for part in parts if part not in self.error]
        assert not missing, f"{missing} not in: {self.error}"
        return True


Say = Callable[..., Said]


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True
