"""Records of attacked runs with planted curves, and tables of the report as data."""

from collections.abc import Sequence

from records import planted

from benchmark.records.schema import AttackOutcome, Record
from benchmark.report.table import Table

COUNTS = {"sba": [870] * 5, "standard": [858] * 5, "mixup": [860] * 5}
STEEP = (160, 120, 60, 10, 0)  # half of 160 at .25 + .25 * 40 / 60
SLOW = (180, 160, 120, 90, 30)  # half of 180 at 1
FIRM = (180, 170, 160, 150, 140)  # half of 180 never
L2_EPS = (0.25, 0.5)  # these are Linf radii of the planted study too, in another unit
L2_ATTACKS = ({"name": "apgd_ce", "steps": 10}, {"name": "square", "steps": 100})


def rows(table: Table | None) -> dict[str, dict[str, str]]:
    """The first cell of each row, without Markdown -> the others by header."""
    assert table is not None
    bare = table.plain()
    return {row[0]: dict(zip(bare.headers[1:], row[1:], strict=True)) for row in bare.rows}


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
    """Arms of which one falls, one is robust beyond the largest eps in a seed, and one was never attacked."""
    curves = {"sba": [STEEP] * 3 + [SLOW] * 2, "standard": [STEEP] * 4 + [FIRM], "mixup": [STEEP] * 5}
    records = planted.study(COUNTS, curves)
    for record in records:
        if record["arm"] == "mixup":
            record["robustness"] = None
    return records
