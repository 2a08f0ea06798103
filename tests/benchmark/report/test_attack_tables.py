"""Tables of robustness and checks with planted values; the figures that they show are those that the checks record."""

from statistics import fmean, stdev

import torch
from pages import planted_site
from records import planted
from records.attacked_records import COUNTS, FIRM, SLOW, STEEP, area, attacked_curves, l2_attacked, points, rows
from records.planted import costly_checks
from torch import nn

from benchmark.analysis.study import Study, load_study
from benchmark.evaluation.attacks import FrozenModel
from benchmark.evaluation.joint import AttackedSet, attack_jointly
from benchmark.evaluation.sanity_checks import case_of, run_checks
from benchmark.records.schema import AutoAttackRow, Record
from benchmark.report.attack_tables import (
    attack_table,
    check_columns,
    checked,
    checks_table,
    robustness_table,
    survival_list,
    undisturbed_table,
)
from benchmark.settings.preset import Attack, Checks, Evaluation


def study(records: list[Record]) -> Study:
    return load_study("planted", records)


def test_robustness_has_the_planted_curves_their_area_and_median() -> None:
    found = rows(robustness_table(study(attacked_curves())))
    grid = ["0", "0.25", "0.5", "1", "2"]
    assert list(found) == ["sba", "standard", "mixup"]
    assert list(found["sba"]) == [*grid, "area (sd)", "median minimal eps"]
    for arm, curves in (("sba", [STEEP] * 3 + [SLOW] * 2), ("standard", [STEEP] * 4 + [FIRM])):
        columns = zip(*map(points, curves), strict=True)
        assert [found[arm][eps] for eps in grid] == [f"{fmean(column):.1f}" for column in columns]
        areas = [area(curve, planted.EPS) for curve in curves]
        assert found[arm]["area (sd)"] == f"{fmean(areas):.2f} ({stdev(areas):.2f})"
    # By hand: STEEP has the area 20 and its median at 5/12, SLOW 47.5 and 1.
    assert found["sba"]["area (sd)"].startswith("31.00 ")
    assert found["sba"]["median minimal eps"] == f"{(3 * 5 / 12 + 2) / 5:.2f}" == "0.65"
    assert found["standard"]["median minimal eps"] == "> 2"
    assert set(found["mixup"].values()) == {"-"}


def test_l2_stands_beside_linf_where_it_was_attacked() -> None:
    records = planted.study(COUNTS)
    for record in records:
        l2_attacked(record, (100, 40 + 2 * record["seed"]) if record["arm"] == "sba" else (90, 10))
    found = rows(robustness_table(study(records)))
    assert (found["sba"]["L2 0.25"], found["sba"]["L2 0.5"]) == ("50.0", "22.0")
    assert found["standard"]["L2 0.5"] == "5.0"


def test_attack_by_attack_what_each_linf_attack_leaves_at_the_named_eps() -> None:
    records = planted.study(COUNTS, {"sba": [STEEP] * 3 + [SLOW] * 2})
    for record in records:
        l2_attacked(record, (100, 40))
        assert record["robustness"] is not None
        record["robustness"]["zero_gradient_share"] = 0.01 * record["seed"]
        record["robustness"]["median_margin"] = 1.0 + record["seed"]
    found = rows(attack_table(study(records)))
    # At 1/255: 160 and 180 images without attack, (160 + 10) / 2 and (180 + 90) / 2 after FGSM, 10 and 90 in the end.
    expected = [f"{(3 * a + 2 * b) / 5 / 2:.1f}" for a, b in ((160, 180), (85, 135), (10, 90))]
    assert list(found["sba"]) == ["no attack", "fgsm (1)", "apgd_dlr (20)", "zero gradients, %", "median margin"]
    assert list(found["sba"].values()) == [*expected, "2.0", "3.00"]


def test_without_an_adversary_means_over_severities_and_seeds_and_the_calibration() -> None:
    records = planted.study(COUNTS)
    for record in records:
        robustness, seed = record["robustness"], record["seed"]
        assert robustness is not None
        if record["arm"] == "mixup":
            robustness["noise"], robustness["corruptions"], record["calibration"] = None, [], None
            continue
        more = seed if record["arm"] == "sba" else 0
        record["calibration"] = {"n": 1000, "bins": 15, "ece": 0.02 + 0.01 * more, "nll": 0.5 + 0.1 * more}
        robustness["noise"] = {"eps": 2.0, "correct": 150 + 2 * more}
        robustness["corruptions"] = [
            {"kind": kind, "severity": severity, "correct": correct + 2 * more}
            for kind, counts in (("shot_noise", (140, 130, 120, 90, 70)), ("jpeg", (100, 100, 80, 60, 60)))
            for severity, correct in enumerate(counts, start=1)
        ]
    found = rows(undisturbed_table(study(records)))
    # 110 and 80 of 200 images on the mean of five severities, and a point more in every later seed of sba.
    assert found["standard"] == {
        "noise 2/255": "75.0",
        "shot noise": "55.0",
        "jpeg": "40.0",
        "mean (sd)": "47.50 (0.00)",
        "ECE, % (sd)": "2.00 (0.00)",
        "NLL, nats (sd)": "0.50 (0.00)",
    }
    sds = f"{stdev(range(5)):.2f}", f"{stdev(0.1 * seed for seed in range(5)):.2f}"
    assert list(found["sba"].values()) == [
        "77.0",
        "57.0",
        "42.0",
        f"49.50 ({sds[0]})",
        f"4.00 ({sds[0]})",
        f"0.70 ({sds[1]})",
    ]
    assert set(found["mixup"].values()) == {"-"}


