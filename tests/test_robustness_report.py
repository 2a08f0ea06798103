"""The robustness section of RESULTS.md: tables with planted values, the positive control, and records of schema 1."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import planted
import pytest
import torch
from torch import nn

from benchmark import prose
from benchmark.attacks import Victim
from benchmark.errors import RunError
from benchmark.evaluate import all_checks, joint_curves
from benchmark.joint import Subject, attack_jointly
from benchmark.records import read_record, read_study, record_path
from benchmark.report import render
from benchmark.robustness_tables import CHECKS
from benchmark.schema import AttackOutcome, Check, Record
from benchmark.settings import Attack, Checks, Evaluation

COUNTS = {"sba": [870] * 5, "standard": [858] * 5, "mixup": [860] * 5}
STEEP = (160, 120, 60, 10, 0)  # half of 160 at .25 + .25 * 40 / 60
SLOW = (180, 160, 120, 90, 30)  # half of 180 at 1
FIRM = (180, 170, 160, 150, 140)  # half of 180 never
L2_EPS = (0.25, 0.5)  # these are Linf radii of the planted study too, in another unit
L2_ATTACKS = ({"name": "apgd_ce", "steps": 10}, {"name": "square", "steps": 100})
CONTROL = "adversarial"


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out, which take most of the time."""
    monkeypatch.setattr("benchmark.report.drawings", lambda _study: {})


class Table(NamedTuple):
    """A Markdown table: its headers, and the first cell of each row -> the others."""

    headers: list[str]
    cells: dict[str, list[str]]

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        """The first cell of each row -> the others by header."""
        return {name: dict(zip(self.headers[1:], row, strict=True)) for name, row in self.cells.items()}


def written(folder: Path, records: Sequence[Record]) -> str:
    """The robustness section of the report of these records, from its heading to the next one."""
    planted.write(folder / "results", records)
    return section(folder)


def section(folder: Path) -> str:
    """The robustness section of the report of the records in a folder."""
    output = folder / "RESULTS.md"
    text = render(folder / "results", output)[output]
    found = text[text.index("### Robustness") : text.index("### Convergence")]
    assert not re.search(r"\bnan\b|\binf\b|None", found)
    return found


