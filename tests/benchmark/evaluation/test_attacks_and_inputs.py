"""Rules 6 to 8 for attacks: L2 balls, normalisation, the number of classes."""

from typing import Any

import pytest
import torch
from around import Around
from attacked import EVERY, RADIUS, attack_of, attacked, colours, every_attack, jointly, made_of, subject, suite
from torch import nn

from benchmark.data.load import to_float
from benchmark.evaluation.attacks import Norm, Victim, make_attack, predict
from benchmark.evaluation.autoattack import autoattack
from benchmark.evaluation.catalogue import ATTACKS
from benchmark.evaluation.joint import Radius, Subject, refuse_too_few_classes
from benchmark.networks.build import Normalize, build_model
from benchmark.networks.catalogue import NETWORKS
from benchmark.runtime.errors import DataError, UsageError
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.preset import Checks

# 6. L2.


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_l2_has_no_pgd_and_says_what_to_take(name: str) -> None:
    with pytest.raises(UsageError, match=f"attack {name} is for Linf only; in L2 take apgd_ce or apgd_dlr"):
        make_attack(attack_of(name), nn.Identity(), "L2", 0.5, 10, seed=0)
    with pytest.raises(UsageError, match=f"attack {name} is for Linf only"):
        refuse_too_few_classes(suite("fgsm", l2_eps=(0.5,), l2_attacks=(attack_of(name),)), 10)


def test_pgdl2_is_never_made() -> None:
    assert not [name for name, row in ATTACKS.items() if "L2" in row.target]
    model, _ = colours(2)
    for name, norm in EVERY:
        made = made_of(attack_of(name), Victim(model), norm)
        assert type(made).__name__ != "PGDL2"
        assert getattr(made, "norm", norm) == norm


def test_the_l2_ball_is_used_by_l2_attacks(written: Subject) -> None:
    for name, norm in EVERY:
        if norm == "L2" and name in ("apgd_ce", "apgd_dlr", "square"):
            moved = attacked(written.model, name, norm, written.images, written.labels)
            lengths = (moved - written.images).flatten(1).norm(dim=1)
            assert 0.45 < float(lengths.max()) <= 0.5 + 1e-5


# 7. Normalisation.


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_normalisation_by_the_training_images_is_the_first_layer_of_every_network(name: str) -> None:
    images = torch.randint(256, (40, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    first = next(build_model(name, images, 10, seed=0).children())
    assert isinstance(first, Normalize)
    normalised = first(to_float(images))
    assert normalised.mean((0, 2, 3)).abs().max() < 1e-4
    assert (normalised.std((0, 2, 3)) - 1).abs().max() < 1e-3


@pytest.mark.parametrize(("scale", "shift"), [(255.0, 0.0), (0.5, -0.1), (1.0, 0.01), (float("nan"), 0.0)])
def test_images_that_are_not_in_0_to_1_are_refused(scale: float, shift: float, written: Subject) -> None:
    with pytest.raises(DataError, match=r"must be in \[0, 1\].*divide bytes by 255"):
        jointly(written._replace(images=written.images * scale + shift), suite("fgsm"))


@every_attack
def test_no_attack_is_told_of_a_normalisation(name: str, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_importable()
    import torchattacks

    def never(*_: Any) -> None:
        raise AssertionError("set_normalization_used was called")

    monkeypatch.setattr(torchattacks.attack.Attack, "set_normalization_used", never)
    model, images = colours(4)
    made = made_of(attack_of(name), Victim(model), norm)
    assert getattr(made, "normalization_used", None) is None
    attacked(Victim(model), name, norm, images)


class RobModel(Around):
    """A class of this name and these attributes makes the package normalise the images of its own accord."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.mean, self.std = torch.full((3,), 0.5), torch.full((3,), 0.25)


def test_the_name_of_a_network_makes_no_attack_normalise() -> None:
    model, images = colours(12)
    plain, named = (attacked(Victim(net), "pgd", "Linf", images) for net in (model, RobModel(model)))
    assert made_of(attack_of("pgd"), Victim(RobModel(model)), "Linf").normalization_used is None
    assert torch.equal(plain, named)


# 8. The number of classes.


@pytest.mark.parametrize(("name", "classes"), [("apgd_t", 3), ("apgd_dlr", 2)])
def test_too_few_classes_are_refused_with_the_way_out(name: str, classes: int) -> None:
    text = f"attack {name} compares the {classes + 1} largest logits, but there are only {classes} classes; leave it"
    with pytest.raises(UsageError, match=text):
        refuse_too_few_classes(suite("fgsm", name), classes)
    with pytest.raises(UsageError, match=text):
        make_attack(attack_of(name), nn.Identity(), "Linf", 0.1, classes, seed=0)
    refuse_too_few_classes(suite("fgsm", name), classes + 1)


def test_the_reference_autoattack_is_refused_below_four_classes() -> None:
    checks = Checks(images=8, square_queries=10, repeated=8, long_steps=10)
    with pytest.raises(UsageError, match=r"needs 4 classes; there are 3\. Leave \[evaluation\.checks\] out"):
        refuse_too_few_classes(suite("fgsm", checks=checks), 3)
    refuse_too_few_classes(suite("fgsm", checks=checks), 4)


@pytest.mark.parametrize(("classes", "targets"), [(4, 3), (10, 9), (100, 9)])
def test_targeted_attacks_try_nine_classes_or_as_many_as_there_are(classes: int, targets: int) -> None:
    model, images = colours(4, classes)
    victim = Victim(model)
    for name in ("apgd_t", "fab_t"):
        for norm in RADIUS:
            assert made_of(attack_of(name), victim, norm, classes).n_target_classes == targets
            attacked(victim, name, norm, images, classes=classes)
    reference = autoattack(subject(victim, images, predict(victim, images, 4), classes=classes), Radius("Linf", 8.0), 0)
    assert reference.apgd_targeted.n_target_classes == reference.fab.n_target_classes == targets


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd_ce", "fab_t", "square"])
def test_two_classes_can_be_attacked(name: str) -> None:
    model, images = colours(32, classes=2)
    victim = Victim(model)
    moved = attacked(victim, name, "Linf", images, classes=2)
    before, after = (predict(victim, x, 8) for x in (images, moved))
    assert before.max() == 1
    assert (after != before).any()
