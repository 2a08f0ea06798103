"""Rules 4 and 5 for attacks: the reference's parameters, and seeds."""

import random
import time

import numpy as np
import pytest
import torch
from attacked import RADIUS, SHARED_DRAWS, STEPS, attack_of, attacked, colours, every_attack, made_of
from tiny_study import random_states
from torch import nn

from benchmark.data.load import Data
from benchmark.evaluation import attacks
from benchmark.evaluation.attacks import Norm, Victim, perturb
from benchmark.evaluation.autoattack import stands_matched
from benchmark.evaluation.evaluate import make_subject
from benchmark.evaluation.image_draws import draws
from benchmark.evaluation.joint import Radius, Subject, stands
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.load import load_preset

# 4. The reference's parameters.


OURS_AND_THEIRS = {  # attribute of torchattacks -> attribute of pyautoattack
    "apgd_ce": {"steps": "n_iter", "n_restarts": "n_restarts", "eot_iter": "eot_iter", "thr_decr": "thr_decr"},
    "apgd_t": {
        "steps": "n_iter",
        "n_restarts": "n_restarts",
        "eot_iter": "eot_iter",
        "thr_decr": "thr_decr",
        "n_target_classes": "n_target_classes",
    },
    "fab_t": {
        "steps": "n_iter",
        "n_restarts": "n_restarts",
        "alpha_max": "alpha_max",
        "eta": "eta",
        "beta": "beta",
        "n_target_classes": "n_target_classes",
    },
    "square": {
        "n_queries": "n_queries",
        "n_restarts": "n_restarts",
        "p_init": "p_init",
        "loss": "loss",
        "rescale_schedule": "rescale_schedule",
    },
}


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_the_parts_of_autoattack_have_the_parameters_of_the_reference(norm: Norm) -> None:
    from pyautoattack import AutoAttack

    model, _ = colours(2)
    victim, evaluation = Victim(model), load_preset("cifar10_gpu").evaluation
    reference = AutoAttack(victim, norm=norm, eps=RADIUS[norm], seed=3, version="standard")
    parts = {
        "apgd_ce": reference.apgd,
        "apgd_t": reference.apgd_targeted,
        "fab_t": reference.fab,
        "square": reference.square,
    }
    ours = evaluation.attacks if norm == "Linf" else evaluation.l2_attacks
    assert [attack.name.replace("_", "-") for attack in ours] == reference.attacks_to_run
    for attack in ours:
        made, theirs = made_of(attack, victim, norm, 100), parts[attack.name]
        renamed = type(made).__module__.startswith("torchattacks")
        for mine, yours in {**OURS_AND_THEIRS[attack.name], "norm": "norm", "eps": "eps", "seed": "seed"}.items():
            found = getattr(made, mine if renamed else yours)
            assert (attack.name, mine, found) == (attack.name, mine, getattr(theirs, yours))
    assert made_of(ours[0], victim, norm).loss == reference.apgd.loss == "ce"
    assert made_of(ours[2], victim, norm).multi_targeted


def test_the_parts_of_autoattack_are_those_of_the_package() -> None:
    ensure_importable()
    import torchattacks

    model, _ = colours(2)
    victim = Victim(model)
    whole = torchattacks.AutoAttack(victim, version="standard", seed=0)
    names = [attack.name for attack in load_preset("cifar10_gpu").evaluation.attacks]
    made = [made_of(attack_of(name), victim, "Linf") for name in names]
    assert [type(part) for part in made] == [type(part) for part in whole._autoattack.attacks]
    for mine, theirs in zip(made, whole._autoattack.attacks, strict=True):
        assert vars(mine).keys() == vars(theirs).keys()  # nothing that we set is a name the package does not read


