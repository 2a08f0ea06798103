"""The reference AutoAttack, whose parameters ours have; test_crosscheck.py compares the outcomes."""

import pytest
from networks.attacked import RADIUS, attack_of, colours, made_of

from benchmark.evaluation.attacks import FrozenModel
from benchmark.evaluation.catalogue import Norm
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.load import load_preset

OURS_AND_THEIRS = {  # attributes of torchattacks, and after = those of pyautoattack where they are called otherwise
    "apgd_ce": "steps=n_iter n_restarts eot_iter thr_decr norm eps seed",
    "apgd_t": "steps=n_iter n_restarts eot_iter thr_decr n_target_classes norm eps seed",
    "fab_t": "steps=n_iter n_restarts alpha_max eta beta n_target_classes norm eps seed",
    "square": "n_queries n_restarts p_init loss rescale_schedule norm eps seed",
}


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_the_parts_of_autoattack_have_the_parameters_of_the_reference(norm: Norm) -> None:
    from pyautoattack import AutoAttack

    model, _ = colours(2)
    frozen, evaluation = FrozenModel(model), load_preset("cifar10_gpu").evaluation
    reference = AutoAttack(frozen, norm=norm, eps=RADIUS[norm].pixels, seed=3, version="standard")
    parts = {
        "apgd_ce": reference.apgd,
        "apgd_t": reference.apgd_targeted,
        "fab_t": reference.fab,
        "square": reference.square,
    }
    ours = evaluation.attacks if norm == "Linf" else evaluation.l2_attacks
    assert [attack.name.replace("_", "-") for attack in ours] == reference.attacks_to_run
    for attack in ours:
        made, theirs = made_of(attack, frozen, norm, 100), parts[attack.name]
        renamed = type(made).__module__.startswith("torchattacks")
        for pair in OURS_AND_THEIRS[attack.name].split():
            mine, _, yours = pair.partition("=")
            found = getattr(made, mine if renamed else yours or mine)
            assert (attack.name, mine, found) == (attack.name, mine, getattr(theirs, yours or mine))
    assert made_of(ours[0], frozen, norm).loss == reference.apgd.loss == "ce"
    assert made_of(ours[2], frozen, norm).multi_targeted


def test_the_parts_of_autoattack_are_those_of_the_package() -> None:
    ensure_importable()
    import torchattacks

    model, _ = colours(2)
    frozen = FrozenModel(model)
    whole = torchattacks.AutoAttack(frozen, version="standard", seed=0)
    names = [attack.name for attack in load_preset("cifar10_gpu").evaluation.attacks]
    made = [made_of(attack_of(name), frozen, "Linf") for name in names]
    assert [type(part) for part in made] == [type(part) for part in whole._autoattack.attacks]
    for mine, theirs in zip(made, whole._autoattack.attacks, strict=True):
        assert vars(mine).keys() == vars(theirs).keys()  # nothing that we set is a name the package does not read
