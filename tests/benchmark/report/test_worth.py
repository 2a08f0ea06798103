"""For whom SBA is worth its cost: the lines of sba/README.md, of planted studies and of the records."""

import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from pages import planted_site
from records import planted

from benchmark.analysis.published import data_set
from benchmark.analysis.study import load_study
from benchmark.report.worth import largest_eps, worth

ROOT = Path(__file__).parents[3]

FEW = {"sba": 870, "standard": 861, "erm": 830, "mixup": 856}


def lines(*records: Any) -> dict[str, str]:
    """Texts of one planted study by wish."""
    found = worth([load_study("planted", list(records))])
    assert len(found) == 5
    parts = [line.removeprefix("**").partition("**: ") for line in found]
    return {wish: text for wish, _, text in parts}


@pytest.mark.parametrize(
    ("standard", "margin", "word"),
    [
        (861, 0.5, "**yes**, +"),
        (890, 0.5, "**no**, -"),
        (869, 0.5, "**equivalent**, "),
        (869, 0.01, "not resolved, +"),
    ],
)
def test_each_line_is_the_judgement_against_standard(standard: int, margin: float, word: str) -> None:
    arms = FEW | {"standard": standard}
    found = lines(*planted_site.study("planted", "Planted", arms, analysis={"margin": margin}))
    assert found["More accuracy on clean images"].startswith(word)
    assert found["More accuracy on clean images"].endswith(" from `standard` on CIFAR-10 with 10,000 images.")


def test_a_study_with_runs_to_come_is_interim_and_one_without_the_arm_says_nothing() -> None:
    records = planted_site.study("planted", "Planted", FEW)
    begun = lines(*(record for record in records if record["seed"] < 2))
    for wish in ("More accuracy under small perturbations", "A defence against attacks"):
        assert begun[wish].startswith("interim on CIFAR-10")
    awaited = planted_site.study("planted", "Planted", FEW, analysis={"positive_control": "adversarial"})
    assert lines(*awaited)["A defence against attacks"] == "interim on CIFAR-10 with 10,000 images."
    assert (
        lines(*records)["A defence against attacks"]
        == "**no**, 0.0% correct at Linf 2/255 on CIFAR-10 with 10,000 images."
    )
    without = lines(*planted_site.study("planted", "Planted", {"sba": 870, "erm": 830}))
    assert without["More accuracy on clean images"] == without["The price"] == "not tested."


def test_a_defence_is_what_keeps_more_at_the_largest_eps_than_the_positive_control_must() -> None:
    arms = FEW | {"adversarial": 640}
    records = planted_site.study("planted", "Planted", arms)
    assert lines(*records)["A defence against attacks"].startswith(
        "**no**, 0.0% correct at Linf 2/255 (`adversarial`: 45.0%)"
    )


def test_what_attacks_of_the_largest_eps_leave_is_the_most_of_all_studies() -> None:
    records, kept = planted_site.study("planted", "Planted", FEW), planted_site.study("kept", "Kept", FEW)
    for record in kept:
        if record["arm"] == "sba":
            record["robustness"] = planted_site.study("x", "X", {"sba": 870, "adversarial": 700})[-1]["robustness"]
    weak, strong = load_study("planted", records), load_study("kept", kept)
    assert largest_eps([weak]) == " (2/255, where `sba` is right on at most 0.0%)"
    assert largest_eps([weak, strong]) == " (2/255, where `sba` is right on at most 45.0%)"
    assert largest_eps([]) == ""


def test_what_leaves_a_claim_open_leaves_the_list_open() -> None:
    records = planted_site.study("planted", "Planted", FEW)
    gone = planted.diverged("sba", 2)
    gone |= {key: dict(records[0])[key] for key in ("preset", "analysis", "settings", "data", "model")}  # type: ignore[typeddict-item]
    found = lines(*(record for record in records if (record["arm"], record["seed"]) != ("sba", 2)), gone)
    for wish in ("More accuracy on clean images", "More accuracy under small perturbations"):
        assert found[wish] == "not resolved, 1 run of `sba` diverged on CIFAR-10 with 10,000 images."
    weak = planted_site.study("planted", "Planted", FEW | {"weak": 640}, analysis={"positive_control": "weak"})
    found = lines(*weak)
    for wish in ("More accuracy under small perturbations", "A defence against attacks"):
        assert found[wish].startswith("not resolved, nothing shows that these attacks can recognise a robust network")


def test_the_list_of_the_method_card_follows_from_the_committed_records() -> None:
    card = (ROOT / "sba" / "README.md").read_text(encoding="utf-8")
    clean, price = (re.search(rf"- \*\*{wish}.+", card) for wish in ("More accuracy on clean images", "The price"))
    assert clean
    assert price
    where = r" `standard` on (.+?) with ([\d,]+) images"
    stated = re.findall(rf"([+-]\d+\.\d\d)\s\[[^]]+\] from{where}", clean[0])
    assert stated
    assert re.findall(rf"(\d\.\d\d)x the FLOPs of{where}", price[0])
    for value, title, images in stated:
        assert value in {f"{gain:+.2f}" for gain in gains(title, int(images.replace(",", "")))}


def gains(title: str, images: int) -> list[float]:
    """Accuracy of sba minus standard after the last epoch, mean over seeds, of each study of these images."""
    found = []
    for folder in (ROOT / "results").iterdir():
        runs = {arm: [json.loads(path.read_text()) for path in sorted(folder.glob(f"{arm}/*.json"))] for arm in FEW}
        data = [run["data"] for run in runs["sba"]]
        if runs["standard"] and {(data_set(of["name"]).title, of["train_images"]) for of in data} == {(title, images)}:
            last = {arm: mean(run["epochs"][-1]["accuracy"] for run in of) for arm, of in runs.items() if of}
            found.append(100 * (last["sba"] - last["standard"]))
    return found
