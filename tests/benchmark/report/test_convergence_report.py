"""The convergence table: what fixed accuracies took, or how many runs reached them."""

import numpy as np
import planted

from benchmark.analysis.endpoints import images_to
from benchmark.analysis.study import load_study
from benchmark.report.convergence_report import levels_table


def test_the_table_counts_the_runs_that_reached_an_accuracy() -> None:
    records = planted.study({"sba": [870, 600], "standard": [860, 850]})
    for record in records:
        record["analysis"] |= {"levels": [60.0, 80.0], "level": 60.0, "seeds": [0, 1]}
    rows = {row[0]: row[1:] for row in levels_table(load_study("planted", records)).rows}
    sba, standard = rows["`sba`"], rows["`standard`"]
    assert sba[3] == sba[5] == "(1/2)"
    assert "(" not in "".join(standard)
    expected = np.mean([images_to(record, 80.0) for record in records if record["arm"] == "standard"])
    assert standard[3] == f"{expected:.1f}"
    assert rows["`mixup`"] == ["-"] * 6
