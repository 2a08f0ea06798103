"""Published accuracies beside ours: one table of all for other programs, one of each data set for the page."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmark.analysis.published import (
    Difference,
    Figure,
    Ours,
    Row,
    data_set,
    published,
    published_beside_ours,
)
from benchmark.analysis.study import Study
from benchmark.report.notation import code, escape, fixed, mean_text, sd_text, settings_list, value_text
from benchmark.report.table import Table

_COLUMNS: dict[str, Callable[[Figure], Any]] = {  # header -> value; None where the source gives none
    "source": lambda figure: published().sources[figure.source],
    "network": lambda figure: published().networks[figure.network],
    "method": lambda figure: ", ".join([code(figure.method), *settings_list(figure.settings)]),
    "augmentation": lambda figure: figure.augmentation,
    "published, %": lambda figure: _published_text(figure),
    "epochs": lambda figure: figure.protocol.epochs,
    "batch": lambda figure: figure.protocol.batch_size,
    "weight decay": lambda figure: figure.protocol.weight_decay,
    "padding": lambda figure: figure.protocol.padding,
    "reported": lambda figure: figure.protocol.reported,
    "note": lambda figure: _note(figure),
}
_OURS, _DIFFERS = "ours, %", "ours differs also in"
_WORDS = ("data set", "source", "network", "method", "augmentation", "reported", "note", _OURS, _DIFFERS)


class Section(NamedTuple):
    """The figures of one data set: its title and a table.

    `compared`: whether any of the figures is comparable with ours. If none is, `closest` are the presets of our closest
    studies, none without a study of the data set, and `shared` their differences from all figures, which the rows do
    not repeat.
    """

    title: str
    table: Table
    compared: bool
    closest: tuple[str, ...]
    shared: tuple[str, ...]


def published_table(studies: Sequence[Study]) -> Table:
    """Return every published figure beside ours, or the differences that leave none of ours comparable."""
    rows = [
        [data_set(row.figure.dataset).title, *_cells(row.figure), _ours_text(row)]
        for row in published_beside_ours(studies)
    ]
    return Table(["data set", *_COLUMNS, _OURS], rows, words=_WORDS)


def published_sections(studies: Sequence[Study]) -> list[Section]:
    """Return the published figures of each data set beside ours. A column without any value is left out."""
    found: dict[str, list[Row]] = {}
    for row in published_beside_ours(studies):
        found.setdefault(row.figure.dataset, []).append(row)
    return [_section(data_set(name).title, rows) for name, rows in found.items()]


def _section(title: str, rows: Sequence[Row]) -> Section:
    closest = tuple(dict.fromkeys(row.closest.preset for row in rows if row.closest))
    if any(row.ours for row in rows):
        return Section(title, _filled(rows, _OURS, [_ours_text(row) for row in rows]), True, (), ())
    differ = [[_difference_text(reason) for reason in row.differs] for row in rows]
    shared = tuple(text for text in differ[0] if all(text in texts for texts in differ))
    own = [
        (f"{code(row.closest.preset)}: " if row.closest and len(closest) > 1 else "")
        + ("; ".join(text for text in texts if text not in shared) or "-")
        for row, texts in zip(rows, differ, strict=True)
    ]
    return Section(title, _filled(rows, _DIFFERS, own), False, closest, shared)


def _filled(rows: Sequence[Row], header: str, own: Sequence[str]) -> Table:
    """Return the table of some figures with a last column of ours, without columns that have dashes alone."""
    lines = [[*_cells(row.figure), cell] for row, cell in zip(rows, own, strict=True)]
    columns = zip([*_COLUMNS, header], *lines, strict=True)
    headers, *cells = zip(*(column for column in columns if set(column[1:]) != {"-"}), strict=True)
    return Table(headers, cells, words=_WORDS)


def _cells(figure: Figure) -> list[str]:
    """Return the columns of a published figure; a dash where the source gives no value."""
    return ["-" if (value := read(figure)) is None else value_text(value) for read in _COLUMNS.values()]


def _published_text(figure: Figure) -> str:
    """Format a figure as accuracy in %, with its spread, and its error if published so."""
    spread = "" if figure.spread is None else f" ± {figure.spread:g}"
    if figure.quantity == "error":
        return f"{fixed(100 - figure.value)}{spread} (error {fixed(figure.value)})"
    return f"{fixed(figure.value)}{spread}"


def _note(figure: Figure) -> str | None:
    """Return a figure's attack, number of runs and note, those that it has."""
    attack, protocol = figure.attack, figure.protocol
    known = [
        f"under {attack.name} at Linf {attack.eps:g}/255" if attack else None,
        f"{protocol.runs} runs" if protocol.runs else None,
        protocol.note,
    ]
    return ", ".join(filter(None, known)) or None


def _ours_text(row: Row) -> str:
    """Return our figure of every matching study, or the differences of the closest one."""
    if row.ours:
        return "; ".join(_own_text(row.figure, ours) for ours in row.ours)
    if row.closest is None:
        return f"not comparable: no study of {data_set(row.figure.dataset).title} was run"
    return f"not comparable: {'; '.join(map(_difference_text, row.differs))}"


def _own_text(figure: Figure, ours: Ours) -> str:
    """Format mean, sd and number of seeds of one study, and the median over the same epochs."""
    seeds = f"{np.isfinite(ours.values).sum()} of {len(ours.study.seeds)} seeds"
    text = f"{mean_text(ours.values)} (sd {sd_text(ours.values)}, {seeds}) in {code(ours.study.preset)}"
    return text if ours.medians is None else f"{text}, {mean_text(ours.medians)} as {figure.protocol.reported}"


def _difference_text(difference: Difference) -> str:
    """Return our side of a difference, and the published one where the table has no column of it."""
    kind, ours, theirs = difference
    if kind in ("training images", "test images", "attacked images"):
        return f"{ours:,} {kind}, not {theirs:,}"
    if kind.startswith("setting "):
        return f"{kind.removeprefix('setting ')} {value_text(ours)}"
    if kind == "attacks":
        return "attacks " + ", ".join(f"{attack['name']} ({attack['steps']})" for attack in ours)
    if kind == "no attack at":
        return f"no attack at {theirs:g}/255"
    return {
        "data set": f"{escape(str(ours))}, not the official {theirs}",
        "network": f"network {ours if ours in published().networks.values() else code(str(ours))}",
        "no arm": f"no arm of this method{' and augmentation' if ours else ''}",
        "no finished run": f"no run of {code(str(ours))} has finished",
        "epochs": f"{value_text(ours)} epochs",
        "batch": f"batch {ours}",
        "weight decay": f"weight decay {value_text(ours)}",
        "crops padded by": f"padding {ours}",
        "equal compute": "trained for equal FLOPs, not for epochs",
        "best test epoch": "last epoch",
        "not given": "values not given",
    }[kind]
