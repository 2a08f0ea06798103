"""Comparisons and claims as the report writes them."""

from dataclasses import replace

import numpy as np
import pytest
from records import planted

from benchmark.analysis.judgements import Evidence
from benchmark.analysis.paired import Comparison, compare, correct
from benchmark.analysis.study import load_study
from benchmark.report.notation import (
    TIE,
)
from benchmark.report.words import comparison_cell, narrowly, no_comparison


def compared(*differences: float) -> Comparison:
    control = 80.0 + 0.3 * np.arange(len(differences), dtype=np.float64)
    found = correct([compare(control + np.array(differences), control, 0.5, 1)])[0]
    assert found is not None
    return found


def test_comparisons_as_cells() -> None:
    clear, few, same = compared(0.9, 1.0, 1.1, 1.2, 0.8), compared(1.0, 1.1, 0.9), compared(1.0, 1.0, 1.0, 1.0)
    assert comparison_cell(clear, interim=False).replace("\xa0", " ") == "+1.00 [+0.80, +1.20]<br>p .0001, **higher**"
    assert comparison_cell(clear, interim=True) == f"+1.00 (5{TIE}seeds)"
    assert comparison_cell(few, interim=False) == f"+1.00 (3{TIE}seeds)"
    assert comparison_cell(same, interim=False) == "+1.00 in each seed<br>constant differences, not tested"
    open_ = comparison_cell(compared(1.0, -1.2, 0.3, -0.4, 0.6), interim=False)
    assert open_.endswith(", not resolved")


def test_reasons_for_no_comparison() -> None:
    records = planted.study({"sba": [870, 872, 868, 871, 869], "standard": [858, 861, 857, 862, 600]})
    study = load_study("planted", records)
    assert no_comparison(study, "images", "standard") == "some runs of `standard` have no value"
    assert no_comparison(study, "clean", "mixup") == "no common seed yet"
    every = load_study("planted", [*records, *(planted.diverged("mixup", seed) for seed in range(5))])
    assert no_comparison(every, "clean", "mixup") == "every run of `mixup` diverged"
    for record in records:
        record["robustness"] = None
    assert no_comparison(load_study("planted", records), "area", "standard") == "not every run was attacked"


@pytest.mark.parametrize(("level", "text"), [(86.5, "no run of `standard` has a value"), (99.0, "no run has a value")])
def test_an_endpoint_without_any_value(level: float, text: str) -> None:
    records = planted.study({"sba": [870, 872], "standard": [858, 861]})
    for record in records:
        record["analysis"]["level"] = level
    assert no_comparison(load_study("planted", records), "images", "standard") == text


@pytest.mark.parametrize(
    ("low", "high", "margin", "text"),
    [
        (-0.45, -0.10, 0.5, "equivalence narrowly missed (Holm p =\N{NO-BREAK SPACE}.0524)"),
        (-0.55, -0.10, 0.5, ""),
        (-0.45, -0.10, None, ""),
    ],
)
def test_a_difference_whose_interval_lies_within_the_margin_is_a_narrow_one(
    low: float, high: float, margin: float | None, text: str
) -> None:
    pair = replace(compared(-0.3, -0.2, -0.3, -0.4), low=low, high=high, margin=margin, tost_holm=0.0524)
    study = load_study("planted", planted.study({"sba": [870], "standard": [858]}))
    assert narrowly(Evidence(study, "learning", "standard", pair, "worse")) == text
