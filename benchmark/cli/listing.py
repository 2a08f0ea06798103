"""The command `list`: the names in each table of the project, each with its description.

Imports are local, because the parser needs the names of the kinds and nothing else.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from functools import partial

Rows = Sequence[tuple[str, str]]  # name, description


def _presets() -> Rows:
    from benchmark.settings.load import load_preset, preset_names

    return [(name, load_preset(name).title) for name in preset_names()]


def _arms() -> Rows:
    from benchmark.settings.load import load_preset, preset_names

    arms = {name: arm for preset in preset_names() for name, arm in load_preset(preset).arms.items()}
    return [(name, f"method {arm.method}, augmentation {arm.augmentation}") for name, arm in arms.items()]


def _sources(kind: str) -> Rows:
    from benchmark.settings.names import table

    return [(name, row.source) for name, row in table(kind).items()]


def _endpoints() -> Rows:
    from benchmark.analysis.endpoints import ENDPOINTS

    found = []
    for name, row in ENDPOINTS.items():
        title = re.sub(r"{(\w+)(:\w+)?}", r"<\1>", row.title)  # filled in for each study
        found.append((name, f"{title}; {row.unit}; {'higher' if row.more_is_better else 'lower'} is better"))
    return found


def _checks() -> Rows:
    from benchmark.evaluation.catalogue import SANITY_CHECKS

    return [(name, f"check {row.number}: {row.tests.replace('*', '')}") for name, row in SANITY_CHECKS.items()]


def _claims() -> Rows:
    from benchmark.analysis.claims import load_claims

    return [(claim.name, claim.says) for claim in load_claims()]


def _launchers() -> Rows:
    from benchmark.execution.launchers import LAUNCHERS

    return [(name, row.note) for name, row in LAUNCHERS.items()]


KINDS: dict[str, Callable[[], Rows]] = {
    "presets": _presets,
    "arms": _arms,
    "methods": partial(_sources, "method"),
    "datasets": partial(_sources, "data set"),
    "models": partial(_sources, "network"),
    "attacks": partial(_sources, "attack"),
    "checks": _checks,
    "endpoints": _endpoints,
    "claims": _claims,
    "launchers": _launchers,
}


def main(options: argparse.Namespace) -> None:
    """Print the names of one kind, a line each."""
    from tabulate import tabulate

    print(tabulate(KINDS[options.kind](), tablefmt="plain", disable_numparse=True))
