"""The reference AutoAttack; test_crosscheck.py compares its attacks with torchattacks' at the same settings."""

import pytest
from attacked import attacked_set, colours

from benchmark.evaluation.attacks import FrozenModel, Radius, predict
from benchmark.evaluation.autoattack import autoattack


@pytest.mark.parametrize(("classes", "targets"), [(4, 3), (10, 9), (100, 9)])
def test_targeted_attacks_try_nine_classes_or_as_many_as_there_are(classes: int, targets: int) -> None:
    model, images = colours(4, classes)
    frozen = FrozenModel(model)
    some = attacked_set(frozen, images, predict(frozen, images, 4), classes=classes)
    reference = autoattack(some, Radius("Linf", 8.0), 0)
    assert reference.apgd_targeted.n_target_classes == reference.fab.n_target_classes == targets
