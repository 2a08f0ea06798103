"""The robustness section of RESULTS.md: curves, attacks, corruptions and calibration with planted values."""

from pathlib import Path
from statistics import fmean, stdev

import planted
import pytest
from robustness_section import (
    COUNTS,
    FIRM,
    L2_EPS,
    SLOW,
    STEEP,
    area,
    attacked_curves,
    l2_attacked,
    points,
    with_column,
    written,
)

from benchmark.report import prose

pytestmark = pytest.mark.usefixtures("no_figures")


def test_the_linf_table_has_the_planted_curves_their_area_and_median(tmp_path: Path) -> None:
    (table,) = with_column(written(tmp_path, attacked_curves()), "median minimal eps")
    grid = ["0", "0.25", "0.5", "1", "2"]
    assert table.headers == ["arm", *grid, "area", "sd of area", "median minimal eps"]
    assert list(table.rows) == ["sba", "standard", "mixup"]
    for arm, curves in (("sba", [STEEP] * 3 + [SLOW] * 2), ("standard", [STEEP] * 4 + [FIRM])):
        columns = zip(*map(points, curves), strict=True)
        assert [table.rows[arm][eps] for eps in grid] == [f"{fmean(column):.1f}" for column in columns]
        areas = [area(curve, planted.EPS) for curve in curves]
        assert table.rows[arm]["area"] == f"{fmean(areas):.2f}"
        assert table.rows[arm]["sd of area"] == f"{stdev(areas):.2f}"
    # By hand: STEEP has the area 20 and its median at 5/12, SLOW 47.5 and 1.
    assert table.rows["sba"]["area"] == "31.00"
    assert table.rows["sba"]["median minimal eps"] == f"{(3 * 5 / 12 + 2) / 5:.3g}" == "0.65"
    assert table.rows["standard"]["median minimal eps"] == "> 2"
    assert set(table.rows["mixup"].values()) == {"-"}


def test_the_l2_table_appears_only_where_l2_was_attacked(tmp_path: Path) -> None:
    without = written(tmp_path / "without", planted.study(COUNTS))
    assert prose.L2_NOTE not in without
    assert len(with_column(without, "median minimal eps")) == 1

    records = planted.study(COUNTS)
    left = {"sba": [(100, 40), (110, 50), (120, 60), (130, 70), (100, 20)], "standard": [(90, 10)] * 5}
    for record in records:
        l2_attacked(record, left.get(record["arm"], [(150, 120)] * 5)[record["seed"]])
    text = written(tmp_path / "with", records)
    assert prose.L2_NOTE in text
    linf, l2 = with_column(text, "median minimal eps")
    assert with_column(without, "median minimal eps") == [linf]
    assert l2.headers == ["arm", "0", "0.25", "0.5", "area", "sd of area", "median minimal eps"]
    assert [l2.rows["sba"][eps] for eps in ("0", "0.25", "0.5")] == ["80.0", "56.0", "24.0"]
    areas = [area((STEEP[0], *curve), L2_EPS) for curve in left["sba"]]
    assert (l2.rows["sba"]["area"], l2.rows["sba"]["sd of area"]) == (f"{fmean(areas):.2f}", f"{stdev(areas):.2f}")
    assert l2.rows["standard"] == {
        "0": "80.0",
        "0.25": "45.0",
        "0.5": "5.0",
        "area": "43.75",  # (62.5 + 25) / 2
        "sd of area": "0.00",
        "median minimal eps": f"{0.25 + 0.25 * (90 - 80) / (90 - 10):.3g}",
    }
    assert l2.rows["mixup"]["median minimal eps"] == "> 0.5"


