"""A record that contradicts itself: each rule by a sound record with one value that another one denies."""

from collections.abc import Callable
from typing import Any

import pytest
from records import planted

from benchmark.records.consistency import contradictions

ATTACKED = planted.ATTACKED
FLAG = {"number": 8, "name": "black box", "figures": {}, "flag": "weak"}


def break_record(change: Callable[[Any], object]) -> list[str]:
    record = planted.record("sba", 0, 900)
    assert list(contradictions(record)) == []
    change(record)
    return list(contradictions(record))


def attacks(record: Any) -> Any:
    return record["robustness"]["attacks"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.update(seed=1), "settings and seed are not those of settings_hash"),
        (lambda r: r["epochs"][0].update(epoch=2), "epochs are not numbered from 1"),
        (lambda r: r["best_epoch"].update(accuracy=0.95), "best_epoch is not the best of epochs"),
        (lambda r: r["last_epoch"].update(epoch=1), "last_epoch is not the last of epochs"),
        (lambda r: r.update(epochs=[], best_epoch=None, last_epoch=None), "no epoch is recorded"),
        (lambda r: r.update(reason="it diverged"), "a run that is done has a reason"),
        (lambda r: r.update(status="diverged", last_epoch=None), "a run that is diverged has no reason"),
        (lambda r: r.update(clean=None), "a run that is done has no evaluation"),
        (lambda r: r.update(checks=[FLAG]), "flags are not those of checks"),
        (lambda r: r["data"].update(test_images=999), "clean has 1000 images, data.test_images is 999"),
        (
            lambda r: r["clean"].update(correct=planted.bits(897, 1000)),
            "clean has 897 correct images, last_epoch 90",
        ),
        (lambda r: r["calibration"].update(n=999), "calibration has 999 images, data.test_images is 1000"),
        (lambda r: r["cost"].update(attack_gradients=1), "cost.attack_gradients is not the sum over attacks, 32000"),
        (
            lambda r: r["robustness"].update(images=planted.bits(9, 1000)),
            f"robustness.images does not name {ATTACKED} images",
        ),
        (
            lambda r: attacks(r)[-1].update(correct=planted.bits(ATTACKED, ATTACKED)),
            "an image is correct that an attack before it had fooled",
        ),
        (
            lambda r: r["robustness"].update(clean=planted.bits(0, ATTACKED)),
            "an image is correct that an attack before it had fooled",
        ),
        (lambda r: attacks(r)[0].update(fooled=ATTACKED + 1), "more images are fooled than were attacked"),
        (
            lambda r: r["robustness"]["noise"].update(correct=ATTACKED + 1),
            "more images are correct under noise or a corruption than were tried",
        ),
    ],
)
def test_each_contradiction_is_found_by_its_own_rule(change: Callable[[Any], object], said: str) -> None:
    assert any(said in line for line in break_record(change))


def test_another_machine_may_round_two_images_of_a_thousand_differently() -> None:
    assert break_record(lambda record: record["clean"].update(correct=planted.bits(898, 1000))) == []
