"""Joint evaluation: an image that one attack fooled is not attacked again at that eps."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmark.data.seeds import stream_seed
from benchmark.evaluation.attacks import FrozenModel, Radius, perturb, predict, refuse_impossible, wrong_row
from benchmark.evaluation.catalogue import ATTACKS, SANITY_CHECKS
from benchmark.evaluation.image_draws import Draws, draws
from benchmark.records.outcomes import pack_bits, unpack_bits
from benchmark.records.schema import AttackOutcome
from benchmark.runtime.errors import DataError, UsageError
from benchmark.settings.names import load
from benchmark.settings.preset import Attack, Evaluation

AT_ONCE = 2**22  # values of images attacked at once where fooled ones make room for others: 1,365 of 3 x 32 x 32
Progress = Callable[[str, float], None]  # called with the current part of the work and the share done, in [0, 1]
Cache = Callable[[str, Callable[[], Any]], Any]  # computes a part under a name, or returns it from an earlier start


def no_cache(_name: str, compute: Callable[[], Any]) -> Any:
    """Compute a part and keep nothing."""
    return compute()


class AttackedSet(NamedTuple):
    """A network and the images that it is attacked on.

    Attributes:
        model: the network.
        images: (N, C, H, W) float32 in [0, 1], in fixed order.
        labels: (N,) true classes.
        clean: (N,) booleans, classified correctly without attack; only these are attacked.
        classes: number of classes.
        seed: seed of the evaluation.
    """

    model: FrozenModel
    images: Tensor
    labels: Tensor
    clean: Tensor
    classes: int
    seed: int

    def part(self, indices: Tensor) -> "AttackedSet":
        """Return the same network with some of the images."""
        part = self._replace(images=self.images[indices], labels=self.labels[indices], clean=self.clean[indices])
        return part.in_batches_for(len(indices))

    def in_batches_for(self, images: int) -> "AttackedSet":
        """Return the same with batches no larger than the number of images to attack, since batches are filled up."""
        return self._replace(model=self.model.in_batches_of(min(self.model.batch_size, max(1, images))))


def suite(settings: Evaluation) -> list[tuple[Radius, Attack]]:
    """Return every radius with every attack at it, in the order in which they are made."""
    linf = [(Radius("Linf", eps), attack) for eps in settings.eps for attack in settings.attacks]
    return linf + [(Radius("L2", eps), attack) for eps in settings.l2_eps for attack in settings.l2_attacks]


def attack_jointly(
    attacked: AttackedSet, settings: Evaluation, progress: Progress, cache: Cache = no_cache
) -> list[AttackOutcome]:
    """Run every attack at every radius; one attack sees only the images that all earlier ones there left correct.

    An image's logits do not depend on the others (`FrozenModel`), and its draws are its own. So under FGSM, PGD, APGD,
    FAB-T and Square in Linf an image's outcome does not depend on the others, and joint evaluation finds the same as
    these attacks one by one on all images. APGD-T and Square in L2 draw anew for the survivors in a batch: there about
    one outcome in a hundred changes with the others.

    Raises:
        DataError: images outside [0, 1].
    """
    low, high = float(attacked.images.min()), float(attacked.images.max())
    if not (low >= 0 and high <= 1):  # also where one is not a number
        raise DataError(
            f"images to attack must be in [0, 1], these reach from {low:g} to {high:g}; divide bytes by 255."
        )
    steps = suite(settings)
    work = sum(attack.steps for _, attack in steps)
    outcomes: list[AttackOutcome] = []
    robust, at, done = attacked.clean, None, 0
    for number, (radius, attack) in enumerate(steps):
        robust, at = (attacked.clean if radius != at else robust), radius
        part = partial(_part_of_progress, progress, done / work, attack.steps / work)
        compute = partial(_attack_once, attacked, robust, radius, attack, part)
        outcome = cache(f"{number}: {attack.name} at {radius}", compute)
        outcomes.append(outcome)
        robust = torch.from_numpy(unpack_bits(outcome["correct"], len(robust))).to(robust.device)
        done += attack.steps
    progress("done", 1.0)
    return outcomes


def _part_of_progress(progress: Progress, before: float, part: float, text: str, share: float) -> None:
    progress(text, before + part * share)


def _attack_once(
    attacked: AttackedSet, robust: Tensor, radius: Radius, attack: Attack, progress: Progress
) -> AttackOutcome:
    """Attack the images marked in `robust`, (N,) booleans, which all earlier attacks left correct."""
    left, before = int(robust.sum()), attacked.model.gradients
    text = f"{attack.name} at {radius}, {left} of {len(robust)} images left"
    after = survivors(attacked, robust, radius, attack, partial(progress, text))
    return AttackOutcome(
        attack=attack.name,
        norm=radius.norm,
        eps=radius.eps,
        steps=attack.steps,
        correct=pack_bits(after.cpu().numpy()),
        fooled=left - int(after.sum()),
        gradients=attacked.model.gradients - before,
    )


class Batch(NamedTuple):
    """Images attacked at once.

    Attributes:
        indices: (n,) in the attacked set.
        images, labels: these n.
        draws: their seeds.
        share: of the images to be attacked that are done after this batch, in [0, 1].
    """

    indices: Tensor
    images: Tensor
    labels: Tensor
    draws: Draws
    share: float


def batches(attacked: AttackedSet, left: Tensor, radius: Radius, attack: str) -> Iterator[Batch]:
    """Yield the images marked in `left`, (N,) booleans, with the draws that they have under an attack at a radius."""
    seed = stream_seed("attack", attacked.seed, f"{radius.norm}/{radius.eps:g}/{attack}")
    seeds, indices = draws(seed, len(left)), left.nonzero().squeeze(1)
    size = attacked.model.batch_size
    if ATTACKS[attack].any_step:
        size = max(size, AT_ONCE // attacked.images[0].numel())
    for number, batch in enumerate(indices.split(size) if len(indices) else (), start=1):
        share = min(1.0, number * size / len(indices))
        yield Batch(batch, attacked.images[batch], attacked.labels[batch], seeds.rows(batch.tolist()), share)


def survivors(
    attacked: AttackedSet,
    left: Tensor,
    radius: Radius,
    attack: Attack,
    on_batch: Callable[[float], object] = lambda _share: None,
) -> Tensor:
    """Return which of the images marked in `left`, (N,) booleans, one attack left correct; (N,) booleans.

    `on_batch` is called after each batch with the share of these images that are done.
    """
    model, after = attacked.model, left.clone()
    for batch in batches(attacked, left, radius, attack.name):
        images, labels = batch.images, batch.labels
        found = perturb(model, attack, radius, images, labels, batch.draws, attacked.classes)
        after[batch.indices] = predict(model, found) == labels
        on_batch(batch.share)
    return after


def joint_survivors(outcomes: Sequence[AttackOutcome], radius: Radius, n: int) -> Tensor:
    """Return which of n images survived all attacks at a radius, (n,) booleans on the CPU."""
    last = [o for o in outcomes if (o["norm"], o["eps"]) == radius][-1]
    return torch.from_numpy(unpack_bits(last["correct"], n))


def joint_curves(outcomes: Sequence[AttackOutcome], n: int) -> dict[str, dict[float, float]]:
    """Return norm -> eps -> joint robust accuracy in [0, 1]; the last attack of each eps has the joint outcome."""
    curves: dict[str, dict[float, float]] = {}
    for outcome in outcomes:
        share = float(unpack_bits(outcome["correct"], n).mean())
        curves.setdefault(outcome["norm"], {})[outcome["eps"]] = share
    return curves


def suite_checks(
    settings: Evaluation, classes: int, trial: Callable[[], tuple[FrozenModel, Tensor]] | None = None
) -> list[Callable[[], None]]:
    """Return a check for each attack of a suite and norm, to be called before anything is trained.

    Each raises UsageError if its attack needs another norm or more classes and, where a `trial` is given, if the
    attack fails on it with one or two steps: its row in `ATTACKS` is wrong. The same for the rows of `SANITY_CHECKS`.

    Args:
        settings: the suite.
        classes: number of classes.
        trial: returns a network and images (N, C, H, W) to attack.
    """
    attacks = {(radius.norm, attack): radius for radius, attack in suite(settings)}
    checks = [partial(_refuse_attack, attack, radius, classes, trial) for (_, attack), radius in attacks.items()]
    rows = [partial(_refuse_check, name) for name in SANITY_CHECKS] if trial else []
    return [*checks, *rows, partial(_refuse_checks, settings, classes)]


def _refuse_attack(
    attack: Attack, radius: Radius, classes: int, trial: Callable[[], tuple[FrozenModel, Tensor]] | None
) -> None:
    refuse_impossible(attack, radius.norm, classes)
    if not trial:
        return
    (model, images), short = trial(), attack.model_copy(update={"steps": min(attack.steps, 2)})
    labels = predict(model, images)  # right, so that there is something to attack
    try:
        perturb(model, short, radius, images, labels, draws(0, len(images)), classes)
    except RuntimeError as error:
        raise wrong_row(attack.name, f"does not work ({error})") from error


def _refuse_check(name: str) -> None:
    row = SANITY_CHECKS[name]
    try:
        inspect.signature(load(row.target)).bind(None, **row.limits)
    except Exception as error:  # the row may name anybody's function
        raise UsageError(
            f"check {row.number} ({name}) cannot be called ({row.target}: {type(error).__name__}: {error}). Correct "
            f"SANITY_CHECKS[{name!r}] in benchmark/evaluation/catalogue.py."
        ) from error


def _refuse_checks(settings: Evaluation, classes: int) -> None:
    if settings.checks and classes < ATTACKS["apgd_t"].classes:
        raise UsageError(
            f"evaluation.checks runs the reference AutoAttack, which needs {ATTACKS['apgd_t'].classes} classes; there "
            f"are {classes}. Leave [evaluation.checks] out."
        )
