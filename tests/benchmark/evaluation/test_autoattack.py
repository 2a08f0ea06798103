"""The reference AutoAttack: at the settings of torchattacks' attacks it finds the same."""

import pytest
import torch
from attacked import attack_of, attacked_set, colours

from benchmark.evaluation.attacks import FrozenModel, Radius, predict
from benchmark.evaluation.autoattack import autoattack, matched_survivors
from benchmark.evaluation.joint import AttackedSet, survivors


@pytest.mark.parametrize(
    ("name", "steps", "eps"), [("apgd_ce", 6, 20.0), ("apgd_dlr", 6, 20.0), ("fab_t", 4, 20.0), ("square", 100, 48.0)]
)
def test_the_package_and_the_reference_agree_at_matched_settings(
    name: str, steps: int, eps: float, written: AttackedSet
) -> None:
    some, radius = written.part(torch.arange(32)), Radius("Linf", eps)
    ours = survivors(some, some.clean, radius, attack_of(name, steps))
    theirs = matched_survivors(some, some.clean, radius, name, steps)
    assert int((ours != theirs).sum()) <= 2  # images on the boundary
    assert 2 < int(ours.sum()) < int(some.clean.sum()) - 2


@pytest.mark.parametrize(("classes", "targets"), [(4, 3), (10, 9), (100, 9)])
def test_targeted_attacks_try_nine_classes_or_as_many_as_there_are(classes: int, targets: int) -> None:
    model, images = colours(4, classes)
    frozen = FrozenModel(model)
    some = attacked_set(frozen, images, predict(frozen, images, 4), classes=classes)
    reference = autoattack(some, Radius("Linf", 8.0), 0)
    assert reference.apgd_targeted.n_target_classes == reference.fab.n_target_classes == targets
