"""Records of one study as arrays; what does not belong together is refused, with the list of what differs."""

import copy
import re
from functools import reduce
from operator import getitem
from typing import Any, cast

import numpy as np
import pytest
from records import planted

from benchmark.analysis.endpoints import ENDPOINTS, Measure
from benchmark.analysis.study import load_study
from benchmark.records.schema import Record
from benchmark.runtime.errors import RunError, UsageError

COUNTS = {"sba": [870, 872, 868, 871, 869], "standard": [858, 861, 857, 862, 857], "mixup": [860] * 5}


def changed(record: Record, path: str, value: Any) -> Record:
    """Copy a record with one dotted key replaced."""
    copied: Any = copy.deepcopy(record)
    *parents, last = path.split(".")
    reduce(getitem, parents, copied)[last] = value
    return cast(Record, copied)


def test_endpoints_are_counts_of_the_bits() -> None:
    study = load_study("planted", planted.study(COUNTS, {"sba": [[160, 120, 80, 20, 0]] * 5}))
    assert study.arms == ("sba", "standard", "mixup")
    assert study.seeds == (0, 1, 2, 3, 4)
    assert study.clean[:, 0].tolist() == [87.0, 85.8, 86.0]
    assert study.eps.tolist() == [0.0, 0.25, 0.5, 1.0, 2.0]
    assert study.robust[0, 0].tolist() == [80.0, 60.0, 40.0, 10.0, 0.0]
    assert study.values("eps")[0].tolist() == [10.0] * 5
    # 0.25 x 70 + 0.25 x 50 + 0.5 x 25 + 1 x 5 = 47.5, over 2
    assert study.values("area")[0] == pytest.approx(np.full(5, 23.75))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            lambda study: study.each(lambda record: record["calibration"]["EC"]),
            f"endpoint 'odd' failed on the record planted/mixup/seed-0.json: KeyError: 'EC' ({__file__}, line ",
        ),
        (
            lambda study: study.each(lambda _: "high"),
            "endpoint 'odd' failed on the record planted/mixup/seed-0.json: Value",
        ),
        (lambda study: study.no_such_attribute, "endpoint 'odd' failed on the study planted: AttributeError"),
        (lambda study: study.clean[0], "3 arms and 5 seeds of the study planted; it returned an array of shape (5,)"),
        (
            lambda study: study.each(lambda record: float("inf") if record["seed"] == 3 else 1.0),
            "endpoint 'odd' is infinite for sba seed 3 of the study planted; it must return nan where a run has no",
        ),
    ],
)
def test_an_error_in_the_function_of_an_endpoint_names_endpoint_and_record(
    monkeypatch: pytest.MonkeyPatch, values: Any, message: str
) -> None:
    records = planted.study(COUNTS)
    monkeypatch.setitem(ENDPOINTS, "odd", Measure("odd", "points", values))
    with pytest.raises(RunError, match=re.escape(message)):
        load_study("planted", [planted.completed(record) for record in records]).values("odd")


def test_a_study_of_an_endpoint_that_is_gone_or_cannot_be_named_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    record = planted.record("sba", 0, 870)
    record["analysis"]["endpoints"] = ["clean", "odd"]
    with pytest.raises(UsageError, match=r"study planted names an unknown endpoint 'odd'; allowed: area, clean"):
        load_study("planted", [record])
    monkeypatch.setitem(ENDPOINTS, "odd", Measure("odd {largst}", "points", lambda study: study.clean))
    with pytest.raises(UsageError, match=r"endpoint 'odd' of the study planted: its name 'odd {largst}' in ENDPOINTS"):
        load_study("planted", [record])


def test_robust_needs_every_attack_to_fail() -> None:
    record = planted.record("sba", 0, 870)
    assert record["robustness"] is not None
    record["robustness"]["attacks"].reverse()
    study = load_study("planted", [record])
    assert study.robust[0, 0, -1] == 0.0


def test_a_family_is_interim_until_it_and_the_treatment_are_complete() -> None:
    records = [
        record
        for record in planted.study({**COUNTS, "cutmix": [866] * 5})
        if record["seed"] or record["arm"] != "cutmix"
    ]
    for record in records:
        record["analysis"]["relatives"] = ["cutmix", "stability"]
    study = load_study("planted", records)
    assert not study.interim("standard")
    assert study.interim("cutmix")
    assert study.interim("stability")
    assert study.to_come(["cutmix"]) == 1 + 5
    without = load_study("planted", [record for record in records if (record["arm"], record["seed"]) != ("sba", 2)])
    assert without.interim("mixup")


