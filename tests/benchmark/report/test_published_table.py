"""Published figures beside ours: the reasons why a study does not match, and the studies that do."""

import statistics
from pathlib import Path
from typing import Any

import pytest
from records import planted
from records.published_studies import ATTACK, COUNTS, PLANTED, cells, changed, planted_cell, records, study

from benchmark.analysis.published import FILE, load_published
from benchmark.report.published_table import Section, published_sections


def test_a_study_with_a_published_protocol_stands_beside_its_figures() -> None:
    found = cells([study(records())])
    for name, arm in (("mixup_erm_1e-4", "standard"), ("mixup_1e-4", "mixup")):
        points = [count / 100 for count in COUNTS[arm]]
        mean, sd = statistics.mean(points), statistics.stdev(points)
        assert found[name] == (
            f"{mean:.2f} (sd {sd:.2f}, 5 of 5 seeds) in `cifar10_gpu`, 94.00 as median of last 10 epochs"
        )
    others = {name: cell for name, cell in found.items() if name not in ("mixup_erm_1e-4", "mixup_1e-4")}
    assert all(cell.startswith("not comparable: ") for cell in others.values())
    assert others["mixup_5e-4"] == "not comparable: weight decay 0.0001"


@pytest.mark.parametrize(
    ("figure", "changes", "reason"),
    [
        ("mixup_1e-4", {"model__name": "fast"}, "network `fast`"),
        ("mixup_1e-4", {"model__name": "resnet18"}, "network ResNet-18"),
        ("mixup_1e-4", {"settings__recipe__epochs": 30}, "30 epochs"),
        ("mixup_1e-4", {"settings__recipe__batch_size": 512}, "batch 512"),
        ("mixup_1e-4", {"settings__recipe__weight_decay": 1e-3}, "weight decay 0.001"),
        ("mixup_1e-4", {"settings__recipe__padding": 2}, "padding 2"),
        ("mixup_1e-4", {"data__train_images": 10000}, "10,000 training images, not 50,000"),
        ("mixup_1e-4", {"data__test_images": 500}, "500 test images, not 10,000"),
        ("mixup_1e-4", {"settings__compute": True}, "trained for equal FLOPs, not for epochs"),
        (
            "mixup_1e-4",
            {"data__name": "cifar10_jpeg"},
            "CIFAR-10 saved as JPEG, not the official CIFAR-10",
        ),
        ("manifold_input_cifar10", {}, "200 epochs; batch 128; padding 4; values not given"),
        (
            "pytorch_cifar",
            {"settings__recipe__epochs": 350, "settings__recipe__weight_decay": 5e-4},
            "values not given",
        ),
        ("manifold_cifar10", {"settings__recipe__epochs": 1200}, "no arm of this method and augmentation; {}"),
        ("manifold_cifar100", {}, "no study of CIFAR-100 was run"),
        ("openmixup_mixup_imagenet", {}, "no study of ImageNet was run"),
        ("mixup_1e-4", {"data__name": "cifar100"}, "no study of CIFAR-10 was run"),
    ],
)
def test_what_differs_is_read_from_the_records(figure: str, changes: dict[str, Any], reason: str) -> None:
    cell = cells([study(records(**changes))])[figure]
    if reason.endswith("{}"):
        assert cell.startswith(f"not comparable: {reason.removesuffix('{}')}")
    else:
        assert cell == f"not comparable: {reason}"


def test_precision_and_the_course_of_the_rate_are_no_reasons() -> None:
    found = records(settings__recipe__precision="float32", settings__recipe__peak=0.5)
    assert cells([study(found)])["mixup_1e-4"] == cells([study(records())])["mixup_1e-4"]


def test_an_arm_of_the_method_with_other_settings_augmentation_or_epochs_is_no_match() -> None:
    found = records()
    of_mixup = [i for i, record in enumerate(found) if record["arm"] == "mixup"]
    for changes, reason in (
        ({"settings__arm__settings": {"alpha": 0.2}}, "alpha 0.2"),
        ({"settings__arm__epochs": 150}, "150 epochs"),
        ({"settings__arm__augmentation": "none"}, "no arm of this method and augmentation"),
    ):
        mixed = [changed([record], **changes)[0] if i in of_mixup else record for i, record in enumerate(found)]
        cell = cells([study(mixed)])
        assert cell["mixup_1e-4"] == f"not comparable: {reason}"
        assert cell["mixup_erm_1e-4"].startswith("94.50 ")


def test_the_closest_study_gives_the_reasons_whatever_the_order() -> None:
    far, near = study(records("cifar10_cpu")), study(records("cifar10_jpeg_gpu"))
    for studies in ([far, near], [near, far]):
        assert cells(studies)["mixup_1e-4"] == ("not comparable: CIFAR-10 saved as JPEG, not the official CIFAR-10")


def test_every_matching_study_is_shown_and_others_are_not() -> None:
    other = changed(records(), preset="mine")
    cell = cells([study(records("cifar10_cpu")), study(records()), study(other)])["mixup_1e-4"]
    assert cell.count(" of 5 seeds) in ") == 2
    assert "`cifar10_gpu`" in cell
    assert "`mine`" in cell
    assert "not comparable" not in cell


