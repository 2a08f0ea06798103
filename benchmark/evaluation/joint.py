"""Joint evaluation: an image that one attack fooled is not attacked again at that eps."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmark.data.seeds import stream_seed
from benchmark.evaluation.attacks import ANY_STEP, CLASSES_NEEDED, Norm, Victim, perturb, predict, refuse_impossible
from benchmark.evaluation.image_draws import Draws, draws
from benchmark.records.outcomes import pack_bits, unpack_bits
from benchmark.records.schema import AttackOutcome
from benchmark.runtime.errors import DataError, UsageError
from benchmark.settings.preset import Attack, Evaluation

AT_ONCE = 2**22  # values of images attacked at once where fooled ones make room for others: 1,365 of 3 x 32 x 32
Progress = Callable[[str, float], None]  # told what is going on and what share of the work is done
Keep = Callable[[str, Callable[[], Any]], Any]  # computes a part under a name, or has kept it from an earlier start


def at_once(_name: str, compute: Callable[[], Any]) -> Any:
    """Compute a part and keep nothing."""
    return compute()


class Subject(NamedTuple):
    """What is attacked.

    Attributes:
        model: the network.
        images: (N, C, H, W) float32 in [0, 1], in fixed order.
        labels: (N,) true classes.
        clean: (N,) booleans, classified correctly without attack; only these are attacked.
        classes: number of classes.
        seed: seed of the evaluation.
    """

    model: Victim
    images: Tensor
    labels: Tensor
    clean: Tensor
    classes: int
    seed: int

    def part(self, indices: Tensor) -> "Subject":
        """Return the same network with some of the images."""
        part = self._replace(images=self.images[indices], labels=self.labels[indices], clean=self.clean[indices])
        return part.in_batches_for(len(indices))

    def in_batches_for(self, images: int) -> "Subject":
        """Return the same with batches no larger than the number of images to attack, since batches are filled up."""
        return self._replace(model=self.model.in_batches_of(min(self.model.batch_size, max(1, images))))


class Radius(NamedTuple):
    """A ball: norm and eps, of Linf in 1/255, of L2 in pixel values of [0, 1]."""

    norm: Norm
    eps: float

    @property
    def pixels(self) -> float:
        """The radius in pixel values of [0, 1]."""
        return self.eps / 255 if self.norm == "Linf" else self.eps

    def __str__(self) -> str:
        return f"{self.norm} {self.eps:g}/255" if self.norm == "Linf" else f"{self.norm} {self.eps:g}"


def suite(settings: Evaluation) -> list[tuple[Radius, Attack]]:
    """Return every radius with every attack at it, in the order in which they are made."""
    linf = [(Radius("Linf", eps), attack) for eps in settings.eps for attack in settings.attacks]
    return linf + [(Radius("L2", eps), attack) for eps in settings.l2_eps for attack in settings.l2_attacks]


def attack_jointly(
    subject: Subject, settings: Evaluation, progress: Progress, kept: Keep = at_once
) -> list[AttackOutcome]:
    """Run every attack at every radius; one attack sees only the images that all earlier ones there left correct.

    An image's logits do not depend on the others (`Victim`), and its draws are its own. So under FGSM, PGD, APGD, FAB-T
    and Square in Linf an image's outcome does not depend on the others, and joint evaluation finds what these attacks
    find one by one on all images. APGD-T and Square in L2 draw anew for the images that still stand: there a flag in a
    hundred may turn with the others.

    Raises:
        DataError: images outside [0, 1].
    """
    refuse_out_of_range(subject.images)
    steps = suite(settings)
    work = sum(attack.steps for _, attack in steps)
    outcomes: list[AttackOutcome] = []
    robust, at, done = subject.clean, None, 0
    for number, (radius, attack) in enumerate(steps):
        robust, at = (subject.clean if radius != at else robust), radius
        told = partial(_tell, progress, done / work, attack.steps / work)
        outcome = kept(
            f"{number}: {attack.name} at {radius}", partial(attack_once, subject, robust, radius, attack, told)
        )
        outcomes.append(outcome)
        robust = torch.from_numpy(unpack_bits(outcome["correct"], len(robust))).to(robust.device)
        done += attack.steps
    progress("done", 1.0)
    return outcomes


def _tell(progress: Progress, before: float, part: float, text: str, share: float) -> None:
    """Tell the progress of a part of the work, given the share of the work before it and its own."""
    progress(text, before + part * share)


def attack_once(subject: Subject, robust: Tensor, radius: Radius, attack: Attack, progress: Progress) -> AttackOutcome:
    """Attack the images marked in `robust`, (N,) booleans, which all earlier attacks left correct."""
    left, before = int(robust.sum()), subject.model.gradients
    after = robust.clone()
    for batch, stood in attack_left(subject, robust, radius, attack):
        progress(f"{attack.name} at {radius}, {left} of {len(robust)} images left", batch.share)
        after[batch.indices] = stood
    return AttackOutcome(
        attack=attack.name,
        norm=radius.norm,
        eps=radius.eps,
        steps=attack.steps,
        correct=pack_bits(after.cpu().numpy()),
        fooled=left - int(after.sum()),
        gradients=subject.model.gradients - before,
    )


class Batch(NamedTuple):
    """Images of a subject to be attacked at once.

    Attributes:
        indices: (n,) in the subject.
        images, labels: these n.
        draws: their seeds.
        share: of the images to be attacked that are done after this batch, in [0, 1].
    """

    indices: Tensor
    images: Tensor
    labels: Tensor
    draws: Draws
    share: float


def batches(subject: Subject, left: Tensor, radius: Radius, attack: str) -> Iterator[Batch]:
    """Yield the images marked in `left`, (N,) booleans, with the draws that they have under an attack at a radius."""
    seed = stream_seed("attack", subject.seed, f"{radius.norm}/{radius.eps:g}/{attack}")
    seeds, indices = draws(seed, len(left)), left.nonzero().squeeze(1)
    size = subject.model.batch_size
    if attack in ANY_STEP:
        size = max(size, AT_ONCE // subject.images[0].numel())
    for number, batch in enumerate(indices.split(size) if len(indices) else (), start=1):
        share = min(1.0, number * size / len(indices))
        yield Batch(batch, subject.images[batch], subject.labels[batch], seeds.rows(batch.tolist()), share)


def attack_left(subject: Subject, left: Tensor, radius: Radius, attack: Attack) -> Iterator[tuple[Batch, Tensor]]:
    """Attack the images marked in `left`, (N,) booleans; yield each batch with what stood of it, (n,) booleans."""
    for batch in batches(subject, left, radius, attack.name):
        adversarial = perturb(
            subject.model,
            attack,
            radius.norm,
            radius.pixels,
            batch.images,
            batch.labels,
            batch.draws,
            subject.classes,
        )
        yield batch, predict(subject.model, adversarial, subject.model.batch_size) == batch.labels


def stands(subject: Subject, left: Tensor, radius: Radius, attack: Attack) -> Tensor:
    """Return which of the images marked in `left`, (N,) booleans, one attack left correct; (N,) booleans."""
    after = left.clone()
    for batch, stood in attack_left(subject, left, radius, attack):
        after[batch.indices] = stood
    return after


def refuse_too_few_classes(settings: Evaluation, classes: int) -> None:
    """Refuse a suite that cannot be made on so many classes, before anything is trained.

    Raises:
        UsageError: names the attack or check.
    """
    for radius, attack in suite(settings):
        refuse_impossible(attack, radius.norm, classes)
    if settings.checks and classes < CLASSES_NEEDED["apgd_t"]:
        raise UsageError(
            f"evaluation.checks runs the reference AutoAttack, which needs {CLASSES_NEEDED['apgd_t']} classes; there "
            f"are {classes}. Leave [evaluation.checks] out."
        )


def refuse_out_of_range(images: Tensor) -> None:
    """Refuse images that are not in [0, 1].

    Raises:
        DataError: with the range found.
    """
    if not (images.min() >= 0 and images.max() <= 1):
        low, high = float(images.min()), float(images.max())
        raise DataError(
            f"images to attack must be in [0, 1], these reach from {low:g} to {high:g}; divide bytes by 255."
        )
