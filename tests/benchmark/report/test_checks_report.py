"""The robustness section of RESULTS.md: the table of sanity checks."""

from pathlib import Path

import planted
import pytest
import torch
from planted import costly_checks
from robustness_section import COUNTS, with_column, written
from torch import nn

from benchmark.evaluation.attacks import Victim
from benchmark.evaluation.evaluate import all_checks, joint_curves
from benchmark.evaluation.joint import Subject, attack_jointly
from benchmark.records.schema import Check
from benchmark.report import prose
from benchmark.report.robustness_tables import CHECKS
from benchmark.settings.preset import Attack, Checks, Evaluation

pytestmark = pytest.mark.usefixtures("no_figures")


CHECK_COLUMNS = {
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
    "runs checked": "5/5",
    "runs with flags": "2/5",
}


def test_the_checks_table_has_means_and_counts_of_images(tmp_path: Path) -> None:
    records = planted.study(COUNTS)
    for record in records:
        if record["arm"] == "sba":
            record["checks"] = costly_checks(record["seed"], "odd" if record["seed"] in (1, 3) else None)
        elif record["arm"] == "standard":
            record["checks"] = [check for check in costly_checks(0) if check["number"] <= 7]
    text = written(tmp_path, records)
    assert prose.CHECKS_NOTE in text
    (table,) = with_column(text, "runs with flags")
    assert table.rows["sba"] == CHECK_COLUMNS
    assert table.rows["standard"] == {
        **dict.fromkeys(CHECK_COLUMNS, "-"),
        "all at 64/255, %": "0.0",
        "noise, %": "70.0",
        "FGSM, %": "50.0",
        "PGD, %": "30.0",
        "PGD x0.1, %": "31.0",
        "PGD x10, %": "32.0",
        "runs checked": "5/5",
        "runs with flags": "0/5",
    }
    free = {"runs checked": "0/5", "runs with flags": "0/5"}
    assert table.rows["mixup"] == {**dict.fromkeys(CHECK_COLUMNS, "-"), **free}


def test_no_checks_table_where_only_the_free_checks_were_made(tmp_path: Path) -> None:
    records = planted.study(COUNTS)
    for record in records:
        free = [check for check in costly_checks(record["seed"]) if check["number"] in (1, 6)]
        record["checks"] = [*free, Check(number=4, name="monotone", figures={"largest rise": 0.0}, flag=None)]
    text = written(tmp_path, records)
    assert prose.CHECKS_NOTE not in text
    assert not with_column(text, "runs with flags")


def test_checks_of_a_later_seed_alone_are_shown(tmp_path: Path) -> None:
    records = planted.study(COUNTS)
    for record in records:
        if record["seed"] == 4:
            record["checks"] = costly_checks(4)
    (table,) = with_column(written(tmp_path, records), "runs with flags")
    assert table.rows["sba"]["Square fools"] == "4.0 of 100"
    assert table.rows["sba"]["noise, %"] == "74.0"
    assert table.rows["sba"]["runs checked"] == "1/5"


def test_of_some_checked_seeds_the_means_are_over_these_and_any_flag_counts_for_the_arm(tmp_path: Path) -> None:
    """Seeds 0 and 1 are checked, and seed 1 flagged; the others record neither costly checks nor corruptions."""
    records = planted.study(COUNTS)
    for record in records:
        if record["seed"] in (0, 1):
            flagged = (record["arm"], record["seed"]) == ("sba", 1)
            record["checks"] = costly_checks(record["seed"], "odd" if flagged else None)
        elif record["robustness"]:
            record["robustness"] |= {"noise": None, "corruptions": []}
    text = written(tmp_path, records)
    (table,) = with_column(text, "runs with flags")
    row = table.rows["sba"]
    assert (row["noise, %"], row["Square fools"]) == ("70.5", "0.5 of 100")
    assert (row["runs checked"], row["runs with flags"]) == ("2/5", "1/5")
    assert table.rows["standard"]["runs with flags"] == "0/5"


def test_the_columns_are_figures_that_the_checks_record() -> None:
    generator = torch.Generator().manual_seed(0)
    model, other = (nn.Sequential(nn.Flatten(), nn.Linear(64, 6)) for _ in range(2))
    for weight in (*model.parameters(), *other.parameters()):
        nn.init.normal_(weight, generator=generator)
    images = torch.rand(8, 1, 8, 8, generator=generator)
    labels = model(images).argmax(1)
    subject = Subject(Victim(model), images, labels, torch.ones(8, dtype=torch.bool), 6, 4, seed=0)
    spend = Checks(images=8, square_queries=2, repeated=4, long_steps=2, reference_steps=2, reference_queries=2)
    attacks = (Attack(name="apgd_ce", steps=2), Attack(name="apgd_dlr", steps=2))
    settings = Evaluation(images=8, batch_size=4, eps=(1.0, 2.0), attacks=attacks, checks=spend)
    outcomes = attack_jointly(subject, settings, lambda _text, _share: None)
    curves = joint_curves(outcomes, 8)
    checks = all_checks(subject, settings, outcomes, curves, lambda: other, lambda _text, _share: None)
    recorded = {(check["number"], key) for check in checks for key in check["figures"]}
    assert {(number, key) for number, key, _, _ in CHECKS} <= recorded
    assert {(number, "images") for number, _, _, share in CHECKS if not share} <= recorded
    planned = {(check["number"], key) for check in costly_checks(0) for key in check["figures"]}
    assert {(number, key) for number, key in planned if number > 1} <= recorded  # what these tests plant
