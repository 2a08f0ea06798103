"""What a study is said to be."""

from typing import Any

import planted

from benchmark.analysis.study import load_study
from benchmark.report.describe import training, what
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


def test_seeds_of_mixed_devices_are_named_as_such() -> None:
    records = planted.study({"sba": [870, 871], "standard": [858, 859]})
    assert "devices" not in what(load_study("planted", records))
    assert "- Ran on cpu, 2026-01-01 to 2026-01-02." in what(load_study("planted", records))
    for record in records:
        if record["seed"] == 1:
            record["environment"] = record["environment"] | {
                "device": "cuda:0 NVIDIA H200",
                "device_name": "NVIDIA H200",
            }
    said = what(load_study("planted", records))
    assert "- Ran on NVIDIA H200 (seed 1), cpu (seed 0), 2026-01-01 to 2026-01-02." in said
    assert "Mixed devices" not in said
    records[1]["environment"] = records[0]["environment"]
    said = what(load_study("planted", records))
    assert "- **Mixed devices: the runs of seed 1 are from cpu and cuda." in said


def test_runs_that_the_costly_checks_are_limited_to_are_counted() -> None:
    records = planted.study({"sba": [870, 871, 872], "standard": [858, 859, 860]})
    assert "sanity checks" not in what(load_study("planted", records))
    for record in records:
        record["settings"]["evaluation"]["checks"] = {"seeds": [0, 1]}
        if record["seed"] == 0:
            record["checks"] = [{"number": number, "name": "x", "figures": {}, "flag": None} for number in (6, 7)]
    said = what(load_study("planted", records))
    assert "- Costly sanity checks: of seeds 0, 1 alone, so far in 2 of 6 runs; a flag in one" in said


def test_a_study_is_repeated_by_as_many_processes_as_trained_it() -> None:
    counts = {"sba": [870], "standard": [858]}
    alone, together = planted.study(counts), planted.study(counts)
    for record in together:
        record["environment"]["processes"] = "2"
    said = reproduce([load_study("planted", alone), load_study("planted", together)]).splitlines()
    assert "    python -m benchmark run planted" in said
    assert "    python -m torch.distributed.run --standalone --nproc-per-node 2 -m benchmark run planted" in said