def test_a_seed_that_was_not_named_is_left_out() -> None:
    study = load_study("planted", [*planted.study(COUNTS), planted.record("sba", 7, 999)])
    assert study.unnamed == (("sba", 7),)
    assert study.clean.shape == (3, 5)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("data.fingerprint", "0" * 64, "data.fingerprint"),
        (
            "data.synthetic",
            True,
            "data.synthetic: False in sba/seed-0, sba/seed-1, standard/seed-1; True in standard/seed-0",
        ),
        ("model.parameters", 54321, "model.parameters: 12345 in sba/seed-0, sba/seed-1, standard/seed-1; 54321 in"),
        ("settings.recipe.epochs", 8, "settings.recipe.epochs"),
        ("settings.model.name", "large", "settings.model.name"),
        ("settings.evaluation.eps", [0.25, 0.5, 1.0, 2.0, 8.0], "settings.evaluation.eps"),
        ("settings.arm.settings.p", 0.9, "settings.arm.settings.p"),
        ("settings.numerics", 2, "settings.numerics: absent in"),
        ("analysis.margin", 2.0, "analysis.margin: 0.5 in"),
        ("analysis.exploratory", True, "analysis.exploratory: False in"),
        ("environment.torch", "2.11.0+cu130", "torch: 2.13 in"),
        ("weights_hash", "other", "weights_hash (seed 0): weights-0 in sba/seed-0; other in standard/seed-0"),
        ("order_hash", "other", "order_hash (seed 0)"),
        ("robustness.images", [*range(199), 777], "attacked images"),
    ],
)
def test_mixed_records_are_refused_with_what_differs(path: str, value: Any, said: str) -> None:
    records = planted.study({"sba": [870, 871], "standard": [860, 861]})
    first = 0 if ".arm." in path else 2
    records[first] = changed(records[first], path, value)
    with pytest.raises(UsageError) as caught:
        load_study("planted", records)
    assert said in str(caught.value)
    assert "do not belong to one study" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("environment.device", "cuda:0 NVIDIA H100"),
        ("environment.torch", "2.13.1+cpu"),  # a patch version
        ("analysis.exploratory", False),  # records before exploratory studies do not say it
    ],
)
def test_records_of_one_study_may_differ_in_these(path: str, value: Any) -> None:
    records = planted.study({"sba": [870], "standard": [860]})
    records[1] = changed(records[1], path, value)
    study = load_study("planted", records)
    assert study.values("clean")[:2, 0].tolist() == [87.0, 86.0]
    assert not study.exploratory


def test_every_difference_is_listed() -> None:
    records = planted.study({"sba": [870], "standard": [860]})
    records[1] = changed(changed(records[1], "order_hash", "x"), "settings.recipe.batch_size", 64)
    with pytest.raises(UsageError, match=r"(?s)batch_size.*order_hash"):
        load_study("planted", records)


def test_an_eps_that_no_attack_used_is_refused() -> None:
    record = changed(planted.record("sba", 0, 870), "analysis.eps", 3.0)
    with pytest.raises(UsageError, match="names eps = 3, attacked were"):
        load_study("planted", [record])


def test_no_records() -> None:
    with pytest.raises(UsageError, match="python -m benchmark run planted"):
        load_study("planted", [])


@pytest.mark.parametrize(("path", "value"), [("clean.correct", "AAAA"), ("clean", None), ("robustness.attacks", [])])
def test_damaged_outcomes_name_the_record(path: str, value: Any) -> None:
    record = changed(planted.record("sba", 3, 870), path, value)
    with pytest.raises(RunError, match=r"sba/seed-3.*Delete it to repeat its run"):
        load_study("planted", [record])


ROWS = {row: [860 + 3 * i, 862, 861 - i] for i, row in enumerate(planted.ROWS)}


def test_rows_may_train_for_epochs_of_their_own() -> None:
    records = planted.ablation(ROWS)
    lengths = {record["arm"]: len(record["epochs"]) for record in records}
    assert lengths["erm_equal_compute"] > lengths["erm"]
    assert load_study("planted_ablation", records).clean.shape == (6, 3)
    records[-1] = changed(records[-1], "settings.arm.epochs", 99)  # but every seed of a row for the same
    with pytest.raises(UsageError, match=r"settings\.arm\.epochs: 6 in .*; 99 in erm_equal_compute/seed-2"):
        load_study("planted_ablation", records)
