"""Convergence and cost of a study's arms, as tables and as figures for sentences; at equal epochs and equal compute."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Literal

import numpy as np

from benchmark.analysis.endpoints import images_to, reached
from benchmark.analysis.study import Study
from benchmark.records.consistency import device_kind
from benchmark.records.schema import Record
from benchmark.report.notation import code, fixed, mean_and_sd, mean_text, si
from benchmark.report.table import Table

_Spent = Literal["train_flops", "train_gradients", "peak_memory_bytes", "train_seconds"]


def cost_table(study: Study) -> Table:
    """Return learning curve, images to each level and cost of each arm, means over seeds.

    FLOPs and gradient samples are also given relative to the reference arm. So is peak memory if all runs measured that
    of a GPU; on a CPU it is the process's, with what the runs before left in it, and compares no arms. If a run never
    reached a level, the cell has the number of runs that did instead of a mean.
    """
    levels = [float(level) for level in study.analysis["levels"]]
    base = study.done(reference(study))
    counts: dict[str, tuple[_Spent, Callable[[float], str]]] = {
        "FLOPs": ("train_flops", si),
        "gradient samples": ("train_gradients", si),
    }
    if on_gpus(study):
        counts["peak memory, MiB"] = ("peak_memory_bytes", lambda value: fixed(value / 2**20, 0))
    counts["seconds"] = ("train_seconds", lambda value: fixed(value, 0))
    rows = []
    for arm, areas in zip(study.arms, study.values("learning"), strict=True):
        runs = study.done(arm)
        learned = [mean_and_sd(areas), *(_level_text(runs, level) for level in levels)]
        spent = []
        for key, write in counts.values():
            values, bases = ([run["cost"][key] for run in of] for of in (runs, base))
            compared = key != "train_seconds" and values and any(bases)  # seconds depend on what else a machine did
            relative = f" ({fixed(fmean(values) / fmean(bases))}x)" if compared else ""
            spent.append(write(fmean(values)) + relative if values else "-")
        rows.append([code(arm), *learned, *spent, f"{fixed(100 * fmean(map(augmented, runs)), 0)}%" if runs else "-"])
    headers = ["arm", "area (sd)", *(f"k images to {level:g}%" for level in levels), *counts, "augmented steps"]
    return Table(headers, rows)


def on_gpus(study: Study) -> bool:
    """Return whether every finished run trained on a GPU."""
    return all(device_kind(run["environment"]["device"]) == "cuda" for arm in study.arms for run in study.done(arm))


def _level_text(runs: Sequence[Record], level: float) -> str:
    """Format the thousand images to a level, mean over runs, or the number of runs that reached it if not all did."""
    there = sum(reached(run, level) for run in runs)
    if there < len(runs):
        return f"({there}/{len(runs)})"
    return mean_text(np.array([images_to(run, level) for run in runs]), 1)


def reference(study: Study) -> str:
    """Return the arm that costs are relative to: standard, or the first compared arm without one."""
    return "standard" if "standard" in study.arms else study.against[0]


def augmented(record: Record) -> float:
    """Return the share of augmented steps of a run, in [0, 1]."""
    return fmean(epoch["augmented"] for epoch in record["epochs"])


def flops(study: Study, arm: str) -> float:
    """Return the training FLOPs of an arm, mean over its finished runs; 0 where there is none."""
    spent = [record["cost"]["train_flops"] for record in study.done(arm)]
    return fmean(spent) if spent else 0.0


def twin(study: Study, studies: Sequence[Study]) -> Study | None:
    """Return the same study at equal compute, if it was run."""
    return next((other for other in studies if other.preset == f"{study.preset}_compute"), None)


def compute_table(study: Study, other: Study) -> Table:
    """Return FLOPs (relative to the reference arm at equal epochs), accuracy and robust area in both modes."""
    base = flops(study, reference(study))
    rows = []
    for arm in study.arms:
        cells = [code(arm)]
        for mode in (study, other):
            if arm not in mode.arms or not mode.done(arm):
                cells += ["-"] * 4
                continue
            at = mode.arms.index(arm)
            spent = f"{fixed(flops(mode, arm) / base)}x" if base else "-"
            clean, area = mean_and_sd(mode.clean[at]), mean_text(mode.values("area")[at])
            cells += [str(len(mode.done(arm))), spent, clean, area]
        rows.append(cells)
    each = ("seeds", "FLOPs", "accuracy (sd)", "robust area")
    headers = [f"{name}, {mode}" for mode in ("equal epochs", "equal compute") for name in each]
    return Table(["arm", *headers], rows)