@pytest.mark.parametrize("name", ["apgd_ce", "apgd_dlr", "fab_t", "square"])
def test_the_package_and_the_reference_agree_at_matched_settings(name: str, written: Subject) -> None:
    some, radius, steps = written.part(torch.arange(32)), Radius("Linf", 20.0), STEPS[name] * 2
    ours, theirs = (
        stands(some, some.clean, radius, attack_of(name, steps)),
        stands_matched(some, some.clean, radius, name, steps),
    )
    assert int((ours != theirs).sum()) <= 1  # one image may lie on the boundary
    assert 0 < int(ours.sum()) <= int(some.clean.sum())


# 5. Seeds.


@every_attack
def test_outcomes_depend_on_the_seed_alone_and_no_generator_is_moved(
    name: str, norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = colours(12)
    victim, found = Victim(model), []
    for noise in (1, 2):
        torch.manual_seed(noise)
        np.random.seed(noise)
        random.seed(noise)
        monkeypatch.setattr(time, "time", lambda noise=noise: 1e9 * noise)
        before = random_states()
        found.append(attacked(victim, name, norm, images))
        assert random_states() == before
    assert torch.equal(*found)


def test_draws_that_all_images_share_come_from_the_seed_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = colours(12)
    monkeypatch.setattr(attacks, "make_attack", lambda *_: lambda x, _y: (x + 0.05 * torch.rand(1)).clamp(0, 1))
    found = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        found.append(attacked(Victim(model), "pgd", "Linf", images))
    assert torch.equal(*found)


def test_attacks_with_random_starts_depend_on_the_seed_of_the_evaluation(written: Subject) -> None:
    labels = written.labels[:8]
    for name in ("pgd", "apgd_ce", "apgd_dlr", "square"):
        one, two = (
            perturb(written.model, attack_of(name), "Linf", 0.2, written.images[:8], labels, draws(seed, 8), 10)
            for seed in (1, 2)
        )
        assert not torch.equal(one, two)


@every_attack
def test_another_batch_size_gives_the_same_flags(name: str, norm: Norm, written: Subject) -> None:
    """Bit for bit only at the same batch size: sums of floats depend on the shape of a batch.

    APGD-T, and Square in L2, draw for the images that still stand in a batch and not for all of it; these draws do
    depend on the others.
    """
    radius = Radius(norm, 20.0 if norm == "Linf" else 0.5)
    found = []
    for size in (32, 32, 24):
        attacked_so = written._replace(model=written.model.in_batches_of(size))
        found.append(stands(attacked_so, written.clean, radius, attack_of(name)))
    assert torch.equal(found[0], found[1])
    allowed = 8 if (name, norm) in SHARED_DRAWS else 1
    assert int((found[0] != found[2]).sum()) <= allowed


OWN_DRAWS: list[tuple[str, Norm]] = [
    ("pgd", "Linf"),
    ("apgd_ce", "Linf"),
    ("apgd_dlr", "Linf"),
    ("apgd_ce", "L2"),
    ("apgd_dlr", "L2"),
]


@pytest.mark.parametrize(("name", "norm"), OWN_DRAWS)
def test_the_start_of_an_image_is_its_own_whatever_else_is_in_the_batch(
    name: str, norm: Norm, written: Subject
) -> None:
    seeds, found = draws(11, 16), []
    for few in (list(range(16)), [3, 9, 12]):
        x, y = written.images[few], written.labels[few]
        found.append(perturb(written.model, attack_of(name), norm, RADIUS[norm], x, y, seeds.rows(few), 10))
    close = (found[0][[3, 9, 12]] - found[1]).abs().amax((1, 2, 3)) < 1e-3
    assert int(close.sum()) >= 2  # a sign may flip where a gradient is all but zero


def test_every_run_attacks_the_same_images_in_the_same_order(digits_net: nn.Module, digits: Data) -> None:
    preset = load_preset("smoke", ("evaluation.images=40",))
    (one, first, _), (two, second, _) = (make_subject(preset, seed, digits_net, digits) for seed in (0, 1))
    assert first == second
    assert torch.equal(one.images, two.images)
    assert one.seed != two.seed
    assert one.model.batch_size == two.model.batch_size == preset.evaluation.batch_size
