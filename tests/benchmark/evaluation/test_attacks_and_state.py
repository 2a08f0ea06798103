"""Rules 1 to 3 for attacks: modes and state, the scale of logits, networks without a defence."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import planted
import pytest
import torch
from around import Around
from attacked import SCALE_FREE, attack_of, attacked, colours, every_attack, jointly, left, suite
from torch import Tensor, nn

from benchmark.analysis.comparisons import comparisons
from benchmark.analysis.study import load_study
from benchmark.evaluation import attacks
from benchmark.evaluation import sanity_checks as sanity
from benchmark.evaluation.attacks import Norm, Victim
from benchmark.evaluation.joint import Radius, Subject, stands
from benchmark.report.build import render
from benchmark.settings.load import load_preset, preset_names

# 1. Modes and state.


@every_attack
def test_an_attack_leaves_every_mode_and_all_weights_of_a_freshly_wrapped_network(name: str, norm: Norm) -> None:
    model, images = colours(12)
    wrapped = Around(model)  # a fresh wrapper's own flag says training
    modes, victim = [module.training for module in wrapped.modules()], Victim(wrapped)
    weights = {key: value.clone() for key, value in victim.state_dict().items()}
    attacked(victim, name, norm, images)
    assert not any(module.training for module in victim.modules())
    assert all(torch.equal(value, weights[key]) for key, value in victim.state_dict().items())
    assert [module.training for module in wrapped.modules()] == modes == [True, *[False] * (len(modes) - 1)]


def test_an_attack_that_moves_batchnorm_statistics_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = colours(12)

    def trains_for_a_moment(victim: nn.Module, *_: Any) -> Callable[[Tensor, Tensor], Tensor]:
        def attack(x: Tensor, _y: Tensor) -> Tensor:
            victim.train()(x)
            victim.eval()
            return x

        return attack

    monkeypatch.setattr(attacks, "make_attack", lambda _settings, victim, *_: trains_for_a_moment(victim))
    with pytest.raises(RuntimeError, match="changed the network's state"):
        attacked(Victim(model), "fgsm", "Linf", images)


# 2. Logit scale.


def test_louder_logits_hide_from_pgd_and_not_from_a_joint_suite_with_a_scale_free_loss(written: Subject) -> None:
    """The joint outcome is at most that of the scale-free attack, which loudness does not change.

    Untargeted DLR leaves a gap: what only cross-entropy had fooled stands again. Targeted DLR closes it.
    """
    with_pgd = {"pgd": 20, "apgd_dlr": 20, "apgd_t": 8}
    found: dict[str, list[int]] = {name: [] for name in with_pgd}
    for scale in (1.0, 100.0):
        scaled = written._replace(model=Victim(sanity.Scaled(written.model.model, scale)))
        for name, so_far in found.items():
            tried = dict.fromkeys([attack_of("pgd", 20), attack_of(name, with_pgd[name])])
            outcomes = jointly(scaled, suite(eps=(24.0,), attacks=tuple(tried)))
            so_far.append(int(left(outcomes[-1]).sum()))
    assert found["pgd"][1] > found["pgd"][0] + 30
    dlr = stands(written, written.clean, Radius("Linf", 24.0), attack_of("apgd_dlr", 20))
    assert found["apgd_dlr"][1] <= int(dlr.sum()) + 1 < found["pgd"][1] - 20
    assert abs(found["apgd_t"][1] - found["apgd_t"][0]) <= 2


def test_dlr_finds_the_same_whatever_the_scale(written: Subject) -> None:
    for name in sorted(SCALE_FREE):
        found = []
        for scale in (1.0, 1000.0):
            scaled = written._replace(model=Victim(sanity.Scaled(written.model.model, scale)))
            found.append(stands(scaled, scaled.clean, Radius("Linf", 24.0), attack_of(name)))
        assert int((found[0] != found[1]).sum()) <= 1  # the loss is equal but for rounding


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_attacks_with_a_scale_free_loss_in_each_norm(name: str) -> None:
    preset = load_preset(name)
    suites = [preset.evaluation.attacks, preset.evaluation.l2_attacks or preset.evaluation.attacks]
    for tried in suites + ([preset.ablation.attacks] if preset.ablation else []):
        assert SCALE_FREE & {attack.name for attack in tried}


# 3. Undefended networks.


@pytest.mark.parametrize("name", preset_names())
def test_no_preset_compares_its_arms_at_the_largest_eps_which_is_the_floor(name: str) -> None:
    preset = load_preset(name)
    assert len(preset.evaluation.eps) >= 3
    assert preset.analysis.eps < max(preset.evaluation.eps)


def test_the_headline_is_the_area_which_tells_arms_apart_that_are_equal_at_the_largest_eps(tmp_path: Path) -> None:
    curves = {"sba": (160, 150, 120, 40, 0), "standard": (160, 120, 60, 10, 0), "mixup": (160, 120, 60, 10, 0)}
    records = [
        planted.record(arm, seed, 900, (*curve[:3], curve[3] + seed, 0))
        for arm, curve in curves.items()
        for seed in range(5)
    ]
    study = load_study("planted", records)
    assert not study.robust[:, :, -1].any()
    found = comparisons(study, "area")["standard"]
    assert found is not None
    assert found.difference > 5
    planted.write(tmp_path / "results", records)
    page = tmp_path / "results" / "planted" / "README.md"
    text = render(tmp_path / "results", tmp_path / "RESULTS.md")[page]
    assert re.search(r"^\| against +\| accuracy +\| robust area +\| accuracy at 1/255 +\|", text, flags=re.MULTILINE)
    assert "accuracy under these attacks at Linf eps = 1/255" in text
    assert "Linf eps = 2/255" not in text


def test_the_floor_is_checked_at_64_whatever_the_eps_of_the_preset(written: Subject) -> None:
    settings = suite("fgsm", "apgd_dlr", eps=(0.25,))
    at_preset = float(left(jointly(written, settings)[-1]).float().mean())
    assert sanity.EXTREME.pixels == 64 / 255
    floor = sanity.extreme(written, settings)
    assert floor < 0.1 < 0.9 < at_preset  # digits of black on white: a few stand five steps even there
    assert sanity.falls(1.0, {"Linf": [at_preset]}, 0.0)["flag"] is None
    assert "64/255" in str(sanity.falls(1.0, {"Linf": [at_preset]}, at_preset)["flag"])
