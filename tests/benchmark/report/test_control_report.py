"""The robustness section of RESULTS.md: what it says of the positive control."""

from collections.abc import Sequence
from pathlib import Path

import planted
import pytest
from robustness_section import CONTROL, COUNTS, STEEP, written

from benchmark.records.schema import Record

pytestmark = pytest.mark.usefixtures("no_figures")


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
