"""Whether the order of a study's arms survives AutoAttack standard: a table, and a sentence for each other arm."""

from collections.abc import Sequence

import numpy as np

from benchmark.analysis.study import Study
from benchmark.records.autoattack import QUERIES, STEPS
from benchmark.records.schema import AutoAttackRow
from benchmark.report.tables import Table
from benchmark.report.words import code

NOTE = (
    f"AutoAttack standard (pyautoattack, its authors' code: {STEPS} steps, {QUERIES:,} queries of Square) on the first "
    "of the attacked images, from the checkpoints of the first seeds. Too few seeds for a test."
)


def shares(rows: Sequence[AutoAttackRow], eps: float) -> dict[str, dict[int, np.ndarray]]:
    """Return arm -> seed -> (3,) % of the images: correct, under the study's attacks, under AutoAttack."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for row in rows:
        if row["eps"] == eps:
            counts = np.array([row["clean"], row["suite"], row["robust"]])
            found.setdefault(row["arm"], {})[row["seed"]] = 100 * counts / row["images"]
    return found


def autoattack_table(rows: Sequence[AutoAttackRow]) -> Table:
    """Each arm at each eps, in % of the same images, mean over its seeds; the treatment's order is the study's."""
    lines = []
    for eps in sorted({row["eps"] for row in rows}):
        for arm, by_seed in shares(rows, eps).items():
            images = sorted({row["images"] for row in rows if (row["arm"], row["eps"]) == (arm, eps)})
            means = np.mean(list(by_seed.values()), axis=0)
            cells = [f"{value:.1f}" for value in means]
            lines.append([f"{eps:g}", code(arm), str(len(by_seed)), ", ".join(map(str, images)), *cells])
    headers = ["eps", "arm", "seeds", "images", "without attack", "under the study's attacks", "under AutoAttack"]
    return Table(headers, lines, words=["arm"])


def survival(study: Study, rows: Sequence[AutoAttackRow]) -> list[str]:
    """Say of each other arm whether its difference from the treatment keeps its sign under AutoAttack.

    Both differences are means over the seeds that both arms have, on the same images. One whose sign turns does not
    survive: a verdict on robustness that rests on it is withdrawn.
    """
    lines = []
    for eps in sorted({row["eps"] for row in rows}):
        found = shares(rows, eps)
        ours = found.pop(study.treatment, {})
        for arm, theirs in found.items():
            seeds = sorted(ours.keys() & theirs.keys())
            if not seeds:
                continue
            _, suite, robust = np.mean([ours[seed] - theirs[seed] for seed in seeds], axis=0)
            kept = suite * robust > 0 or suite == robust
            verdict = "the sign stays" if kept else "**the sign does not stay: what was said of it is withdrawn**"
            lines.append(
                f"{code(study.treatment)} minus {code(arm)} at eps {eps:g}/255, {len(seeds)} seeds: {suite:+.1f} "
                f"points under the study's attacks, {robust:+.1f} under AutoAttack; {verdict}."
            )
    return lines
