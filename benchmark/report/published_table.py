"""Published accuracies beside ours as a table."""

from collections.abc import Sequence
from typing import Any

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
from benchmark.report.tables import Table
from benchmark.report.words import code, escape, mean_text, sd_text, value_text


def published_table(studies: Sequence[Study]) -> Table:
    """Return every published figure beside ours, or the reasons why none of ours is comparable."""
    headers = ["source", "data set", "network", "method, augmentation", "protocol", "published, %", "ours, %"]
    rows = [
        [
            published().sources[row.figure.source],
            data_set(row.figure.dataset).title,
            published().networks[row.figure.network],
            f"{code(row.figure.method)}, {row.figure.augmentation or 'not given'}",
            _protocol_text(row.figure),
            _published_text(row.figure),
            _ours_text(row),
        ]
        for row in published_beside_ours(studies)
    ]
    return Table(headers, rows, words=headers)


def _protocol_text(figure: Figure) -> str:
    """Return the known parts of a figure's protocol."""
    protocol, attack = figure.protocol, figure.attack
    known = [
        ("{:g} epochs", protocol.epochs),
        ("batch {}", protocol.batch_size),
        ("weight decay {:g}", protocol.weight_decay),
        ("{}", protocol.reported),
        ("{} runs", protocol.runs),
        ("{0.name} at Linf {0.eps:g}/255", attack),
        ("{}", protocol.note),
    ]
    return ", ".join(text.format(value) for text, value in known if value is not None) or "not given"


def _published_text(figure: Figure) -> str:
    """Format a figure as accuracy in %, with its spread and, if published so, its error."""
    spread = "" if figure.spread is None else f" ± {figure.spread:g}"
    if figure.quantity == "error":
        return f"{100 - figure.value:.2f}{spread} (error {figure.value:.2f})"
    return f"{figure.value:.2f}{spread}{' robust' if figure.attack else ''}"


def _ours_text(row: Row) -> str:
    """Return our figure of every matching study, or the differences of the closest one."""
    if row.ours:
        return "; ".join(_own_text(row.figure, ours) for ours in row.ours)
    if row.differs is None:
        return f"not comparable: no study of {data_set(row.figure.dataset).title} was run"
    return f"not comparable: {'; '.join(map(_difference_text, row.differs))}"


def _own_text(figure: Figure, ours: Ours) -> str:
    """Format mean, sd and number of seeds of one study, and the median over the same epochs."""
    seeds = f"{np.isfinite(ours.values).sum()} of {len(ours.study.seeds)} seeds"
    text = f"{mean_text(ours.values)} (sd {sd_text(ours.values)}, {seeds}) in {code(ours.study.preset)}"
    return text if ours.medians is None else f"{text}, {mean_text(ours.medians)} as {figure.protocol.reported}"


def _difference_text(difference: Difference) -> str:
    """Return a difference between a study and a published figure."""
    kind, ours, theirs = difference
    if kind in ("training images", "test images", "attacked images", "epochs"):
        return f"{ours:,.12g} {kind}, not {theirs:,.12g}"
    if kind in ("batch", "weight decay", "crops padded by"):
        return f"{kind} {ours:,.12g}, not {theirs:,.12g}"
    if kind.startswith("setting "):
        return f"{kind.removeprefix('setting ')} {value_text(ours)}, not {value_text(theirs)}"
    if kind == "attacks":
        return f"attacks {_steps(ours)}, not {theirs}"
    if kind == "no attack at":
        return f"no attack at {theirs:g}/255"
    if kind == "not given":
        return f"not given: {', '.join(theirs)}"
    return {
        "data set": f"the data set is {escape(str(ours))}, not the official {theirs}",
        "network": f"network {ours if ours in published().networks.values() else code(str(ours))}, not {theirs}",
        "no arm": f"no arm of {code(str(theirs))}" + (f" with augmentation {ours}" if ours else ""),
        "no finished run": f"no run of {code(str(ours))} has finished",
        "equal compute": "trained for equal FLOPs, not for epochs",
        "best test epoch": "last epoch, not best test epoch",
    }[kind]


def _steps(attacks: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{attack['name']} ({attack['steps']})" for attack in attacks)
