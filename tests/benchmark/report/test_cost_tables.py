"""Convergence and cost of arms: values recomputed by hand."""

import numpy as np
from records import planted
from records.attacked_records import rows

from benchmark.analysis.endpoints import images_to
from benchmark.analysis.study import load_study
from benchmark.report.cost_tables import cost_table


def test_cost_has_convergence_and_costs_relative_to_standard() -> None:
    records = planted.study({"sba": [870, 600], "standard": [860, 850]})
    for record in records:
        record["analysis"] |= {"levels": [60.0, 80.0], "level": 60.0, "seeds": [0, 1]}
    found = rows(cost_table(load_study("planted", records)))
    assert found["sba"]["k images to 80%"] == "(1/2)"
    expected = np.mean([images_to(record, 80.0) for record in records if record["arm"] == "standard"])
    assert found["standard"]["k images to 80%"] == f"{expected:.1f}"
    assert found["sba"]["FLOPs"] == "3.00 T (1.50x)"
    assert (found["sba"]["seconds"], found["sba"]["augmented steps"]) == ("30", "50%")
    assert set(found["mixup"].values()) == {"-"}


def test_peak_memory_compares_arms_on_gpus_alone() -> None:
    records = planted.study({"sba": [870, 600], "standard": [860, 850]})
    assert "peak memory, MiB" not in cost_table(load_study("planted", records)).headers
    for record in records:
        record["environment"] |= {"device": "cuda:0 NVIDIA H200"}
        record["cost"] |= {"peak_memory_bytes": (3 if record["arm"] == "sba" else 2) * 2**20}
    assert rows(cost_table(load_study("planted", records)))["sba"]["peak memory, MiB"] == "3 (1.50x)"
    records[0]["environment"] |= {"device": "cpu"}
    assert "peak memory, MiB" not in cost_table(load_study("planted", records)).headers
