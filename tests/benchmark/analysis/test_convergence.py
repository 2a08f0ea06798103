"""Convergence: the learning curve of a record, its area, and what an accuracy took, against hand-computed values."""

import numpy as np
import planted
import pytest

from benchmark.analysis.convergence import first_crossing, images_to, learning_area, learning_curve, reached, seconds_to
from benchmark.analysis.study import comparisons, load_study
from benchmark.records.schema import Record
from benchmark.report.convergence_report import levels_table


def run(*accuracies: float) -> Record:
    """A record with these accuracies after its epochs of 39 batches of 128 images and 5 seconds."""
    record = planted.record("sba", 0, 870)
    record["epochs"] = [{**epoch, "accuracy": a} for epoch, a in zip(record["epochs"], accuracies, strict=True)]
    return record


CURVE = (0.30, 0.50, 0.45, 0.80)
EPOCH = 39 * 128 / 1000  # thousand images: 5,000 in whole batches of 128


def test_the_curve_starts_from_guessing_and_counts_whole_batches() -> None:
    images, seconds, accuracy = learning_curve(run(*CURVE))
    assert images == pytest.approx(EPOCH * np.arange(5))
    assert seconds.tolist() == [0, 5, 10, 15, 20]
    assert accuracy == pytest.approx([10, 30, 50, 45, 80])


def test_an_epoch_that_was_cut_short_counts_its_own_images() -> None:
    record = run(*CURVE)
    record["epochs"][-1]["images"] = 1280
    assert learning_curve(record)[0] == pytest.approx([0, EPOCH, 2 * EPOCH, 3 * EPOCH, 3 * EPOCH + 1.28])
    spans, means = np.array([EPOCH, EPOCH, EPOCH, 1.28]), np.array([20, 40, 47.5, 62.5])
    assert learning_area(record) == pytest.approx((spans * means).sum() / spans.sum())


def test_the_area_is_the_mean_accuracy_over_the_training() -> None:
    assert learning_area(run(*CURVE)) == pytest.approx((20 + 40 + 47.5 + 62.5) / 4)
    assert learning_area(run(0.1, 0.1, 0.1, 0.1)) == pytest.approx(10)


@pytest.mark.parametrize(
    ("level", "epochs"),
    [(10, 0.0), (20, 0.5), (30, 1.0), (40, 1.5), (50, 2.0), (60, 3 + 15 / 35), (80, 4.0)],
)
def test_images_and_seconds_to_an_accuracy_lie_on_the_first_rise(level: float, epochs: float) -> None:
    assert images_to(run(*CURVE), level) == pytest.approx(EPOCH * epochs)
    assert seconds_to(run(*CURVE), level) == pytest.approx(5 * epochs)


def test_never_reached_is_known() -> None:
    assert np.isnan(images_to(run(*CURVE), 90))
    assert np.isnan(seconds_to(run(*CURVE), 90))
    assert not reached(run(*CURVE), 80.1)
    assert reached(run(*CURVE), 80.0)
    assert np.isnan(first_crossing(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 2.0))


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


def test_a_run_that_never_got_there_leaves_no_comparison_instead_of_flattering_its_arm() -> None:
    counts = {"sba": [870, 872, 868, 871, 869], "standard": [858, 861, 857, 862, 600], "mixup": [860] * 5}
    records = planted.study(counts)
    for record in records:
        record["analysis"]["endpoints"] = ["clean", "images", "seconds"]
    found = comparisons(load_study("planted", records), "images")
    assert found["standard"] is None
    assert found["mixup"] is not None


def test_comparisons_of_images_have_a_unit_and_no_margin() -> None:
    counts = {"sba": [870, 872, 868, 871, 869], "standard": [858, 861, 857, 862, 857]}
    study = load_study("planted", planted.study(counts))
    pair = comparisons(study, "images")["standard"]
    assert pair is not None
    assert (pair.unit, pair.margin, pair.tost) == ("thousand images", None, None)
    first = {record["arm"]: record for (_, seed), record in study.records.items() if seed == 0}
    assert study.values("images")[0, 0] == images_to(first["sba"], 70.0)
    assert study.values("seconds")[1, 0] == seconds_to(first["standard"], 70.0)
    assert study.values("learning")[0, 0] == learning_area(first["sba"])
