"""Tables of robustness, sanity checks and other packages' attacks, from studies or rows; means over seeds."""

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

import numpy as np

from benchmark.analysis.comparisons import shares, survivals
from benchmark.analysis.endpoints import area_under_curve, median_minimal_eps
from benchmark.analysis.paired import Floats
from benchmark.analysis.study import Study
from benchmark.evaluation.catalogue import SANITY_CHECKS, Column
from benchmark.records.outcomes import attacks_at, unpack_bits
from benchmark.records.schema import AutoAttackRow, CrosscheckRow, Record, Robustness
from benchmark.report.notation import code, count, mean_and_sd, mean_text, signed
from benchmark.report.table import Table

_Count = Literal["images", "ours", "theirs", "disagreements"]
_COUNTS: tuple[_Count, ...] = ("images", "ours", "theirs", "disagreements")


def robustness_table(study: Study) -> Table:
    """Return joint robust accuracy at every Linf eps, area and median minimal eps; then at every L2 eps."""
    rows = []
    for arm, curves, l2_curves in zip(study.arms, study.robust, study.l2_robust, strict=True):
        cells = [mean_text(column, 1) for column in curves.T]
        area = mean_and_sd(area_under_curve(study.eps, curves))
        l2 = [mean_text(column, 1) for column in l2_curves.T[1:]]
        rows.append([code(arm), *cells, area, _median_text(study.eps, curves), *l2])
    headers = ["arm", *(f"{eps:g}" for eps in study.eps), "area (sd)", "median minimal eps"]
    return Table([*headers, *(f"L2 {eps:g}" for eps in study.l2_eps[1:])], rows)


def _median_text(eps: Floats, curves: Floats) -> str:
    """Return the mean over seeds of the median minimal eps, as "> EPS" if it exceeds the largest eps in a seed."""
    medians = median_minimal_eps(eps, curves)
    medians = medians[~np.isnan(medians)]
    if not len(medians):
        return "-"
    return mean_text(medians) if np.isfinite(medians).all() else f"> {eps[-1]:g}"


def attack_table(study: Study) -> Table:
    """Return joint accuracy after each attack at the named eps, in attack order, and two signs of masked gradients.

    Arms without an attacked run are left out, here and in `checks_table`.
    """
    found = {arm: _attacked(study, arm) for arm in study.arms}
    eps = float(study.analysis["eps"])
    first = next((run for runs in found.values() for run in runs), None)
    names = [f"{a['attack']} ({a['steps']})" for a in attacks_at(first, "Linf", eps)] if first else []
    rows = []
    for arm, runs in found.items():
        if not runs:
            continue
        left = np.array([_after_attacks(run, eps) for run in runs])  # (run, attack)
        zeros, margins = (np.array([run[key] for run in runs]) for key in ("zero_gradient_share", "median_margin"))
        cells = [*(mean_text(column, 1) for column in left.T), mean_text(100 * zeros, 1), mean_text(margins)]
        rows.append([code(arm), *cells])
    return Table(["arm", "no attack", *names, "zero gradients, %", "median margin"], rows)


def _after_attacks(robustness: Robustness, eps: float) -> Floats:
    """Return the points left without attack and after each Linf attack at eps, in attack order."""
    outcomes = [robustness["clean"], *(attack["correct"] for attack in attacks_at(robustness, "Linf", eps))]
    bits = np.logical_and.accumulate([unpack_bits(text, robustness["n"]) for text in outcomes])
    return np.asarray(100.0 * bits.sum(axis=1) / robustness["n"])


def _attacked(study: Study, arm: str) -> list[Robustness]:
    return [record["robustness"] for record in study.done(arm) if record["robustness"]]


def undisturbed_table(study: Study) -> Table | None:
    """Return accuracy under noise and corruptions (means over severities), and calibration; None without records."""
    found = [_attacked(study, arm) for arm in study.arms]
    kinds = dict.fromkeys(row["kind"] for runs in found for run in runs for row in run["corruptions"])
    columns = {"arm": [code(arm) for arm in study.arms]}
    if kinds:
        noise = [[100 * run["noise"]["correct"] / run["n"] for run in runs if run["noise"]] for runs in found]
        corrupted = [np.array([[_corrupted(run, kind) for run in runs] for kind in kinds]) for runs in found]
        columns[f"noise {study.eps[-1]:g}/255"] = [mean_text(np.array(values), 1) for values in noise]
        for i, kind in enumerate(kinds):
            columns[kind.replace("_", " ")] = [mean_text(values[i], 1) for values in corrupted]
        columns["mean (sd)"] = [mean_and_sd(values.mean(axis=0)) for values in corrupted]
    calibrated = [[run["calibration"] for run in study.done(arm) if run["calibration"]] for arm in study.arms]
    if any(calibrated):
        columns["ECE, % (sd)"] = [mean_and_sd(100 * np.array([row["ece"] for row in of])) for of in calibrated]
        columns["NLL, nats (sd)"] = [mean_and_sd(np.array([row["nll"] for row in of])) for of in calibrated]
    return Table([*columns], [*zip(*columns.values(), strict=True)]) if len(columns) > 1 else None


