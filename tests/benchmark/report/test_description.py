"""What a study is said to be, what its settings come from, and what it takes to repeat it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pages import planted_site
from records import planted
from records.attacked_records import COUNTS, rows

from benchmark.analysis.exploratory import decide
from benchmark.analysis.study import Study, load_study
from benchmark.evaluation.catalogue import scale_warning
from benchmark.records.schema import Record
from benchmark.records.store import AUTOATTACK, CROSSCHECK, read_rows
from benchmark.report.description import (
    arms_table,
    commands,
    commits,
    environment_alike,
    environment_table,
    mixed_devices,
    other_augmentation,
    ran,
)
from benchmark.report.notation import code
from benchmark.report.pages import environment


def setup(study: Study, word: str, others: Sequence[Study] = ()) -> list[str]:
    """The lines of a study's setup that have a word."""
    parts: Any = environment.get_template("parts.md.j2").module
    return [line.removeprefix("- ") for line in str(parts.setup(study, others, code)).splitlines() if word in line]


def two_seeds() -> list[Record]:
    return planted.study({"sba": [870, 871], "standard": [858, 859]})


@pytest.mark.parametrize("data", [{}, {"streamed": False}, {"streamed": True}])
def test_the_standard_augmentation_that_is_named_is_the_one_that_was_used(data: dict[str, bool]) -> None:
    records = two_seeds()
    for record in records:
        record["settings"] |= {"recipe": {"epochs": 2, "padding": 4, "flip": True}}
        record["settings"]["data"] = {"pixels": 32, **data}  # older records do not say whether images are streamed
    used = "epochs = 2, padding = 4, flip = true."
    if data.get("streamed"):
        used = "epochs = 2, flip = true; standard augmentation: random resized crops, 8% to 100% of the area."
    assert setup(load_study("planted", records), "Training") == [f"Training: {used}"]


def test_seeds_of_mixed_devices_are_named_as_such() -> None:
    records = two_seeds()
    assert mixed_devices(load_study("planted", records)) is None
    assert ran(load_study("planted", records)) == "Ran on cpu, 2026-01-01 to 2026-01-02."
    gpu = {"device": "cuda:0 NVIDIA H200", "device_name": "NVIDIA H200"}
    for record in records:
        if record["seed"] == 1:
            record["environment"] = record["environment"] | gpu
    study = load_study("planted", records)
    assert ran(study) == "Ran on NVIDIA H200 (seed 1) and cpu (seed 0), 2026-01-01 to 2026-01-02."
    assert mixed_devices(study) is None
    records[1]["environment"] = records[0]["environment"]
    said = mixed_devices(load_study("planted", records))
    assert said is not None
    assert said.startswith("Mixed devices: the runs of seed 1 are from cpu and cuda.")


@pytest.mark.parametrize(
    ("linf", "l2", "norms"),
    [
        (["fgsm", "apgd_dlr"], [], None),
        (["fgsm", "pgd"], [], "in Linf:"),
        (["square"], ["apgd_ce"], "in L2:"),
        (["pgd"], ["apgd_ce"], "in Linf and L2:"),
        (["of_a_row_that_is_gone"], ["fab_t"], "in Linf:"),
    ],
)
def test_a_norm_without_a_scale_free_attack_is_warned_of(linf: list[str], l2: list[str], norms: str | None) -> None:
    evaluation = {"attacks": linf, "l2_attacks": l2}
    said = scale_warning({key: [{"name": name} for name in names] for key, names in evaluation.items()})
    assert (said is None) if norms is None else (said is not None and f"No scale-free attack {norms}" in said)


def test_the_old_normalisation_is_said_where_it_was_used() -> None:
    records = two_seeds()
    (said,) = setup(load_study("planted", records), "Normalisation")
    assert "the first 5,000 training images" in said
    for record in records:
        record["settings"]["numerics"] = 2
    assert setup(load_study("planted", records), "Normalisation") == []


def test_an_arms_own_recipe_is_told_and_counts_as_its_recipe() -> None:
    records = planted.study({"sba": [870], "standard": [870]})
    for record in records:
        if record["arm"] == "standard":
            record["settings"]["arm"]["recipe"] = {"learning_rate": 0.2, "weight_decay": 0.002}
    study = load_study("planted", records)
    assert rows(arms_table(study))["standard"]["method and settings"].endswith(
        "learning_rate = 0.2, weight_decay = 0.002"
    )
    assert study.recipe("standard")["weight_decay"] == 0.002
    assert study.recipe("sba") == study.any_record["settings"]["recipe"]


def test_arms_of_another_augmentation_are_named_with_both() -> None:
    with_erm = planted_site.study("x", "X", {"sba": 870, "standard": 861, "erm": 830})
    arms = "`sba` has the augmentation standard, `erm` none"
    text = f"{arms}: a difference from such an arm includes what the augmentation does."
    assert other_augmentation([load_study("x", with_erm)]) == text
    assert other_augmentation([load_study("x", planted_site.study("x", "X", {"sba": 870, "standard": 861}))]) == ""


