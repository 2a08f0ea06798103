"""Networks as people bring them: each must be evaluated, evaluated with a flag, or refused in one message.

`python tests/support/network_fuzz.py` tries all; tests/benchmark/evaluation/test_network_fuzz.py tries some.
"""

import io
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout

from foreign_networks import NETWORKS, Row

from benchmark.cli import main

LONGEST = 2000  # characters of a message
SLOW = 60.0  # seconds
SETTINGS = (
    "data.train_images=128",
    "evaluation.images=32",
    "evaluation.batch_size=32",
    "evaluation.eps=[4.0, 16.0]",
    'evaluation.attacks=[{name = "apgd_ce", steps = 10}, {name = "apgd_dlr", steps = 10}]',
    "evaluation.checks={images = 32, square_queries = 50, repeated = 16, long_steps = 20, reference_steps = 3, "
    "reference_queries = 20}",
)


def outcome(name: str) -> str:
    """Evaluate a network; return "evaluated", "flagged: ...", "refused: ..." or what went wrong."""
    out, error = io.StringIO(), io.StringIO()
    command = ["evaluate", "--preset", "smoke", "--device", "cpu", "--model", f"foreign_networks:{name}"]
    began = time.monotonic()
    try:
        with redirect_stdout(out), redirect_stderr(error), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the networks' own code
            code = main([*command, *(f"--set={setting}" for setting in SETTINGS)])
    except BaseException as raised:
        return f"{type(raised).__name__}: {raised!r}"
    page, message = out.getvalue(), error.getvalue()
    if time.monotonic() - began > SLOW:
        return "slow"
    if code == 0:
        flags = [line for line in page.splitlines() if "check " in line and ": " in line]
        return "evaluated" if "No check raised a flag" in page else f"flagged: {' | '.join(flags)}"
    whole = message.startswith("error: ") and message.count("\n") == 1 and len(message) < LONGEST and "# " not in page
    return f"refused: {message.strip()}" if whole and code in (1, 2) else f"exit code {code}: {message[-500:]!r}"


def is_right(found: str, row: Row) -> bool:
    """Say whether an outcome is that of the table."""
    return found.partition(":")[0] == row.outcome and row.words in found


def fuzz(names: list[str]) -> tuple[Counter[str], list[str]]:
    """Try the networks of these names; return how often what happened, and what should not have."""
    counts, bad = Counter[str](), list[str]()
    for name in names:
        found = outcome(name)
        counts[found.partition(":")[0]] += 1
        print(f"{name}: {found[:300]}", flush=True)
        if not is_right(found, NETWORKS[name]):
            bad.append(f"{name}, to be {NETWORKS[name].outcome}: {found}")
    return counts, bad


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp())
    tried, wrongly = fuzz(sys.argv[1:] or list(NETWORKS))
    print("\n".join(wrongly))
    print(f"{sum(tried.values())} networks: {dict(tried)}")
    sys.exit(bool(wrongly))