def tables(text: str) -> list[Table]:
    """All tables of a text."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", text, flags=re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.strip().splitlines()]
        found.append(Table(lines[0], {line[0].strip("`"): line[1:] for line in lines[2:]}))
    return found


def with_column(text: str, header: str) -> list[Table]:
    """The tables of a text that have a column of this name."""
    return [table for table in tables(text) if header in table.headers]


def points(curve: Sequence[int]) -> list[float]:
    """A curve of counts of the attacked images in %."""
    return [100 * count / planted.ATTACKED for count in curve]


def area(curve: Sequence[int], eps: Sequence[float]) -> float:
    """Trapezoids of a curve of counts, divided by the largest eps, in points."""
    values, grid = points(curve), [0.0, *eps]
    pieces = [(grid[i + 1] - grid[i]) * (values[i] + values[i + 1]) / 2 for i in range(len(eps))]
    return sum(pieces) / grid[-1]


def l2_attacked(record: Record, curve: Sequence[int]) -> None:
    """Give a record L2 attacks that leave so many images right at `L2_EPS`; the first attack fools half of them."""
    record["settings"]["evaluation"] |= {"l2_eps": list(L2_EPS), "l2_attacks": list(L2_ATTACKS)}
    robustness = record["robustness"]
    assert robustness is not None
    clean = STEEP[0]
    for eps, correct in zip(L2_EPS, curve, strict=True):
        for attack, left in zip(L2_ATTACKS, ((clean + correct) // 2, correct), strict=True):
            robustness["attacks"].append(
                AttackOutcome(
                    attack=str(attack["name"]),
                    norm="L2",
                    eps=eps,
                    steps=int(str(attack["steps"])),
                    correct=planted.bits(left, planted.ATTACKED),
                    fooled=clean - left,
                    gradients=100,
                )
            )


def attacked_curves() -> list[Record]:
    """Arms of which one falls, one stands beyond the largest eps in a seed, and one was never attacked."""
    curves = {"sba": [STEEP] * 3 + [SLOW] * 2, "standard": [STEEP] * 4 + [FIRM], "mixup": [STEEP] * 5}
    records = planted.study(COUNTS, curves)
    for record in records:
        if record["arm"] == "mixup":
            record["robustness"] = None
    return records


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


# The positive control.


def controlled(control: Sequence[Sequence[int]], others: Sequence[int] = STEEP) -> list[Record]:
    """A study that names a positive control, with these curves of its seeds."""
    curves = {CONTROL: control} | {arm: [others] * 5 for arm in COUNTS}
    records = planted.study(COUNTS | {CONTROL: [700] * len(control)}, curves)
    for record in records:
        record["analysis"]["positive_control"] = CONTROL
    return records


def test_no_sentence_on_a_control_where_none_is_named(tmp_path: Path) -> None:
    records = controlled([(150, 140, 130, 110, 90)])
    for record in records:
        del record["analysis"]["positive_control"]
    assert "ositive control" not in written(tmp_path, records)


def test_a_control_without_runs_shows_nothing(tmp_path: Path) -> None:
    records = controlled([])
    said = "The positive control `adversarial` has no finished run yet: nothing shows so far"
    assert said in written(tmp_path / "never", records)
    broken = planted.diverged(CONTROL, 0)
    broken["analysis"]["positive_control"] = CONTROL
    assert said in written(tmp_path / "diverged", [*records, broken])


@pytest.mark.parametrize("diverged", [False, True])
def test_a_control_that_stands_alone_passes(diverged: bool, tmp_path: Path) -> None:
    records = controlled([(150, 140, 130, 110, 90), (150, 140, 130, 110, 41)], (160, 120, 60, 10, 9))
    if diverged:
        broken = planted.diverged(CONTROL, 2)
        broken["analysis"]["positive_control"] = CONTROL
        records.append(broken)
    text = written(tmp_path, records)
    assert (
        "Positive control: `adversarial`, trained on adversarial images and compared with nothing, keeps 45.0, 20.5% "
        "at Linf 2/255 (each seed); no run of another arm keeps more than 4.5% there. "
        "The attacks tell a robust network from others."
    ) in text
    assert "do not trust" not in text


@pytest.mark.parametrize(
    ("control", "others", "kept"),
    [
        ((150, 140, 130, 110, 40), STEEP, "keeps 45.0, 20.0% at Linf 2/255 (each seed); no run of another arm keeps"),
        ((150, 140, 130, 110, 90), (160, 120, 60, 10, 10), "another arm keeps more than 5.0% there."),
    ],
    ids=["one of its seeds falls", "other arms stand"],
)
def test_a_control_that_fails_is_a_bold_warning(
    control: Sequence[int], others: Sequence[int], kept: str, tmp_path: Path
) -> None:
    text = written(tmp_path, controlled([(150, 140, 130, 110, 90), control], others))
    assert kept in text
    warning = "**It should keep more than 20% and the others less than 5%: do not trust this study.**"
    assert warning in text
    assert "The attacks tell" not in text


def test_one_seed_of_another_arm_that_stands_is_enough_for_the_warning(tmp_path: Path) -> None:
    records = [record for record in controlled([(150, 140, 130, 110, 90)]) if record["arm"] != "mixup"]
    odd = planted.record("mixup", 4, 860, (160, 120, 60, 20, 12))
    odd["analysis"]["positive_control"] = CONTROL
    text = written(tmp_path, [*records, odd])
    assert "no run of another arm keeps more than 6.0% there. **" in text


def test_a_control_that_finished_before_any_other_arm_is_no_crash(tmp_path: Path) -> None:
    records = [record for record in controlled([(150, 140, 130, 110, 90)]) if record["arm"] == CONTROL]
    text = written(tmp_path, records)
    assert "No arm but the positive control is finished yet: nothing shows so far" in text
    assert "The attacks tell a robust network from others." not in text


# Checks.


def costly_checks(seed: int, flag: str | None = None) -> list[Check]:
    """All checks of a run, with figures that grow with the seed."""
    share = 0.01 * seed
    figures: dict[int, dict[str, float]] = {
        1: {"training modules": 0},
        4: {"largest rise": 0.0, "at 64/255": share},
        5: {"noise": 0.7 + share, "FGSM": 0.5 + share, "PGD": 0.3 + share, "odd images": 0},
        6: {"zero gradients": 0.0, "median margin": 1.5, "CE - DLR": 0.0},
        7: {"PGD, logits x0.1": 0.31 + share, "PGD, logits x1": 0.3, "PGD, logits x10": 0.32 + share},
        8: {"fooled": seed, "stood": 50, "images": 100},
        9: {"fooled": 0, "stood": 30, "images": 64},
        10: {"transfer": 0.6 + share, "white box": 0.2 + share, "odd images": 1},
        11: {"fooled": 2 * (seed == 4), "stood": 30, "images": 64},
    }
    return [Check(number=n, name=f"check {n}", figures=of, flag=flag if n == 8 else None) for n, of in figures.items()]


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
        "runs with flags": "0/5",
    }
    assert table.rows["mixup"] == {**dict.fromkeys(CHECK_COLUMNS, "-"), "runs with flags": "0/5"}


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
    records = planted.study(COUNTS)
    for record in records:
        seed = record["seed"]
        if record["arm"] == "sba":
            record["calibration"] = {"n": 1000, "bins": 15, "ece": 0.02 + 0.01 * seed, "nll": 0.5 + 0.1 * seed}
        elif record["arm"] == "mixup" and seed:
            record["calibration"] = None
    text = written(tmp_path, records)
    assert prose.CALIBRATION_NOTE in text
    (table,) = with_column(text, "ECE, %")
    assert table.headers == ["arm", "ECE, %", "sd", "NLL, nats", "sd"]
    sds = f"{stdev(range(5)):.2f}", f"{stdev(0.1 * seed for seed in range(5)):.2f}"
    assert table.cells["sba"] == ["4.00", sds[0], "0.700", sds[1]]
    assert table.cells["standard"] == ["4.00", "0.00", "0.600", "0.00"]
    assert table.cells["mixup"] == ["4.00", "-", "0.600", "-"]


# Records of schema 1.


def of_schema_1(record: Record) -> dict[str, Any]:
    """A record as it was written before calibration, checks, noise and corruptions were."""
    old: dict[str, Any] = {key: value for key, value in record.items() if key not in ("calibration", "checks")}
    old["schema"] = 1
    if old["robustness"] is not None:
        newer = ("noise", "corruptions")
        old["robustness"] = {key: value for key, value in old["robustness"].items() if key not in newer}
    return old


def write_raw(folder: Path, record: dict[str, Any]) -> Path:
    """Write a record of any schema where a study keeps it."""
    path = record_path(folder / "results", record["preset"], record["arm"], record["seed"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def test_a_record_of_schema_1_is_read_as_one_without_what_it_lacks(tmp_path: Path) -> None:
    new = planted.record("sba", 0, 870)
    found = read_record(write_raw(tmp_path, of_schema_1(new)))
    assert new["robustness"] is not None
    without = {**new["robustness"], "noise": None, "corruptions": []}
    assert found == {**new, "calibration": None, "checks": [], "robustness": without}
    broken = planted.diverged("sba", 1)
    found = read_record(write_raw(tmp_path, of_schema_1(broken)))
    assert found == {**broken, "calibration": None, "checks": []}
    assert [record["seed"] for record in read_study(tmp_path / "results", "planted")] == [0, 1]


def test_a_study_of_schema_1_has_a_report_without_the_newer_tables(tmp_path: Path) -> None:
    for record in planted.study(COUNTS):
        write_raw(tmp_path / "old", of_schema_1(record))
    old = section(tmp_path / "old")
    for note in (prose.L2_NOTE, prose.CHECKS_NOTE, prose.CORRUPTION_NOTE, prose.CALIBRATION_NOTE):
        assert note not in old
    for header in ("runs with flags", "mean of corruptions", "ECE, %"):
        assert not with_column(old, header)
    new = written(tmp_path / "new", planted.study(COUNTS))
    assert tables(old) == tables(new)[: len(tables(old))]
    assert with_column(old, "median minimal eps")[0].rows["sba"]["1"] == "5.0"


def test_runs_of_both_schemas_make_one_study(tmp_path: Path) -> None:
    for record in planted.study(COUNTS):
        if record["arm"] == "mixup":
            write_raw(tmp_path, of_schema_1(record))
        else:
            planted.write(tmp_path / "results", [record])
    text = section(tmp_path)
    for header in ("mean of corruptions", "ECE, %"):
        (table,) = with_column(text, header)
        assert set(table.rows["mixup"].values()) == {"-"}
        assert "-" not in table.rows["standard"].values()


def test_an_unknown_schema_is_refused_by_the_files_name(tmp_path: Path) -> None:
    planted.write(tmp_path / "results", planted.study(COUNTS))
    later: dict[str, Any] = {**planted.record("sba", 3, 870), "schema": 3}
    path = write_raw(tmp_path, later)
    message = f"record {re.escape(str(path))} has schema 3; this version reads 1 and 2"
    with pytest.raises(RunError, match=message):
        read_record(path)
    with pytest.raises(RunError, match=message):
        section(tmp_path)