def test_the_attack_table_shows_what_each_linf_attack_leaves_at_the_named_eps(tmp_path: Path) -> None:
    records = planted.study(COUNTS, {"sba": [STEEP] * 3 + [SLOW] * 2})
    for record in records:
        l2_attacked(record, (100, 40))
        assert record["robustness"] is not None
        record["robustness"]["zero_gradient_share"] = 0.01 * record["seed"]
        record["robustness"]["median_margin"] = 1.0 + record["seed"]
    (table,) = with_column(written(tmp_path, records), "median margin")
    # At 1/255: 160 and 180 images without attack, (160 + 10) / 2 and (180 + 90) / 2 after FGSM, 10 and 90 in the end.
    expected = [f"{(3 * a + 2 * b) / 5 / 2:.1f}" for a, b in ((160, 180), (85, 135), (10, 90))]
    assert table.headers == ["arm", "no attack", "fgsm (1)", "apgd_dlr (20)", "zero gradients, %", "median margin"]
    assert list(table.rows["sba"].values()) == [*expected, "2.0", "3.00"]


# Corruptions and calibration.


def test_the_corruption_table_has_the_mean_over_severities_and_seeds(tmp_path: Path) -> None:
    records = planted.study(COUNTS)
    for record in records:
        robustness = record["robustness"]
        assert robustness is not None
        if record["arm"] == "mixup":
            robustness["noise"], robustness["corruptions"] = None, []
            continue
        more = record["seed"] if record["arm"] == "sba" else 0
        robustness["noise"] = {"eps": 2.0, "correct": 150 + 2 * more}
        robustness["corruptions"] = [
            {"kind": kind, "severity": severity, "correct": correct + 2 * more}
            for kind, counts in (("shot_noise", (140, 130, 120, 90, 70)), ("jpeg", (100, 100, 80, 60, 60)))
            for severity, correct in enumerate(counts, start=1)
        ]
    text = written(tmp_path, records)
    assert prose.CORRUPTION_NOTE in text
    (table,) = with_column(text, "mean of corruptions")
    noise = "uniform noise, 2/255"
    assert table.headers == ["arm", noise, "shot noise", "jpeg", "mean of corruptions", "sd"]
    # 110 and 80 of 200 images on the mean of five severities, and a point more in every later seed of sba.
    assert table.rows["standard"] == {
        noise: "75.0",
        "shot noise": "55.0",
        "jpeg": "40.0",
        "mean of corruptions": "47.50",
        "sd": "0.00",
    }
    assert table.rows["sba"] == {
        noise: "77.0",
        "shot noise": "57.0",
        "jpeg": "42.0",
        "mean of corruptions": "49.50",
        "sd": f"{stdev(range(5)):.2f}",
    }
    assert set(table.rows["mixup"].values()) == {"-"}


def test_corruptions_that_the_first_run_lacks_are_shown_for_the_others(tmp_path: Path) -> None:
    records = planted.study(COUNTS)
    for record in records:
        if record["arm"] == "sba":
            assert record["robustness"] is not None
            record["robustness"]["noise"], record["robustness"]["corruptions"] = None, []
    (table,) = with_column(written(tmp_path, records), "mean of corruptions")
    assert set(table.rows["sba"].values()) == {"-"}
    assert table.rows["standard"]["jpeg"] == table.rows["standard"]["gaussian noise"] == "65.0"
    assert table.rows["standard"]["mean of corruptions"] == "65.00"


def test_the_calibration_table_has_error_in_points_and_likelihood_in_nats(tmp_path: Path) -> None:
    records = [record for record in planted.study(COUNTS) if record["arm"] != "mixup" or record["seed"] == 0]
    records += [planted.diverged("mixup", seed) for seed in range(1, 5)]
    for record in records:
        seed = record["seed"]
        if record["arm"] == "sba":
            record["calibration"] = {"n": 1000, "bins": 15, "ece": 0.02 + 0.01 * seed, "nll": 0.5 + 0.1 * seed}
    text = written(tmp_path, records)
    assert prose.CALIBRATION_NOTE in text
    (table,) = with_column(text, "ECE, %")
    assert table.headers == ["arm", "ECE, %", "sd", "NLL, nats", "sd"]
    sds = f"{stdev(range(5)):.2f}", f"{stdev(0.1 * seed for seed in range(5)):.2f}"
    assert table.cells["sba"] == ["4.00", sds[0], "0.700", sds[1]]
    assert table.cells["standard"] == ["4.00", "0.00", "0.600", "0.00"]
    assert table.cells["mixup"] == ["4.00", "-", "0.600", "-"]
