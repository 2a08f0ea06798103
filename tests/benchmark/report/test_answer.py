"""The answer: which studies stand in it, what its cells say, and what stands below it."""

from collections.abc import Sequence
from typing import Any

from pages import planted_site
from records import planted
from records.attacked_records import rows

from benchmark.analysis.judgements import findings
from benchmark.analysis.study import Study, load_study
from benchmark.records.schema import Record
from benchmark.report.answer import Answer, alt, answer, claims_table

FEW = {"sba": 870, "standard": 861, "erm": 830, "mixup": 856}


def studies(records: Sequence[Record]) -> list[Study]:
    return [
        load_study(preset, [record for record in records if record["preset"] == preset])
        for preset in planted_site.presets(records)
    ]


def found(*records: Record) -> Answer:
    return answer(studies(records), lambda preset: f"{preset}.md")


def test_a_study_without_a_whole_seed_is_only_begun() -> None:
    records = [record for record in planted_site.study("x", "X", FEW) if record["arm"] != "mixup"]
    assert [study.preset for study in found(*records).groups["Begun, no seed complete"]] == ["x"]
    assert found(*records).table is None


def test_copies_and_originals_may_differ() -> None:
    official = planted_site.study("official", "Official", FEW)
    copy = planted_site.study("copy", "Copy", FEW | {"mixup": 880}, data={"name": "cifar10_jpeg"})
    (line,) = found(*official, *copy).below
    assert "generalization contradicted" in line
    assert line.endswith("differs on generalization, convergence and robustness.")
    other = planted_site.study("copy", "Copy", FEW, data={"name": "cifar10_jpeg"}, model="another")
    (line,) = found(*official, *other).below
    assert "twin" not in line


def test_a_copy_with_runs_to_come_is_interim_and_neither_agrees_nor_differs() -> None:
    official = planted_site.study("official", "Official", FEW)
    copy = planted_site.study("copy", "Copy", FEW, data={"name": "cifar10_jpeg"})
    (line,) = found(*official, *(record for record in copy if record["seed"] < 2)).below
    assert "generalization interim" in line
    assert "agrees" not in line
    assert "differs" not in line


def test_a_claim_of_two_studies_that_differ_says_by_how_much() -> None:
    first = planted_site.study("cifar10_10k_cpu", "First", FEW | {"sba": 881})
    second = planted_site.study("cifar10_10k_conv_cpu", "Second", FEW | {"sba": 861})
    table = rows(found(*first, *second).table)
    for cell in list(table["one network"].values())[-2:]:
        assert cell.startswith("contradicted, ")
        assert ", the two gains differ by +2.00 (Welch p < .0001)" in cell


def test_the_figure_leaves_out_what_cannot_be_tested_yet() -> None:
    records = planted_site.study("x", "X", FEW)
    begun = found(*(record for record in records if record["seed"] < 2))
    assert [study.preset for study in begun.studies] == ["x"]
    assert begun.drawn == []
    assert [study.preset for study in found(*records).drawn] == ["x"]


def test_the_alternative_text_lists_the_arms_that_the_figure_draws() -> None:
    arms = FEW | {"cutmix": 866}
    (study,) = studies(planted_site.study("x", "X", arms, analysis={"relatives": ["cutmix"]}))
    assert "cutmix" in alt([study], claims_alone=False)
    assert "cutmix" not in alt([study], claims_alone=True)
    assert "standard +0.90, erm" in alt([study], claims_alone=True)


def test_copies_are_the_answer_while_there_is_nothing_official() -> None:
    alone = found(*planted_site.study("copy", "Copy", FEW, data={"name": "cifar10_jpeg"}))
    assert [study.preset for study in alone.studies] == ["copy"]
    assert alone.below == []


def test_copies_are_the_answer_until_a_study_of_the_official_images_is_complete() -> None:
    official = planted_site.study("official", "Official", FEW)
    copy = planted_site.study("copy", "Copy", FEW, data={"name": "cifar10_jpeg"})
    begun = [record for record in official if record["seed"] < 2]
    assert [study.preset for study in found(*begun, *copy).studies] == ["copy", "official"]
    assert [study.preset for study in found(*official, *copy).studies] == ["official"]


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
    assert table["generalization"]["evidence"].count(" from ") == 3
    flags = "2 of these arms' 20 runs raised a sanity flag; 8 had the costly checks"
    assert table["robustness"]["evidence"].endswith(f", {flags}")
    assert flags not in table["generalization"]["evidence"]
