"""Does the order of arms survive AutoAttack: the table, and a sentence for each other arm."""

import planted

from benchmark.analysis.study import load_study
from benchmark.records.schema import AutoAttackRow
from benchmark.report.survival import autoattack_table, survival

STUDY = load_study("planted", planted.study({"sba": [870] * 5, "standard": [860] * 5, "mixup": [850] * 5}))


def row(arm: str, seed: int, suite: int, robust: int, eps: float = 1.0) -> AutoAttackRow:
    """Of 200 images 180 are correct without attack."""
    return AutoAttackRow(
        arm=arm,
        seed=seed,
        eps=eps,
        images=200,
        clean=180,
        suite=suite,
        robust=robust,
        correct="",
        weights="0" * 16,
        package="pyautoattack 0.2.0",
        device="cpu",
    )


ROWS = [
    *(row("sba", seed, 120, 100) for seed in (0, 1)),
    *(row("standard", seed, 110, 98) for seed in (0, 1)),
    *(row("mixup", seed, 100, 104) for seed in (0, 1, 2)),
    row("sba", 0, 150, 140, eps=0.5),
]


def test_every_arm_stands_with_its_shares_of_the_same_images() -> None:
    rows = [list(line) for line in autoattack_table(ROWS).rows]
    assert rows[0] == ["0.5", "`sba`", "1", "200", "90.0", "75.0", "70.0"]
    assert ["1", "`sba`", "2", "200", "90.0", "60.0", "50.0"] in rows
    assert ["1", "`mixup`", "3", "200", "90.0", "50.0", "52.0"] in rows


def test_a_difference_that_keeps_its_sign_survives_and_another_is_withdrawn() -> None:
    standard, mixup = survival(STUDY, ROWS)
    assert standard.startswith("`sba` minus `standard` at eps 1/255, 2 seeds: +5.0 points under the study's attacks")
    assert standard.endswith("+1.0 under AutoAttack; the sign stays.")
    assert "2 seeds: +10.0 points under the study's attacks, -2.0 under AutoAttack; **the sign does not stay" in mixup


def test_no_sentence_compares_what_was_not_attacked() -> None:
    assert survival(STUDY, [row("standard", 0, 100, 90), row("sba", 1, 100, 90)]) == []
    assert survival(STUDY, []) == []
