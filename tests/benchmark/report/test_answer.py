"""The answer: which studies stand in it, what its cells say, and what stands below it."""

from collections.abc import Sequence
from typing import Any

import planted
import planted_site
import pytest
from attacked_records import rows

from benchmark.analysis.claims import findings
from benchmark.analysis.study import Study, load_study
from benchmark.records.schema import Record
from benchmark.report.answer import Answer, answer, chosen_caveat, claims_table

FEW = {"sba": 870, "standard": 861, "erm": 830, "mixup": 856}


def studies(records: Sequence[Record]) -> list[Study]:
    return [
        load_study(preset, [record for record in records if record["preset"] == preset])
        for preset in planted_site.presets(records)
    ]


def found(*records: Record) -> Answer:
    return answer(studies(records), lambda preset: f"{preset}.md")


@pytest.fixture(scope="module")
def whole() -> Answer:
    return found(*planted_site.whole())


def test_every_study_has_its_place(whole: Answer) -> None:
    assert {title: [study.preset for study in group] for title, group in whole.groups.items()} == {
        "In the answer": ["cifar10_10k_conv_cpu", "cifar10_10k_cpu", "cifar100_cpu"],
        "On copies of these images": ["cifar10_jpeg_10k_cpu"],
        "Other tests": ["cifar10_10k_cpu_compute"],
        "Begun, no seed complete": [],
        "Described, not tested": ["tiny_cpu"],
        "Exploratory, without verdicts": ["cifar10_jpeg_cpu_ablation"],
    }


def test_a_study_without_a_whole_seed_is_only_begun() -> None:
    records = [record for record in planted_site.study("x", "X", FEW) if record["arm"] != "mixup"]
    assert [study.preset for study in found(*records).groups["Begun, no seed complete"]] == ["x"]
    assert found(*records).table is None


def test_cells_have_judgement_effect_and_interval(whole: Answer) -> None:
    table = rows(whole.table)
    conv, ours, new = table["generalization"]
    assert conv == "CIFAR-10, 10,000 images, fast_conv, 8 seeds"
    assert ours == "CIFAR-10, 10,000 images, fast, 8 seeds"
    assert table["generalization"][ours].startswith("supported, +")
    assert table["generalization"][ours].endswith("] from standard")
    assert table["robustness"][ours].startswith("supported, robust area: +")
    assert table["relatives"][conv] == "-"
    assert table["cost"][ours] == "supported, 0.75x the FLOPs and 0.75x the gradient samples of always"
    assert table["one network"][ours].startswith("supported, +")
    assert table["one network"][conv].startswith("supported, +")
    assert table["generalization"][new] == "interim"


def test_one_sentence_a_claim(whole: Answer) -> None:
    by_claim = {sentence.split("**")[1]: sentence for sentence in whole.sentences}
    paper = ("Generalization", "Convergence", "Robustness", "Soft label", "Cost")
    assert tuple(by_claim) == (*paper, "Relatives", "One network")
    assert "(abstract). SBA generalizes better" in by_claim["Generalization"]
    assert by_claim["Generalization"].endswith("interim on CIFAR-100 with 50,000 images.")
    assert "on CIFAR-10 with 10,000 images (`fast_conv`)" in by_claim["Generalization"]
    assert "(we ask)" in by_claim["Relatives"]


def test_copies_stand_below_with_what_the_official_images_say(whole: Answer) -> None:
    line, other = whole.below
    assert line.startswith("Earlier, on CIFAR-10 saved as JPEG, [`cifar10_jpeg_10k_cpu`](cifar10_jpeg_10k_cpu.md): gen")
    assert "Its twin on the official images, [`cifar10_10k_cpu`](cifar10_10k_cpu.md), " in line
    assert other.startswith(
        "[CIFAR-10, 10,000 images, equal compute](cifar10_10k_cpu_compute.md), accuracy of `sba`: -"
    )
    assert other.endswith("from `standard`.")


def test_copies_and_originals_may_differ() -> None:
    official = planted_site.study("official", "Official", FEW)
    copy = planted_site.study("copy", "Copy", FEW | {"mixup": 880}, data={"name": "cifar10_jpeg"})
    (line,) = found(*official, *copy).below
    assert "generalization contradicted" in line
    assert line.endswith("differs on generalization, convergence and robustness.")
    other = planted_site.study("copy", "Copy", FEW, data={"name": "cifar10_jpeg"}, model="another")
    (line,) = found(*official, *other).below
    assert "twin" not in line


def test_copies_are_the_answer_while_there_is_nothing_official() -> None:
    alone = found(*planted_site.study("copy", "Copy", FEW, data={"name": "cifar10_jpeg"}))
    assert [study.preset for study in alone.studies] == ["copy"]
    assert alone.below == []


def test_nothing_at_all() -> None:
    nothing = found()
    assert (nothing.studies, nothing.table, nothing.below) == ([], None, [])
    assert all(sentence.endswith("Not tested.") for sentence in nothing.sentences)


def test_a_reason_stands_in_the_cell_instead_of_a_comparison() -> None:
    records = planted_site.study("x", "X", FEW, seeds=5)
    failed: Any = planted.diverged("sba", 2)
    failed |= {key: dict(records[0])[key] for key in ("preset", "analysis", "settings", "data", "model")}
    kept = [record for record in records if (record["arm"], record["seed"]) != ("sba", 2)]
    table = rows(found(*kept, failed).table)
    assert set(table["generalization"].values()) == {"not resolved:, 1 run of sba diverged"}


def test_a_studys_claims_list_every_comparison_and_flag() -> None:
    records = planted_site.study("x", "X", FEW, seeds=5)
    for record in records:
        if record["seed"] < 2:
            record["flags"] = ["check 8: odd"] if record["arm"] == "sba" else []
    study = load_study("x", records)
    table = rows(claims_table(study, [(claim.name, of["x"]) for claim, of in findings([study])]))
    assert list(table) == ["generalization", "convergence", "robustness"]
    assert table["generalization"]["judgement"] == "supported"
    assert table["generalization"]["on what"].count(" from ") == 3
    flags = "2 of these arms' 20 runs raised a sanity flag; 8 had the costly checks"
    assert table["robustness"]["on what"].endswith(f", {flags}")
    assert flags not in table["generalization"]["on what"]


def test_the_caveat_says_on_what_settings_were_chosen() -> None:
    whole_site = studies(planted_site.whole())
    said = chosen_caveat(whole_site, [study for study in whole_site if study.preset.startswith("cifar10_10k")])
    assert "held-out training images of CIFAR-10 saved as JPEG" in said
    assert "On CIFAR-10 nothing was chosen: those studies are confirmatory." in said
    assert said.endswith("has lossy copies of the photographs of CIFAR-10: there only the trainings are new.")
    assert chosen_caveat([], []).startswith("Where settings were chosen on images of the same data set")
