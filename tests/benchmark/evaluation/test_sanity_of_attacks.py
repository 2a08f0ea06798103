"""Sanity checks 5 and 7 to 11, which attack again: order, scale, black box, steps, transfer, reference."""

from collections.abc import Callable

import pytest
import torch
from sanity_nets import FIGURES, IMAGES, NEAR, SUITE, settings
from tiny_study import random_states
from torch import Tensor, nn

from benchmark.evaluation import sanity_checks as sanity
from benchmark.evaluation.attacks import predict
from benchmark.evaluation.joint import Radius, Subject, stands
from benchmark.evaluation.sanity_checks import Scaled
from benchmark.settings.preset import Attack

# 5. The order of attacks.


def test_check_5_counts_images_that_fall_to_the_weaker_attack(
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = judge(digits_net)
    stood = {"fgsm": torch.ones(IMAGES, dtype=torch.bool), "pgd": torch.ones(IMAGES, dtype=torch.bool)}
    noise = torch.ones(IMAGES, dtype=torch.bool)
    monkeypatch.setattr(sanity, "stands", lambda *arguments: stood[arguments[3].name])
    monkeypatch.setattr(sanity, "stands_noise", lambda *_: noise)
    assert sanity.ordered(of, NEAR)["figures"]["odd images"] == 0
    noise[0] = False  # 1 of 64 is within the 2%
    assert (sanity.ordered(of, NEAR)["figures"]["odd images"], sanity.ordered(of, NEAR)["flag"]) == (1, None)
    stood["fgsm"][1:3] = False
    found = sanity.ordered(of, NEAR)
    assert found["figures"]["odd images"] == 3
    assert found["figures"]["FGSM"] == round(62 / 64, 4)
    assert str(found["flag"]).startswith("3 of 64 images stand against a stronger attack at Linf 16/255")


def test_noise_is_the_same_for_every_network_stays_in_the_ball_and_is_drawn_ten_times(
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module, other_net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Tensor]] = []

    def watched(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
        seen[-1].append(images.clone())
        return predict(model, images, batch_size)

    subjects = [judge(digits_net), judge(other_net)]
    monkeypatch.setattr(sanity, "predict", watched)
    before = random_states()
    for of in subjects:
        seen.append([])
        stood = sanity.stands_noise(of, NEAR)
        assert not (stood & ~of.clean).any()
    assert random_states() == before
    assert [len(drawn) for drawn in seen] == [sanity.NOISE_DRAWS, sanity.NOISE_DRAWS]
    assert all(torch.equal(one, two) for one, two in zip(*seen, strict=True))
    assert len({drawn.numpy().tobytes() for drawn in seen[0]}) == sanity.NOISE_DRAWS
    for drawn in seen[0]:
        moved = (drawn - subjects[0].images).abs()
        assert 0.9 * NEAR.pixels < float(moved.max()) <= NEAR.pixels + 1e-6
        assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1


def test_noise_far_beyond_the_attacks_fools(judge: Callable[[nn.Module], Subject], digits_net: nn.Module) -> None:
    of = judge(digits_net)
    near, far = (int(sanity.stands_noise(of, Radius("Linf", eps)).sum()) for eps in (1.0, 200.0))
    assert near > 0.9 * IMAGES
    assert far < 0.3 * IMAGES


# 7. Logit scale.


def test_check_7_finds_logits_that_hide_from_pgd(judge: Callable[[nn.Module], Subject], digits_net: nn.Module) -> None:
    fine, loud = (sanity.scale_free(judge(Scaled(digits_net, scale)), NEAR) for scale in (1.0, 100.0))
    assert list(fine["figures"]) == FIGURES[7]
    assert fine["flag"] is None
    hidden = loud["figures"]["PGD, logits x1"] - loud["figures"]["PGD, logits x0.1"]
    assert hidden > 0.1
    assert loud["flag"] == (
        f"PGD leaves {hidden:.1%} more images standing at Linf 16/255 than with its logits scaled: it flatters them"
    )


# 8. The black box.


@pytest.mark.parametrize(("fooled", "flagged"), [(0, False), (1, False), (2, True)])
def test_check_8_allows_one_image_of_few(
    fooled: int,
    flagged: bool,
    judge: Callable[[nn.Module], Subject],
    digits_net: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = torch.arange(IMAGES) < 40
    monkeypatch.setattr(sanity, "stands", lambda _of, stood, *_: stood & (torch.arange(IMAGES) >= fooled))
    found = sanity.black_box(judge(digits_net), left, NEAR, 100)
    assert found["figures"] == {"fooled": fooled, "stood": 40, "images": IMAGES}
    assert (found["flag"] is not None) == flagged


def test_check_8_attacks_with_square_and_the_queries_asked_for(
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Attack] = []
    of = judge(digits_net)

    def watched(_of: Subject, left: Tensor, _radius: Radius, attack: Attack) -> Tensor:
        asked.append(attack)
        return left

    monkeypatch.setattr(sanity, "stands", watched)
    sanity.black_box(of, of.clean, NEAR, 123)
    assert asked == [Attack(name="square", steps=123)]


# 9. More steps.


def test_check_9_finds_a_suite_that_was_cut_short(judge: Callable[[nn.Module], Subject], digits_net: nn.Module) -> None:
    of, far = judge(digits_net), Radius("Linf", 24.0)
    for steps, flagged in ((1, True), (20, False)):
        chosen = settings(attacks=(Attack(name="pgd", steps=steps + 1),), eps=(24.0,))
        step = Attack(name="apgd_dlr", steps=steps)
        left = stands(of, of.clean, far, step) if flagged else stands(of, of.clean, far, chosen.attacks[0])
        found = sanity.converged(of, left, far, chosen, 40)
        assert found["figures"]["stood"] == int(left.sum())
        assert (found["flag"] is not None) == flagged
        assert (found["figures"]["fooled"] > 0.02 * IMAGES) == flagged


def test_check_9_repeats_every_attack_with_steps_but_never_with_fewer(
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    of = judge(digits_net)

    def watched(_of: Subject, left: Tensor, _radius: Radius, attack: Attack) -> Tensor:
        asked.append((attack.name, attack.steps))
        return left & (torch.arange(IMAGES) >= 2)

    monkeypatch.setattr(sanity, "stands", watched)
    attacks = [("fgsm", 1), ("pgd", 5), ("apgd_dlr", 20), ("square", 500)]
    chosen = settings(attacks=tuple(Attack(name=name, steps=steps) for name, steps in attacks))
    found = sanity.converged(of, torch.ones(IMAGES, dtype=torch.bool), NEAR, chosen, 100)
    assert asked == [("pgd", 100), ("apgd_dlr", 100), ("square", 500)]
    assert str(found["flag"]).startswith("with 100 steps the attacks fool 2 more of 64 images at Linf 16/255")


# 10. Transfer.


def test_check_10_finds_images_of_another_network_that_are_stronger(
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module, other_net: nn.Module
) -> None:
    of = judge(digits_net)
    left = stands(of, of.clean, NEAR, SUITE[0])
    fine = sanity.transfer(of, left, NEAR, lambda: other_net)
    assert fine["flag"] is None
    assert fine["figures"]["white box"] == round(int(left.sum()) / IMAGES, 4)
    assert fine["figures"]["white box"] < fine["figures"]["transfer"] < 1
    blind = sanity.transfer(of, of.clean, NEAR, lambda: digits_net)  # as if the attacks had found nothing
    assert "images made for another network fool" in str(blind["flag"])
    assert "a transfer attack is stronger than the white-box attacks" in str(blind["flag"])
    assert blind["figures"]["odd images"] > 0.02 * IMAGES


def test_check_10_counts_no_image_that_was_wrong_before(
    judge: Callable[[nn.Module], Subject], digits_net: nn.Module, other_net: nn.Module
) -> None:
    of = judge(digits_net)
    clean = of.clean.clone()
    clean[: IMAGES // 2] = False
    some = of._replace(clean=clean)
    assert sanity.transfer(some, clean, Radius("Linf", 0.01), lambda: other_net)["figures"]["transfer"] == round(
        int(clean.sum()) / IMAGES, 4
    )


# 11. The reference.


def test_check_11_finds_what_a_weak_suite_left(judge: Callable[[nn.Module], Subject], digits_net: nn.Module) -> None:
    of, far = judge(digits_net), Radius("Linf", 24.0)
    before = random_states()
    weak = sanity.reference(of, of.clean, far, 5, 20)
    assert random_states() == before
    assert weak["figures"]["fooled"] > 0.3 * IMAGES
    assert "it is too weak" in str(weak["flag"])
    left = of.clean
    for name, steps in (("apgd_ce", 20), ("apgd_t", 10)):
        left = stands(of, left, far, Attack(name=name, steps=steps))
    strong = sanity.reference(of, left, far, 5, 20)
    assert (strong["flag"], strong["figures"]["stood"]) == (None, int(left.sum()))
    none = sanity.reference(of, torch.zeros(IMAGES, dtype=torch.bool), far, 5, 20)
    assert none["figures"] == {"fooled": 0, "stood": 0, "images": IMAGES}