def test_runs_that_diverged_or_are_missing_leave_the_mean_and_are_counted() -> None:
    found = [record for record in records() if (record["arm"], record["seed"]) != ("mixup", 4)]
    for i, record in enumerate(found):
        if (record["arm"], record["seed"]) == ("mixup", 1):
            [found[i]] = changed([record], status="diverged", clean=None, last_epoch=None, epochs=[])
    kept = [95.80, 95.90, 95.66]
    assert cells([study(found)])["mixup_1e-4"].startswith(
        f"{statistics.mean(kept):.2f} (sd {statistics.stdev(kept):.2f}, 3 of 5 seeds) in `cifar10_gpu`"
    )


def test_an_arm_without_a_finished_run_is_not_compared() -> None:
    found = [
        changed([record], status="diverged", clean=None, epochs=[])[0] if record["arm"] == "mixup" else record
        for record in records()
    ]
    assert cells([study(found)])["mixup_1e-4"] == "not comparable: no run of `mixup` has finished"


@pytest.mark.parametrize(
    "changes",
    [{"analysis__exploratory": True}, {"settings__evaluation__split": "validation"}, {"data__synthetic": True}],
)
def test_exploratory_validation_and_synthetic_studies_are_never_compared(changes: dict[str, Any]) -> None:
    excluded = study(records(**changes))
    assert cells([excluded]) == cells([])
    assert cells([excluded, study(records())]) == cells([study(records())])


def test_the_last_epoch_is_not_the_best_test_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted.study({"sba": [880, 884], "standard": [870, 874]})
    assert planted_cell(tmp_path, monkeypatch, PLANTED, found) == "87.20 (sd 0.28, 2 of 5 seeds) in `planted`"
    best = PLANTED.replace("last epoch", "best test epoch")
    assert planted_cell(tmp_path, monkeypatch, best, found) == "not comparable: last epoch"


def test_a_robust_figure_needs_the_same_attacks_eps_and_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = {"sba": [[160, 120, 60, 10, 0]] * 2, "standard": [[160, 120, 60, 10, 4], [160, 120, 60, 10, 6]]}
    subset = planted.study({"sba": [880, 884], "standard": [870, 874]}, curves)
    found = changed(subset, settings__evaluation__images=1000)  # as if all test images had been attacked
    robust = PLANTED + ATTACK
    assert planted_cell(tmp_path, monkeypatch, robust, found) == "2.50 (sd 0.71, 2 of 5 seeds) in `planted`"
    assert planted_cell(tmp_path, monkeypatch, robust, subset) == "not comparable: 200 attacked images, not 1,000"
    assert planted_cell(tmp_path, monkeypatch, robust.replace("eps = 2.0", "eps = 8.0"), found) == (
        "not comparable: no attack at 8/255"
    )
    assert planted_cell(tmp_path, monkeypatch, robust.replace("steps = 20", "steps = 100"), found) == (
        "not comparable: attacks fgsm (1), apgd_dlr (20)"
    )


# The page: a section for each data set.


def found_names(dataset: str) -> list[str]:
    return [name for name, figure in load_published(FILE).figures.items() if figure.dataset == dataset]


def section(title: str, *studies: list[Any]) -> Section:
    [found] = [found for found in published_sections([study(of) for of in studies]) if found.title == title]
    return found


def test_a_figure_with_a_match_has_ours_beside_it_on_the_page() -> None:
    found = section("CIFAR-10", records())
    assert found.compared
    assert (found.closest, found.shared) == ((), ())
    assert found.table.headers[-1] == "ours, %"
    assert sorted(row[-1] for row in found.table.rows) == sorted(
        cells([study(records())])[name] for name in found_names("cifar10")
    )


def test_a_difference_from_all_figures_is_named_once_and_the_rows_keep_their_own() -> None:
    small = records("cifar10_cpu", data__train_images=10000)
    found = section("CIFAR-10", small)
    assert not found.compared
    assert found.closest == ("cifar10_cpu",)
    assert found.shared == ("network `fast`", "10,000 training images, not 50,000")
    whole = cells([study(small)])
    for row, name in zip(found.table.rows, found_names("cifar10"), strict=True):
        own = [] if row[-1] == "-" else row[-1].split("; ")
        named = whole[name].removeprefix("not comparable: ").split("; ")
        assert sorted([*own, *found.shared]) == sorted(named)  # no difference is lost
        assert not {*own} & {*found.shared}


def test_of_several_closest_studies_each_row_names_its_own() -> None:
    found_runs = records(settings__recipe__weight_decay=1e-3)
    one = [record for record in found_runs if record["arm"] != "mixup"]
    other = changed([record for record in found_runs if record["arm"] != "standard"], preset="other")
    found = section("CIFAR-10", one, other)
    assert {*found.closest} == {"cifar10_gpu", "other"}
    assert {row[-1].split(":")[0] for row in found.table.rows} == {f"`{preset}`" for preset in found.closest}


def test_a_data_set_without_a_study_has_no_column_of_ours() -> None:
    found = section("ImageNet", records())
    assert (found.compared, found.closest, found.shared) == (False, (), ())
    assert found.table.headers[-1] == "reported"
    assert "padding" not in found.table.headers  # its sources give none
