"""The tables of the robustness section: pure functions from a study to Markdown, means over the finished seeds."""

from collections.abc import Callable, Sequence

import numpy as np

from benchmark.analysis.endpoints import area_under_curve, median_minimal_eps
from benchmark.analysis.paired import Floats
from benchmark.analysis.study import Study
from benchmark.records.outcomes import attacks_at, unpack_bits
from benchmark.records.schema import Record
from benchmark.report.tables import Table, code, mean_text, sd_text

CHECKS = (  # number of the check, its figure, the column, and whether the figure is a share of images
    (4, "at 64/255", "all at 64/255, %", True),
    (5, "noise", "noise, %", True),
    (5, "FGSM", "FGSM, %", True),
    (5, "PGD", "PGD, %", True),
    (7, "PGD, logits x0.1", "PGD x0.1, %", True),
    (7, "PGD, logits x10", "PGD x10, %", True),
    (10, "transfer", "transfer, %", True),
    (10, "white box", "suite, %", True),
    (8, "fooled", "Square fools", False),
    (9, "fooled", "more steps fool", False),
    (11, "fooled", "AutoAttack fools", False),
)


def robustness_table(study: Study, norm: str = "Linf") -> Table:
    """Joint robust accuracy at every eps, the area under the curve and the median minimal eps."""
    eps, robust = (study.eps, study.robust) if norm == "Linf" else (study.l2_eps, study.l2_robust)
    rows = []
    for arm, curves in zip(study.arms, robust, strict=True):
        areas = area_under_curve(eps, curves)
        cells = [mean_text(column, 1) for column in curves.T]
        rows.append([code(arm), *cells, mean_text(areas), sd_text(areas), median_text(eps, curves)])
    return Table(["arm", *[f"{value:g}" for value in eps], "area", "sd of area", "median minimal eps"], rows)


def median_text(eps: Floats, curves: Floats) -> str:
    """Write the mean over seeds of the median minimal eps, or that it is beyond the largest eps in some seed."""
    medians = median_minimal_eps(eps, curves)
    medians = medians[~np.isnan(medians)]
    if not len(medians):
        return "-"
    return f"{medians.mean():.3g}" if np.isfinite(medians).all() else f"> {eps[-1]:g}"


def attack_table(study: Study) -> Table:
    """What is left after each attack at the named eps (joint, in attack order), and two signs of masking."""
    eps = float(study.analysis["eps"])
    first = next((record for record in study.records.values() if record["robustness"]), None)
    names = [f"{a['attack']} ({a['steps']})" for a in attacks_at(first, "Linf", eps)] if first else []
    rows = []
    for arm in study.arms:
        runs = attacked(study, arm)
        left = np.array([after_attacks(record, eps) for record in runs]).reshape(len(runs), len(names) + 1)
        signs = np.array([masking_signs(record) for record in runs]).reshape(len(runs), 2)
        cells = [mean_text(column, 1) for column in left.T]
        rows.append([code(arm), *cells, mean_text(100 * signs[:, 0], 1), mean_text(signs[:, 1])])
    return Table(["arm", "no attack", *names, "zero gradients, %", "median margin"], rows)


def attacked(study: Study, arm: str) -> list[Record]:
    """Return the finished records of an arm that were attacked, by seed."""
    return [record for record in study.done(arm) if record["robustness"]]


def after_attacks(record: Record, eps: float) -> list[float]:
    """Return the points left without attack and after each Linf attack at eps, in attack order."""
    robustness = record["robustness"]
    if robustness is None:
        return []
    n = robustness["n"]
    outcomes = [robustness["clean"], *[attack["correct"] for attack in attacks_at(record, "Linf", eps)]]
    bits = np.logical_and.accumulate([unpack_bits(text, n) for text in outcomes])
    return [100.0 * int(row.sum()) / n for row in bits]


def masking_signs(record: Record) -> tuple[float, float]:
    """Return the share of images whose gradient is exactly zero and the median margin of the logits."""
    robustness = record["robustness"]
    return (np.nan, np.nan) if robustness is None else (robustness["zero_gradient_share"], robustness["median_margin"])