def _corrupted(robustness: Robustness, kind: str) -> float:
    """Return the accuracy under a corruption in %, mean over its severities; nan where it was not made."""
    counts = [row["correct"] for row in robustness["corruptions"] if row["kind"] == kind]
    return 100.0 * fmean(counts) / robustness["n"] if counts else np.nan


def checked(run: Record) -> bool:
    """Return whether a run had the costly sanity checks."""
    costly = {name for name, row in SANITY_CHECKS.items() if row.images}
    return any(check["name"] in costly for check in run["checks"])


def check_columns() -> list[tuple[str, Column]]:
    """Return (check, column) of every column of the page of checks: shares of images first, then numbers of images."""
    columns = [(name, column) for name, row in SANITY_CHECKS.items() for column in row.columns]
    return sorted(columns, key=lambda entry: not entry[1].percent)


def checks_table(study: Study) -> Table:
    """Return how many runs of each arm had the costly checks and raised flags, and the figures of the checks."""
    rows = []
    for arm in study.arms:
        runs = [record for record in study.done(arm) if record["robustness"]]
        if not runs:
            continue
        cells = [_figure_text(runs, name, column) for name, column in check_columns()]
        flagged = sum(bool(run["flags"]) for run in runs)
        rows.append([code(arm), f"{sum(map(checked, runs))}/{len(runs)}", f"{flagged}/{len(runs)}", *cells])
    return Table(["arm", "runs checked", "runs with flags", *(column.title for _, column in check_columns())], rows)


def _figure_text(runs: Sequence[Record], name: str, column: Column) -> str:
    """Return the mean over runs of one figure of a check: in %, or as a number of the tested images."""
    needed = {column.figure} if column.percent else {column.figure, "images"}
    checks = [check["figures"] for run in runs for check in run["checks"] if check["name"] == name]
    found = [figures for figures in checks if needed <= figures.keys()]
    values = np.array([figures[column.figure] for figures in found])
    if column.percent or not found:
        return mean_text(100 * values, 1)
    return f"{mean_text(values, 1)} of {max(figures['images'] for figures in found):.0f}"


def sanity_table() -> Table:
    """Return every sanity check with the property that it tests and its flag; costly ones have a star."""
    rows = [
        [f"{row.number}{'*' if row.images else ''}", row.tests, row.flag.format(**row.limits)]
        for row in SANITY_CHECKS.values()
    ]
    return Table(["", "tests that", "flag"], rows, words=["tests that", "flag"])


def crosscheck_table(rows: Sequence[CrosscheckRow]) -> Table:
    """Return the outcomes of other packages on the same networks at the same settings and draws."""
    groups: dict[tuple[str, str, str, str], list[CrosscheckRow]] = {}
    for row in rows:
        groups.setdefault((row["package"], code(row["attack"]), str(row["steps"]), row["norm"]), []).append(row)
    lines = [
        [*group, str(len(of)), *(f"{sum(row[key] for row in of):,}" for key in _COUNTS)] for group, of in groups.items()
    ]
    headers = ["against", "attack", "steps", "norm", "networks", "images", "robust, ours", "robust, theirs", "differ"]
    return Table(headers, lines, words=["attack", "norm"])


def autoattack_table(rows: Sequence[AutoAttackRow]) -> Table:
    """Return accuracy of each arm at each eps in % of the same images, mean over its seeds."""
    lines = [
        [f"{eps:g}", code(arm), str(len(of)), str(images), *(mean_text(each, 1) for each in np.array([*of.values()]).T)]
        for eps in sorted({row["eps"] for row in rows})
        for (arm, images), of in shares(rows, eps).items()
    ]
    headers = ["eps", "arm", "seeds", "images", "without attack", "under the study's attacks", "under AutoAttack"]
    return Table(headers, lines, words=["arm"])


def survival_list(study: Study) -> list[str]:
    """Return, for each other arm, whether its difference from the treatment keeps its sign under AutoAttack."""
    return [
        f"{code(study.treatment)} minus {code(found.arm)} at eps {found.eps:g}/255, {count(found.seeds, 'seed')}: "
        f"{signed(found.suite, 1)} points under the study's attacks, {signed(found.robust, 1)} under AutoAttack; "
        + ("the sign stays." if found.kept else "**the sign does not stay**.")
        for found in survivals(study)
    ]