def test_arms_of_the_treatments_method_are_told_by_what_differs() -> None:
    records = planted.study({name: [870] for name in ("sba", "standard", "sba_often", "sba_again", "adversarial")})
    for record in records:
        record["analysis"] |= {"relatives": ["sba_often"], "positive_control": "adversarial"}
        spec = record["settings"]["arm"]
        if record["arm"].startswith("sba"):
            own = {"layers": ["stem", "block1"], "p": 0.5, "tau": None, "jitter": False}
            spec |= {"method": "sba", "settings": own}
        if record["arm"] == "sba_often":
            spec |= {"augmentation": "none", "epochs": 6, "settings": {**spec["settings"], "p": 1.0}}
    found = {arm: tuple(row.values()) for arm, row in rows(arms_table(load_study("planted", records))).items()}
    assert found == {
        "sba": (
            "treatment",
            "method sba, augmentation standard, layers = [stem, block1], p = 0.5, tau = none, jitter = false",
        ),
        "standard": ("claims", "method standard, augmentation standard"),
        "mixup": ("claims", "no run yet"),
        "sba_often": ("relative", "as sba, but augmentation none, 6 epochs, p = 1"),
        "adversarial": ("positive control", "method adversarial, augmentation standard"),
        "sba_again": ("shown, not tested", "as sba"),
    }


def of_data(name: str) -> Study:
    return load_study("x", planted_site.study("x", "X", {"sba": 870, "standard": 861}, seeds=4, data={"name": name}))


def test_a_study_of_another_recipe_or_of_other_settings_is_not_confirmatory() -> None:
    ablation, study = load_study("cifar10_jpeg_cpu_ablation", planted_site.chosen()), of_data("cifar100")
    for record in study.records.values():
        record["settings"]["recipe"] |= {"learning_rate": 0.2}
    (line,) = setup(study, "et by hand", [ablation])
    assert line.startswith("The settings of `sba` were set by hand")
    assert line.endswith(", and frozen.")
    for record in study.records.values():
        record["settings"]["arm"] |= {"settings": planted_site.SBA | {"noise": 0.1}}
    assert setup(study, "ettings of", [ablation]) == []


def test_a_choice_that_replaced_a_setting_may_favour_the_treatment() -> None:
    records = planted_site.chosen()
    for record in records:
        if record["arm"].startswith("noise_") and record["clean"]:
            record["clean"] |= {"correct": planted.bits(record["clean"]["n"], record["clean"]["n"])}
    chosen = load_study("cifar10_jpeg_cpu_ablation", records)
    assert [decision.row for decision in decide(chosen) if decision.row]
    (line,) = setup(of_data("cifar10_jpeg"), "hosen", [chosen])
    where = "on held-out training images of the same data set"
    assert line == f"Chosen by `cifar10_jpeg_cpu_ablation` {where}: the settings of `sba`, which may favour it."
    (line,) = setup(of_data("cifar100"), "hosen", [chosen])
    confirms = "Confirmatory: nothing was chosen on these images. The settings of `sba` were"
    assert line.startswith(f"{confirms} chosen by `cifar10_jpeg_cpu_ablation`")


# What it takes to repeat studies.


def test_trials_come_before_the_study_and_attacks_after_it(tmp_path: Path) -> None:
    planted_site.write_extras(tmp_path)
    study = load_study("planted", planted.study(COUNTS), read_rows(tmp_path, AUTOATTACK))
    assert commands(study, tmp_path, {"planted": read_rows(tmp_path, CROSSCHECK)}) == [
        "benchmark run p --tuning",
        "benchmark tune p",
        "benchmark run planted",
        "benchmark crosscheck planted --arms sba,erm --seeds 0",
        "benchmark autoattack planted --arms sba,standard,mixup --seeds 0,1,2 --eps 0.5,1 --images 200",
    ]
    assert commands(load_study("planted", planted.study(COUNTS)), tmp_path / "other", {}) == ["benchmark run planted"]


def test_every_run_is_listed_at_its_commit() -> None:
    records = planted.study(COUNTS)
    for record in records:
        record["environment"]["commit"] = "old" if record["seed"] < 2 and record["arm"] != "mixup" else "new"
    assert commits(load_study("planted", records)) == {
        "new": {"mixup": [0, 1, 2, 3, 4], "sba": [2, 3, 4], "standard": [2, 3, 4]},
        "old": {"sba": [0, 1], "standard": [0, 1]},
    }


def test_what_all_runs_share_is_named_once_and_the_table_has_the_rest() -> None:
    records = planted.study(COUNTS)
    for record in records:
        record["environment"] = {"date": f"2026-01-0{record['seed'] + 1}", "torch": "2.0", "threads": "1"}
    records[0]["environment"]["threads"] = "2"
    records[0]["environment"]["processes"] = "4"
    study = load_study("planted", records)
    assert environment_alike([study]) == {"torch": "2.0"}
    assert environment_table([study]).rows[1:] == [["threads", "1, 2"], ["processes", "-, 4"]]
