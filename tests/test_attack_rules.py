"""The twelve rules that keep an attack package from corrupting a benchmark: what is measured when one is dropped."""

import random
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import planted
import pytest
import torch
from around import Around
from tiny_study import pixels_of, random_states
from torch import Tensor, nn

from benchmark import attacks, joint, sanity
from benchmark.attacks import Norm, Victim, make_attack, perturb, predict
from benchmark.data import Data, load_data, to_float
from benchmark.datasets import Split
from benchmark.errors import DataError, UsageError
from benchmark.evaluate import make_subject
from benchmark.image_streams import draws
from benchmark.joint import Radius, Subject, attack_jointly, refuse_too_few_classes, stands
from benchmark.models import Normalize, build_model, weights_hash
from benchmark.plan import make_plan
from benchmark.preset_files import load_preset, preset_names
from benchmark.records import unpack_bits
from benchmark.reference import autoattack, stands_matched
from benchmark.registry import ATTACKS, MODELS
from benchmark.report import render
from benchmark.schema import AttackOutcome
from benchmark.settings import Attack, Checks, Evaluation
from benchmark.state import start
from benchmark.study import comparisons, load_study
from benchmark.torchvision_ops import ensure_importable
from benchmark.train import train_epoch

STEPS = {"fgsm": 1, "pgd": 3, "apgd_ce": 3, "apgd_dlr": 3, "apgd_t": 2, "fab_t": 2, "square": 10}
LINF: list[tuple[str, Norm]] = [(name, "Linf") for name in STEPS]
EVERY: list[tuple[str, Norm]] = [*LINF, *[(name, "L2") for name in list(STEPS)[2:]]]
RADIUS: dict[Norm, float] = {"Linf": 16 / 255, "L2": 0.5}
SHARED_DRAWS = [("apgd_t", "Linf"), ("apgd_t", "L2"), ("square", "L2")]
SCALE_FREE = {"apgd_dlr", "apgd_t"}
IMAGES = 96
every_attack = pytest.mark.parametrize(("name", "norm"), EVERY, ids=[f"{name}-{norm}" for name, norm in EVERY])


@pytest.fixture(scope="module")
def digits_net() -> nn.Module:
    """A network trained on all digits (about 95% correct)."""
    preset = load_preset("smoke", ("recipe.epochs=4",))
    data, run = load_data(preset.data, []), make_plan(preset, ["erm"], [0])[0]
    state = start(run, data, torch.device("cpu"))
    for _ in range(4):
        train_epoch(run, state, data.train)
    return state.model.eval()


@pytest.fixture
def written(digits_net: nn.Module, digits: Data) -> Subject:
    """96 handwritten digits and the trained network."""
    model = Victim(digits_net)
    return subject(model, to_float(pixels_of(digits.test)[:IMAGES]).contiguous(), digits.test.labels[:IMAGES])


def colours(images: int, classes: int = 10, pixels: int = 8) -> tuple[nn.Module, Tensor]:
    """An untrained network and images of three channels: with one, channels_last is the same as contiguous."""
    generator = torch.Generator().manual_seed(images)
    bytes_ = torch.randint(256, (images, 3, pixels, pixels), generator=generator, dtype=torch.uint8)
    return build_model("small", bytes_, classes, seed=1).eval(), to_float(bytes_).contiguous()


def subject(model: Victim, images: Tensor, labels: Tensor, batch_size: int = 32, classes: int = 10) -> Subject:
    clean = predict(model, images, batch_size) == labels
    return Subject(model, images, labels, clean, classes, batch_size, seed=5)


def attack_of(name: str, steps: int | None = None) -> Attack:
    return Attack(name=name, steps=steps or STEPS[name])


def made_of(attack: Attack, model: nn.Module, norm: Norm, classes: int = 10) -> Any:
    """The attack that is made: of torchattacks, or of the reference where it is called by its method."""
    made = make_attack(attack, model, norm, RADIUS[norm], classes, seed=3)
    return getattr(made, "__self__", made)


