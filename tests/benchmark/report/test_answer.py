"""The answer: which studies stand in it, what its cells say, what is below it."""

from collections.abc import Sequence
from pathlib import Path

from pages import planted_site
from records.attacked_records import rows

from benchmark.analysis.judgements import findings
from benchmark.analysis.study import Study, load_study
from benchmark.records.schema import Record
from benchmark.report.answer import Answer, answer, undecided
from benchmark.report.notation import plain

ROOT = Path(__file__).parents[3]

FEW = {"sba": 870, "standard": 861, "erm": 830, "mixup": 856}


def studies(records: Sequence[Record]) -> list[Study]:
    return [
        load_study(preset, [record for record in records if record["preset"] == preset])
        for preset in dict.fromkeys(record["preset"] for record in records)
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
    assert "copy (10,000 images, 8 seeds): generalization contradicted (-1.00 [" in plain(line)
    assert "from mixup, better than erm and standard); convergence " in plain(line)
    assert line.endswith(
        " Its twin on the official images, [`official`](official.md) (in float32, this one in bfloat16), differs "
        "on generalization (supported there), convergence (supported there) and robustness (supported there)."
    )
    other = planted_site.study("copy", "Copy", FEW, data={"name": "cifar10_jpeg"}, model="another")
    (line,) = found(*official, *other).below
    assert "twin" not in line


def test_an_original_that_judges_alike_replicates_a_copy() -> None:
    official = planted_site.study("official", "Official", FEW)
    copy = planted_site.study("copy", "Copy", FEW, data={"name": "cifar10_jpeg"})
    (line,) = found(*official, *copy).below
    agreed = "replicates the judgements of generalization, convergence and robustness, on the same photographs."
    assert line.endswith(f"(in float32, this one in bfloat16), {agreed}")
    for record in copy:
        record["settings"]["recipe"]["precision"] = "float32"
    (line,) = found(*official, *copy).below
    assert line.endswith(f"[`official`](official.md), {agreed}")
    for record in copy:
        del record["settings"]["recipe"]["precision"]
    (line,) = found(*official, *copy).below
    assert line.endswith(f"[`official`](official.md), {agreed}")
    for record in copy:
        record["settings"]["recipe"]["learning_rate"] = 0.2
    (line,) = found(*official, *copy).below
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
    second = planted_site.study("cifar10_10k_conv_cpu", "Second", FEW | {"sba": 861}, model="fast_conv")
    table = rows(found(*first, *second).table)
    for cell in list(table["one network"].values())[-2:]:
        assert cell.startswith("contradicted, ")
        assert ", the gains of the two studies differ by 2.00 (Welch p < .0001)" in cell
    open_here, shown = list(table["one network"].values())[-2:]
    assert "from standard, shown by this study, the gains" in shown
    assert "shown by" not in open_here
    assert "better than" not in shown + open_here


def test_copies_are_the_answer_until_a_study_of_the_official_images_is_complete() -> None:
    official = planted_site.study("official", "Official", FEW)
    copy = planted_site.study("copy", "Copy", FEW, data={"name": "cifar10_jpeg"})
    begun = [record for record in official if record["seed"] < 2]
    assert [study.preset for study in found(*copy).studies] == ["copy"]
    assert found(*copy).below == []
    assert [study.preset for study in found(*begun, *copy).studies] == ["copy", "official"]
    assert [study.preset for study in found(*official, *copy).studies] == ["official"]


def test_the_tally_counts_finished_studies_and_the_judgements_of_all() -> None:
    official = planted_site.study("official", "Official", FEW)
    begun = planted_site.study("begun", "Begun", FEW, data={"name": "cifar100"})
    both = found(*official, *(record for record in begun if record["seed"] < 2))
    judged = [finding.judgement for _, of in both.judged if (finding := of["official"]).judgement != "not tested"]
    said = [f"{judged.count(word)} {word}" for word in ("supported", "equivalent", "contradicted", "not resolved")]
    assert len(judged) == 3
    assert both.tally == (
        f"Finished studies: 1 of 2. Judgements in their columns: {said[0]}, {said[1]}, {said[2]} and {said[3]}."
    )


def test_a_cell_that_is_not_supported_names_the_arms_that_do_not_stand_in_the_way() -> None:
    table = rows(found(*planted_site.study("x", "X", FEW | {"mixup": 880})).table)
    (cell,) = [text for title, text in table["generalization"].items() if title != "claim"]
    assert cell.startswith("contradicted, -1.00 [")
    assert cell.endswith("] from mixup, better than erm and standard")
    worse = planted_site.study("x", "X", FEW | {"mixup": 880, "standard": 876})
    (cell,) = [text for title, text in rows(found(*worse).table)["generalization"].items() if title != "claim"]
    assert cell.endswith("] from standard, nor shown better than mixup, better than erm")
    table = rows(found(*planted_site.study("x", "X", FEW)).table)
    (cell,) = [text for title, text in table["generalization"].items() if title != "claim"]
    assert cell.startswith("supported, ")
    assert "better than" not in cell


def test_a_cell_that_rests_on_attacks_counts_the_flags_of_its_runs() -> None:
    records = planted_site.study("x", "X", FEW | {"label_smoothing": 861})
    for record in records:
        if record["arm"] in ("erm", "label_smoothing") and record["seed"] < 2:
            record["flags"] = ["check 11: too weak"]
    table = rows(found(*records).table)
    (robust,), (clean,) = (
        [text for title, text in table[claim].items() if title != "claim"] for claim in ("robustness", "generalization")
    )
    assert robust.endswith("2 of these arms' 32 runs raised a sanity flag; 8 had the costly checks")
    assert "flag" not in clean
    begun = rows(found(*(record for record in records if record["seed"] < 3)).table)
    assert "flag" not in str(begun["robustness"])


def test_endpoints_that_decide_no_claim_are_those_of_no_evidence() -> None:
    (study,) = studies(planted_site.study("x", "X", FEW))
    judged = findings([study])
    decided = {e.endpoint for _, of in judged for e in of["x"].evidence}
    assert undecided(study, judged) == [study.short(name) for name in study.endpoints if name not in decided]
    assert undecided(study, judged) == ["accuracy at 1/255"]


def test_nothing_at_all() -> None:
    nothing = found()
    assert (nothing.studies, nothing.table, nothing.below) == ([], None, [])
    assert all(sentence.endswith("Not tested.") for sentence in nothing.sentences)
