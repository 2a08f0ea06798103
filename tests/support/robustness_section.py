"""What the tests of the robustness section of RESULTS.md share: planted curves, and its tables as data."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import planted

from benchmark.records.schema import AttackOutcome, Record
from benchmark.report.build import render

COUNTS = {"sba": [870] * 5, "standard": [858] * 5, "mixup": [860] * 5}
STEEP = (160, 120, 60, 10, 0)  # half of 160 at .25 + .25 * 40 / 60
SLOW = (180, 160, 120, 90, 30)  # half of 180 at 1
FIRM = (180, 170, 160, 150, 140)  # half of 180 never
L2_EPS = (0.25, 0.5)  # these are Linf radii of the planted study too, in another unit
L2_ATTACKS = ({"name": "apgd_ce", "steps": 10}, {"name": "square", "steps": 100})
CONTROL = "adversarial"


class Table(NamedTuple):
    """A Markdown table: its headers, and the first cell of each row -> the others."""

    headers: list[str]
    cells: dict[str, list[str]]

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        """The first cell of each row -> the others by header."""
        return {name: dict(zip(self.headers[1:], row, strict=True)) for name, row in self.cells.items()}


def written(folder: Path, records: Sequence[Record]) -> str:
    """The robustness section of the report of these records, from its heading to the next one."""
    planted.write(folder / "results", records)
    return section(folder)


def section(folder: Path) -> str:
    """The robustness section of the report of the records in a folder."""
    output = folder / "RESULTS.md"
    text = render(folder / "results", output)[output]
    found = text[text.index("### Robustness") : text.index("### Convergence")]
    assert not re.search(r"\bnan\b|\binf\b|None", found)
    return found


def tables(text: str) -> list[Table]:
    """All tables of a text."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", text, flags=re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.strip().splitlines()]
        found.append(Table(lines[0], {line[0].strip("`"): line[1:] for line in lines[2:]}))
    return found


def with_column(text: str, header: str) -> list[Table]:
    """The tables of a text that have a column of this name."""
    return [table for table in tables(text) if header in table.headers]


def points(curve: Sequence[int]) -> list[float]:
    """A curve of counts of the attacked images in %."""
    return [100 * count / planted.ATTACKED for count in curve]


def area(curve: Sequence[int], eps: Sequence[float]) -> float:
    """Trapezoids of a curve of counts, divided by the largest eps, in points."""
    values, grid = points(curve), [0.0, *eps]
    pieces = [(grid[i + 1] - grid[i]) * (values[i] + values[i + 1]) / 2 for i in range(len(eps))]
    return sum(pieces) / grid[-1]


def l2_attacked(record: Record, curve: Sequence[int]) -> None:
    """Give a record L2 attacks that leave so many images right at `L2_EPS`; the first attack fools half of them."""
    record["settings"]["evaluation"] |= {"l2_eps": list(L2_EPS), "l2_attacks": list(L2_ATTACKS)}
    robustness = record["robustness"]
    assert robustness is not None
    clean = STEEP[0]
    for eps, correct in zip(L2_EPS, curve, strict=True):
        for attack, left in zip(L2_ATTACKS, ((clean + correct) // 2, correct), strict=True):
            robustness["attacks"].append(
                AttackOutcome(
                    attack=str(attack["name"]),
                    norm="L2",
                    eps=eps,
                    steps=int(str(attack["steps"])),
                    correct=planted.bits(left, planted.ATTACKED),
                    fooled=clean - left,
                    gradients=100,
                )
            )


def attacked_curves() -> list[Record]:
    """Arms of which one falls, one stands beyond the largest eps in a seed, and one was never attacked."""
    curves = {"sba": [STEEP] * 3 + [SLOW] * 2, "standard": [STEEP] * 4 + [FIRM], "mixup": [STEEP] * 5}
    records = planted.study(COUNTS, curves)
    for record in records:
        if record["arm"] == "mixup":
            record["robustness"] = None
    return records
