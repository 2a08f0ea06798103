"""Joint evaluation: robust means correct without attack and under every attack; nothing else is attacked."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks.attacked import (
    EVERY,
    IMAGES,
    SHARED_DRAWS,
    attack_of,
    attacked_set,
    colours,
    every_attack,
    jointly,
    left,
    suite,
)
from torch import Tensor, nn

from benchmark.evaluation import joint
from benchmark.evaluation.attacks import FrozenModel, Radius, perturb
from benchmark.evaluation.catalogue import ATTACKS, SANITY_CHECKS, AttackRow, Norm, SanityCheck
from benchmark.evaluation.joint import AttackedSet, suite_checks, survivors
from benchmark.networks.build import weights_hash
from benchmark.runtime.errors import DataError, UsageError, refuse_together
from benchmark.settings.preset import Attack, Checks, Evaluation

OWN_DRAWS = [name for name, norm in EVERY if norm == "Linf" and (name, norm) not in SHARED_DRAWS]


def test_robust_means_correct_without_attack_and_under_every_attack_on_its_own(written: AttackedSet) -> None:
    outcomes = iter(jointly(written, suite(*OWN_DRAWS, eps=(8.0, 32.0))))
    for eps in (8.0, 32.0):
        expected = before = written.clean
        for name in OWN_DRAWS:
            expected = expected & survivors(written, written.clean, Radius("Linf", eps), attack_of(name))
            outcome = next(outcomes)
            after = left(outcome)
            assert int((after != expected).sum()) <= 1  # an image on the boundary
            assert outcome["fooled"] == int((before & ~after).sum()) == int(before.sum() - after.sum())
            before = after


@every_attack
def test_another_batch_size_gives_the_same_outcomes(name: str, norm: Norm, written: AttackedSet) -> None:
    """APGD-T, and Square in L2, draw for the survivors in a batch and not for all of it: these draws depend on it."""
    radius = Radius(norm, 20.0 if norm == "Linf" else 0.5)
    one, other = (
        survivors(written._replace(model=written.model.in_batches_of(size)), written.clean, radius, attack_of(name))
        for size in (32, 24)
    )
    assert int((one != other).sum()) <= (IMAGES // 10 if (name, norm) in SHARED_DRAWS else 2)


@pytest.mark.parametrize(("name", "passes"), [("fgsm", 1), ("pgd", 3), ("apgd_ce", 4), ("apgd_dlr", 4)])
def test_gradient_samples_are_images_times_backward_passes(name: str, passes: int, written: AttackedSet) -> None:
    sure = written.part(written.clean.nonzero().squeeze(1)[:4])
    assert jointly(sure, suite(name, eps=(0.01,)))[0]["gradients"] == 4 * passes


class Seen:
    """Runs attacks, and keeps the images that they are given."""

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def __call__(self, model: nn.Module, attack: Attack, radius: Radius, images: Tensor, *rest: Any) -> Tensor:
        self.batches.append(images.clone())
        return perturb(model, attack, radius, images, *rest)

    def rows(self) -> set[bytes]:
        return {row.numpy().tobytes() for batch in self.batches for row in batch}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    watched = Seen()
    monkeypatch.setattr(joint, "perturb", watched)
    return watched


def test_misclassified_images_are_never_attacked(written: AttackedSet, seen: Seen) -> None:
    wrong = torch.arange(IMAGES) % 3 == 0
    labels = torch.where(wrong, (written.labels + 1) % 10, written.labels)
    mixed = attacked_set(written.model, written.images, labels)
    outcomes = jointly(mixed, suite("fgsm", "pgd", "apgd_dlr", l2_eps=(0.5,), l2_attacks=(attack_of("apgd_ce"),)))
    assert seen.rows() == {row.numpy().tobytes() for row in mixed.images[mixed.clean]}
    assert not any(bool((left(outcome) & ~mixed.clean).any()) for outcome in outcomes)


def test_every_attack_starts_from_the_clean_image_and_not_from_what_another_returned(
    written: AttackedSet, seen: Seen
) -> None:
    before = weights_hash(written.model)
    jointly(written, suite("apgd_ce", "fab_t", "square", eps=(8.0, 16.0)))
    assert len(seen.batches) >= 6
    assert seen.rows() <= {row.numpy().tobytes() for row in written.images}
    assert weights_hash(written.model) == before


def test_an_attack_that_corrects_an_image_makes_nothing_robust(
    written: AttackedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attack fools all, the second returns the images as they were, which the network gets right."""

    def planned(_model: nn.Module, attack: Attack, _radius: Radius, images: Tensor, *_: Any) -> Tensor:
        return 1 - images if attack.name == "fgsm" else images

    monkeypatch.setattr(joint, "perturb", planned)
    monkeypatch.setattr(joint, "predict", lambda _model, x: 3 + (x[:, 0, 0, 0] > 0.5).long())
    labels, n = torch.tensor([3, 3, 3, 4, 4, 3]), 6
    plain = AttackedSet(written.model, torch.zeros(n, 1, 8, 8), labels, labels == 3, 10, seed=0)
    outcomes = jointly(plain, suite("fgsm", "pgd"))
    assert [int(left(outcome, n).sum()) for outcome in outcomes] == [0, 0]
    alone = jointly(plain, suite("pgd"))
    assert left(alone[0], n).tolist() == plain.clean.tolist()


# Refused.


@pytest.mark.parametrize(("scale", "shift"), [(255.0, 0.0), (0.5, -0.1), (1.0, 0.01), (float("nan"), 0.0)])
def test_images_that_are_not_in_0_to_1_are_refused(scale: float, shift: float, written: AttackedSet) -> None:
    with pytest.raises(DataError, match=r"must be in \[0, 1\].*divide bytes by 255"):
        jointly(written._replace(images=written.images * scale + shift), suite("fgsm"))