def corruption_table(study: Study) -> Table:
    """Accuracy under uniform noise and under each corruption (mean over its severities), and their mean, in %."""
    found = [record["robustness"] for record in study.records.values() if record["robustness"]]
    kinds = list(dict.fromkeys(row["kind"] for robustness in found for row in robustness["corruptions"]))
    largest = f"{study.eps[-1]:g}/255"
    rows = []
    for arm in study.arms:
        runs = attacked(study, arm)
        noise = np.array([noise_accuracy(record) for record in runs])
        accuracy = np.array([[corrupted_accuracy(record, kind) for kind in kinds] for record in runs])
        accuracy = accuracy.reshape(len(runs), len(kinds))
        means = accuracy.mean(axis=1)
        rows.append(
            [code(arm), mean_text(noise, 1), *[mean_text(c, 1) for c in accuracy.T], mean_text(means), sd_text(means)]
        )
    names = [kind.replace("_", " ") for kind in kinds]
    return Table(["arm", f"uniform noise, {largest}", *names, "mean of corruptions", "sd"], rows)


def noise_accuracy(record: Record) -> float:
    """Return the points under uniform noise of the largest eps."""
    robustness = record["robustness"]
    if robustness is None or not robustness["noise"]:
        return np.nan
    return 100.0 * robustness["noise"]["correct"] / robustness["n"]


def corrupted_accuracy(record: Record, kind: str) -> float:
    """Return the points under one corruption, mean over its severities."""
    robustness = record["robustness"]
    found = [row["correct"] for row in robustness["corruptions"] if row["kind"] == kind] if robustness else []
    return 100.0 * float(np.mean(found)) / robustness["n"] if robustness and found else np.nan


def calibration_table(study: Study) -> Table:
    """Expected calibration error in points and negative log-likelihood of every arm, mean and sd over seeds."""
    rows = []
    for arm in study.arms:
        found = [record["calibration"] for record in study.done(arm) if record["calibration"]]
        ece, nll = (np.array([100 * c["ece"] for c in found]), np.array([c["nll"] for c in found]))
        rows.append([code(arm), mean_text(ece), sd_text(ece), mean_text(nll, 3), sd_text(nll)])
    return Table(["arm", "ECE, %", "sd", "NLL, nats", "sd"], rows)


def checks_table(study: Study) -> Table:
    """What the costly checks measured in each arm, mean over the runs checked, and how many runs raised a flag."""
    rows = []
    for arm in study.arms:
        runs = attacked(study, arm)
        cells = [figure_text(runs, number, key, share) for number, key, _, share in CHECKS]
        flagged = sum(any(check["flag"] for check in record["checks"]) for record in runs)
        rows.append([code(arm), *cells, f"{sum(map(is_checked, runs))}/{len(runs)}", f"{flagged}/{len(runs)}"])
    return Table(["arm", *[title for _, _, title, _ in CHECKS], "runs checked", "runs with flags"], rows)


def is_checked(record: Record) -> bool:
    """Say whether a run had the costly checks (a preset may name the seeds that have them)."""
    return any(check["number"] > 6 for check in record["checks"])


def figure_text(runs: Sequence[Record], number: int, key: str, share: bool) -> str:
    """Write the mean over runs of one figure of a check: in % with one digit, or images with its largest value."""
    of_check = [check["figures"] for run in runs for check in run["checks"] if check["number"] == number]
    found = [figures for figures in of_check if key in figures and (share or "images" in figures)]
    if not found:
        return "-"
    values = np.array([figures[key] for figures in found])
    if share:
        return mean_text(100 * values, 1)
    images = max(figures["images"] for figures in found)
    return f"{values.mean():.1f} of {images:.0f}"


def has(study: Study, what: Callable[[Record], object]) -> bool:
    """Say whether any run of a study recorded something, such as corruptions (records of schema 1 did not)."""
    return any(bool(what(record)) for record in study.records.values())