def attacked(
    model: nn.Module, name: str, norm: Norm, images: Tensor, labels: Tensor | None = None, classes: int = 10
) -> Tensor:
    labels = predict(model, images, len(images)) if labels is None else labels
    return perturb(model, attack_of(name), norm, RADIUS[norm], images, labels, draws(7, len(images)), classes)


def suite(*names: str, **changes: Any) -> Evaluation:
    values: dict[str, Any] = {"images": IMAGES, "batch_size": 32, "eps": (16.0,)}
    return Evaluation(**values | {"attacks": tuple(attack_of(name) for name in names)} | changes)


def jointly(of: Subject, settings: Evaluation) -> list[AttackOutcome]:
    return attack_jointly(of, settings, lambda _text, _share: None)


def left(outcome: AttackOutcome, images: int = IMAGES) -> Tensor:
    return torch.from_numpy(unpack_bits(outcome["correct"], images))


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
    text = render(tmp_path / "results", tmp_path / "RESULTS.md")[tmp_path / "RESULTS.md"]
    compared = re.findall(r"^`sba` against each other arm: (\w+)", text, flags=re.MULTILINE)
    assert compared[:2] == ["area", "accuracy"]
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
        attacked_so = written._replace(batch_size=size)
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
    assert one.batch_size == two.batch_size == preset.evaluation.batch_size


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


@pytest.mark.parametrize("name", sorted(MODELS))
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


# 9. Gradients of parameters, and graphs.


