"""What a study is said to be."""

from typing import Any

import planted

from benchmark.analysis.study import load_study
from benchmark.report.describe import training
from benchmark.report.prose import reproduce


def settings(streamed: bool | None) -> dict[str, Any]:
    """Settings as records have them; older ones do not say whether images are streamed."""
    data = {} if streamed is None else {"streamed": streamed}
    return {"data": data, "recipe": {"epochs": 2, "padding": 4, "flip": True}}


def test_the_standard_augmentation_that_is_named_is_the_one_that_was_used() -> None:
    assert training(settings(streamed=None)) == "Training: epochs = 2, padding = 4, flip = true."
    assert training(settings(streamed=False)) == training(settings(streamed=None))
    said = training(settings(streamed=True))
    assert "padding" not in said
    assert "flip = true" in said
    assert "random resized crops, 8% to 100% of the area" in said


def test_a_study_is_repeated_by_as_many_processes_as_trained_it() -> None:
    counts = {"sba": [870], "standard": [858]}
    alone, together = planted.study(counts), planted.study(counts)
    for record in together:
        record["environment"]["processes"] = "2"
    said = reproduce([load_study("planted", alone), load_study("planted", together)]).splitlines()
    assert "    python -m benchmark run planted" in said
    assert "    python -m torch.distributed.run --standalone --nproc-per-node 2 -m benchmark run planted" in said