def refused(
    settings: Evaluation, classes: int, trial: Callable[[], tuple[FrozenModel, Tensor]] | None = None
) -> list[str]:
    """The messages of the checks of a suite."""
    try:
        refuse_together("refused", suite_checks(settings, classes, trial))
    except UsageError as error:
        return [line.strip() for line in str(error).splitlines()[1:]]
    return []


def test_all_impossible_attacks_of_a_suite_are_refused_at_once_before_anything_is_trained() -> None:
    assert "attack pgd is for Linf only" in refused(suite("fgsm", l2_eps=(0.5,), l2_attacks=(attack_of("pgd"),)), 10)[0]
    assert "attack fgsm takes one step; steps = 10" in refused(suite(attacks=(attack_of("fgsm", 10),)), 10)[0]
    for name, classes in (("apgd_t", 4), ("apgd_dlr", 3)):
        text = (
            f"attack {name} compares the {classes} largest logits, but there are only {classes - 1} classes; leave it"
        )
        assert text in refused(suite("fgsm", name), classes - 1)[0]
        assert not refused(suite("fgsm", name), classes)
    checked = suite("fgsm", checks=Checks(images=8, square_queries=10, repeated=8, long_steps=10))
    assert "needs 4 classes; there are 3. Leave [evaluation.checks] out" in refused(checked, 3)[0]
    assert not refused(checked, 4)
    several = suite("apgd_t", "fgsm", "apgd_dlr", eps=(8.0, 16.0), l2_eps=(0.5,), l2_attacks=(attack_of("pgd"),))
    assert [message.split()[1] for message in refused(several, 2)] == ["apgd_t", "apgd_dlr", "pgd"]


WRONG_ROWS = [
    (AttackRow("torchattacks:NoSuchAttack", "x"), "NoSuchAttack"),
    (AttackRow("no_such_package:Attack", "x"), "No module named 'no_such_package'"),
    (AttackRow("torchattacks:MIFGSM", "x", lambda s: {"step": s.steps}), "unexpected keyword argument 'step'"),
    (AttackRow("torchattacks:MIFGSM", "x", lambda s: {"steps": s.iterations}), "no attribute 'iterations'"),  # type: ignore[attr-defined]
    (AttackRow("builtins:dict", "x"), "'FrozenModel' object is not iterable"),
    (AttackRow(f"{__name__}:NotCallable", "x"), "not callable with (images, labels)"),
]


class NotCallable:
    """A class that forgot its `__call__`."""

    def __init__(self, _model: nn.Module, eps: float) -> None:
        self.eps = eps


def some_images() -> tuple[FrozenModel, Tensor]:
    """What attacks are tried on."""
    model, images = colours(2)
    return FrozenModel(model), images


@pytest.mark.parametrize(("row", "reason"), WRONG_ROWS, ids=[reason for _, reason in WRONG_ROWS])
def test_a_row_that_makes_no_attack_is_refused_with_its_name_before_anything_is_trained(
    row: AttackRow, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ATTACKS, "mine", row)
    (message,) = refused(suite("fgsm", "mine"), 10, some_images)
    for part in ("attack mine cannot be made", row.target, reason, "ATTACKS['mine'] in benchmark/evaluation/catalogue"):
        assert part in message


class Returning:
    """An attack that returns something of the images."""

    def __init__(self, _model: nn.Module, eps: float, of: Callable[[Tensor], object]) -> None:
        self.eps, self.of = eps, of

    def __call__(self, images: Tensor, _labels: Tensor) -> object:
        return self.of(images)


WRONG_RESULTS: dict[str, tuple[Callable[[Tensor], object], str]] = {
    "nothing": (lambda _: None, "it returned a NoneType, no tensor of images"),
    "a part": (lambda images: images[:1], "shape torch.Size([1, "),
    "bytes": (lambda images: (255 * images).byte(), "dtype torch.uint8, those given have torch.float32"),
    "nan": (lambda images: images * float("nan"), "values that are not finite"),
    "far away": (lambda images: 1 - images, "left the ball Linf 4/255"),
    "an error": (lambda images: {0: images}[len(images)], "KeyError: 2"),
}


@pytest.mark.parametrize(("of", "reason"), WRONG_RESULTS.values(), ids=WRONG_RESULTS)
@pytest.mark.parametrize("any_step", [False, True])
def test_an_attack_that_returns_no_images_in_the_ball_is_refused_before_anything_is_trained(
    of: Callable[[Tensor], object], reason: str, any_step: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = AttackRow(f"{__name__}:Returning", "x", lambda _: {"of": of}, any_step=any_step)
    monkeypatch.setitem(ATTACKS, "mine", row)
    (message,) = refused(suite("fgsm", "mine", eps=(4.0,)), 10, some_images)
    for part in ("attack mine does not work", reason, "Correct ATTACKS['mine']"):
        assert part in message


@pytest.mark.parametrize(
    ("target", "reason"),
    [("builtins:no_such_check", "no_such_check"), (f"{__name__}:some_images", "too many positional arguments")],
)
def test_a_sanity_check_that_cannot_be_called_is_refused_before_anything_is_trained(
    target: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SANITY_CHECKS, "mine", SanityCheck(99, target, "x", "x"))
    (message,) = refused(suite("fgsm"), 10, some_images)
    for part in ("check 99 (mine) cannot be called", target, reason, "Correct SANITY_CHECKS['mine']"):
        assert part in message