def test_nothing_without_an_adversary_where_nothing_was_recorded() -> None:
    records = planted.study(COUNTS)
    for record in records:
        record["calibration"] = None
        if record["robustness"]:
            record["robustness"] |= {"noise": None, "corruptions": []}
    assert undisturbed_table(study(records)) is None


CHECK_COLUMNS = {
    "runs checked": "5/5",
    "runs with flags": "2/5",
    "all at 64/255, %": "2.0",
    "noise, %": "72.0",
    "FGSM, %": "52.0",
    "PGD, %": "32.0",
    "PGD x0.1, %": "33.0",
    "PGD x10, %": "34.0",
    "transfer, %": "62.0",
    "suite, %": "22.0",
    "Square fools": "2.0 of 100",
    "more steps fool": "0.0 of 64",
    "AutoAttack fools": "0.4 of 64",
}


def test_checks_have_means_and_counts_of_images_over_the_checked_runs() -> None:
    records = planted.study({**COUNTS, "erm": [840] * 5})
    for record in records:
        arm, seed = record["arm"], record["seed"]
        flag = "odd" if (arm, seed) in (("sba", 1), ("sba", 3), ("mixup", 1)) else None
        record["flags"] = [f"check 8: {flag}"] if flag else []
        if arm == "sba" or (arm == "mixup" and seed < 2):
            record["checks"] = costly_checks(seed, flag)
        elif arm == "standard":
            record["checks"] = [check for check in costly_checks(0) if check["number"] <= 7]
    found = rows(checks_table(study(records)))
    assert found["sba"] == CHECK_COLUMNS
    few = ("runs checked", "runs with flags", "all at 64/255, %", "noise, %", "FGSM, %", "PGD, %", "PGD x0.1, %")
    expected = dict(zip(few, ("5/5", "0/5", "0.0", "70.0", "50.0", "30.0", "31.0"), strict=True)) | {
        "PGD x10, %": "32.0"
    }
    assert found["standard"] == {**dict.fromkeys(CHECK_COLUMNS, "-"), **expected}
    assert (found["mixup"]["noise, %"], found["mixup"]["Square fools"]) == ("70.5", "0.5 of 100")
    assert (found["mixup"]["runs checked"], found["mixup"]["runs with flags"]) == ("2/5", "1/5")
    unchecked = {"runs checked": "0/5", "runs with flags": "0/5"}
    assert found["erm"] == {**dict.fromkeys(CHECK_COLUMNS, "-"), **unchecked}


def test_only_costly_checks_count_as_checked() -> None:
    record = planted.record("sba", 0, 870)
    record["checks"] = [check for check in costly_checks(0) if check["number"] in (1, 6)]
    assert not checked(record)
    record["checks"] = costly_checks(0)
    assert checked(record)


def test_the_columns_are_figures_that_the_checks_record() -> None:
    generator = torch.Generator().manual_seed(0)
    model, other = (nn.Sequential(nn.Flatten(), nn.Linear(64, 6)) for _ in range(2))
    for weight in (*model.parameters(), *other.parameters()):
        nn.init.normal_(weight, generator=generator)
    images = torch.rand(8, 1, 8, 8, generator=generator)
    labels = model(images).argmax(1)
    attacked = AttackedSet(FrozenModel(model, 4), images, labels, torch.ones(8, dtype=torch.bool), 6, seed=0)
    spend = Checks(images=8, square_queries=2, repeated=4, long_steps=2, reference_steps=2, reference_queries=2)
    attacks = (Attack(name="apgd_ce", steps=2), Attack(name="apgd_dlr", steps=2))
    settings = Evaluation(images=8, batch_size=4, eps=(1.0, 2.0), attacks=attacks, checks=spend)
    outcomes = attack_jointly(attacked, settings, lambda _text, _share: None)
    checks = run_checks(case_of(attacked, settings, outcomes, lambda: other), lambda _text, _share: None)
    recorded = {(check["name"], key) for check in checks for key in check["figures"]}
    assert {(name, column.figure) for name, column in check_columns()} <= recorded
    assert {(name, "images") for name, column in check_columns() if not column.percent} <= recorded
    assert {(check["name"], key) for check in costly_checks(0) for key in check["figures"]} <= recorded  # planted here


# Other packages.


def test_only_arms_with_a_shared_attacked_seed_and_as_many_images_are_compared_under_autoattack() -> None:
    def said(*rows: AutoAttackRow) -> list[str]:
        return survival_list(load_study("planted", planted.study(COUNTS), rows))

    apart = [planted_site.autoattack_row("standard", 0, 100, 90), planted_site.autoattack_row("sba", 1, 100, 90)]
    assert said(*apart) == []
    other: AutoAttackRow = {**planted_site.autoattack_row("standard", 1, 90, 95), "images": 100, "clean": 95}
    assert said(*apart, other) == []
    (line,) = said(*apart, planted_site.autoattack_row("standard", 1, 90, 95))
    assert "1 seed: +5.0 points under the study's attacks, -2.5 under AutoAttack; **the sign does not stay" in line