@every_attack
def test_parameters_are_frozen_and_no_gradient_or_graph_is_left(name: str, norm: Norm) -> None:
    model, images = colours(12)
    labels = predict(model, images, 12)
    victim = Victim(model)
    moved = attacked(victim, name, norm, images, labels)
    assert not any(parameter.requires_grad for parameter in victim.parameters())
    assert all(parameter.grad is None for net in (model, victim) for parameter in net.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert moved.grad_fn is None
    assert not moved.requires_grad
    assert images.grad is None
    assert not images.requires_grad


# 10. Precision and layout.


@every_attack
def test_a_bfloat16_network_is_attacked_in_float32_and_its_images_stay_in_the_ball(name: str, norm: Norm) -> None:
    model, images = colours(12)
    half = model.to(torch.bfloat16)
    victim = Victim(half)
    assert {value.dtype for value in victim.state_dict().values() if value.is_floating_point()} == {torch.float32}
    assert victim(images).dtype == torch.float32
    moved = attacked(victim, name, norm, images)
    assert moved.dtype == torch.float32
    assert attacks.largest_distance(moved - images, norm) <= RADIUS[norm] * (1 + 1e-5) + 1e-6
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


@every_attack
def test_a_channels_last_network_works_with_every_attack(name: str, norm: Norm) -> None:
    model, images = colours(12)
    trained = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    moved = attacked(Victim(trained), name, norm, images)
    assert moved.is_contiguous()
    assert not torch.equal(moved, images)


def test_gradients_are_contiguous_though_the_network_is_channels_last() -> None:
    model, images = colours(12)
    x = images.clone().requires_grad_()
    victim = Victim(model)
    (gradient,) = torch.autograd.grad(victim(x).sum(), x)
    assert gradient.is_contiguous()
    stem = next(weights for weights in victim.parameters() if weights.dim() == 4 and weights.shape[1] == 3)
    assert stem.is_contiguous(memory_format=torch.channels_last)


def test_images_to_attack_are_contiguous_float32_however_the_split_lies_in_memory(digits: Data) -> None:
    model, images = colours(500)
    bytes_ = (images * 255).round().to(torch.uint8).contiguous(memory_format=torch.channels_last)
    data = replace(digits, test=Split(bytes_, digits.test.labels))
    found, *_ = make_subject(load_preset("smoke", ("evaluation.images=40",)), 0, model, data)
    assert found.images.is_contiguous()
    assert found.images.dtype == torch.float32
    assert 0 <= float(found.images.min()) < float(found.images.max()) <= 1


# 11. Misclassified images.


def test_misclassified_images_are_never_attacked(written: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = torch.zeros(IMAGES, dtype=torch.bool)
    wrong[::3] = True
    labels = torch.where(wrong, (written.labels + 1) % 10, written.labels)
    seen: list[Tensor] = []

    def watched(model: nn.Module, attack: Attack, norm: Norm, radius: float, x: Tensor, *rest: Any) -> Tensor:
        seen.append(x)
        return perturb(model, attack, norm, radius, x, *rest)

    monkeypatch.setattr(joint, "perturb", watched)
    mixed = subject(written.model, written.images, labels)
    outcomes = jointly(mixed, suite("fgsm", "pgd", "apgd_dlr", l2_eps=(0.5,), l2_attacks=(attack_of("apgd_ce"),)))
    given = {row.numpy().tobytes() for batch in seen for row in batch}
    assert given == {row.numpy().tobytes() for row in mixed.images[mixed.clean]}
    assert not given & {row.numpy().tobytes() for row in mixed.images[wrong]}
    assert not any(bool((left(outcome) & wrong).any()) for outcome in outcomes)


def test_an_attack_that_corrects_an_image_makes_nothing_robust(
    written: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attack fools all, the second returns the images as they were, which the network gets right."""

    def planned(_model: nn.Module, attack: Attack, *rest: Any) -> Tensor:
        images: Tensor = rest[2]
        return 1 - images if attack.name == "fgsm" else images

    monkeypatch.setattr(joint, "perturb", planned)
    monkeypatch.setattr(joint, "predict", lambda _model, x, _n: 3 + (x[:, 0, 0, 0] > 0.5).long())
    labels, n = torch.tensor([3, 3, 3, 4, 4, 3]), 6
    plain = Subject(written.model, torch.zeros(n, 1, 8, 8), labels, labels == 3, 10, batch_size=4, seed=0)
    outcomes = jointly(plain, suite("fgsm", "pgd"))
    assert [int(left(outcome, n).sum()) for outcome in outcomes] == [0, 0]
    alone = jointly(plain, suite("pgd"))
    assert left(alone[0], n).tolist() == plain.clean.tolist()


# 12. Attacks that return the clean image.


class Biased(nn.Module):
    """A network that is nearly always sure of one class, yet has useful gradients."""

    def __init__(self, inner: nn.Module, favourite: int, bias: float) -> None:
        super().__init__()
        self.inner, self.favourite, self.bias = inner, favourite, bias

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits + self.bias * (torch.arange(logits.shape[1]) == self.favourite)


def test_a_transfer_attack_moves_images_even_where_it_does_not_fool_its_own_network(
    written: Subject, digits: Data
) -> None:
    zeros = digits.test.labels == 0
    images, labels = to_float(pixels_of(digits.test)[zeros]).contiguous(), digits.test.labels[zeros]
    of_zeros, surrogate, radius = subject(written.model, images, labels), Biased(written.model, 0, 12.0), 40 / 255
    victim = Victim(surrogate)
    moved, kept = (
        perturb(victim, attack_of(name, 20), "Linf", radius, images, labels, draws(0, len(images)), 10)
        for name in ("pgd", "apgd_ce")
    )
    stood = predict(victim, kept, 32) == labels
    assert int(stood.sum()) > 5
    assert torch.equal(kept[stood], images[stood])  # so it would look as if nothing transferred
    assert float((moved - images).abs().amax((1, 2, 3)).min()) > 0.9 * radius
    assert sanity.PGD.name == "pgd"
    found = sanity.transfer(of_zeros, of_zeros.clean, Radius("Linf", 40.0), lambda: surrogate)
    assert found["figures"]["transfer"] < found["figures"]["white box"] - 0.2


def test_every_attack_starts_from_the_clean_image_and_not_from_what_another_returned(
    written: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Tensor] = []

    def watched(model: nn.Module, attack: Attack, norm: Norm, radius: float, x: Tensor, *rest: Any) -> Tensor:
        given.append(x.clone())
        return perturb(model, attack, norm, radius, x, *rest)

    monkeypatch.setattr(joint, "perturb", watched)
    originals, before = {row.numpy().tobytes() for row in written.images}, weights_hash(written.model)
    jointly(written, suite("apgd_ce", "fab_t", "square", eps=(8.0, 16.0)))
    assert len(given) >= 12
    assert all(row.numpy().tobytes() in originals for batch in given for row in batch)
    assert weights_hash(written.model) == before
