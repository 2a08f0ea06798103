"""Sanity checks of robustness figures: each says what it measured, and raises a flag where something is odd.

Sources: Carlini et al., "On Evaluating Adversarial Robustness", arXiv:1902.06705; Athalye et al., arXiv:1802.00420,
section 3.1; Croce and Hein, arXiv:2003.01690; Pintor et al., arXiv:2106.09947. The limits beyond which a flag is raised
are ours.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.data.seeds import stream_seed
from benchmark.evaluation.attacks import Norm, Victim, perturb, predict
from benchmark.evaluation.autoattack import stands_reference
from benchmark.evaluation.image_draws import ImageStreams, draws, isolated_generators
from benchmark.evaluation.joint import Radius, Subject, stands
from benchmark.networks.build import state_hash
from benchmark.records.schema import Check
from benchmark.settings.preset import Attack, Evaluation

PGD = Attack(name="pgd", steps=20)
FGSM = Attack(name="fgsm", steps=1)
EXTREME = Radius("Linf", 64.0)
SCALES = (0.1, 1.0, 10.0)
NOISE_DRAWS = 10
AT_ZERO = 64  # images of check 3
CONTESTED = 0.1  # share of images that must stand at the eps where the checks look for a stronger attack

ZERO_GRADIENTS = 0.01  # limits: share of images
LOSSES = 0.1  # an adversarially trained network shows 0.03 to 0.05 here and in SCALE, one that hides gradients 0.3
ODD_IMAGES = 0.02
SCALE = 0.1
BLACK_BOX = 0.002  # of Square


def check(number: int, name: str, figures: Mapping[str, float], flag: str | None) -> Check:
    """Return a check's outcome, its figures rounded to four digits after the point."""
    return Check(number=number, name=name, figures={k: round(float(v), 4) for k, v in figures.items()}, flag=flag)


def many(odd: int, images: int, share: float = ODD_IMAGES) -> bool:
    """Say whether so many odd images are more than a share of all, and more than one."""
    return odd > max(1, share * images)


def contested(norm: Norm, robust: Mapping[float, float]) -> Radius:
    """Return the radius where the checks look: the largest at which a tenth of the images still stand.

    There a stronger attack would have most to break. The smallest radius where none leaves a tenth.

    Args:
        norm: of the radius.
        robust: eps, in rising order -> joint robust accuracy in [0, 1].
    """
    return Radius(norm, max((eps for eps, share in robust.items() if share >= CONTESTED), default=min(robust)))


def unchanged(subject: Subject) -> Check:
    """1: all modules in eval mode; a forward pass changes neither the network's state nor the global generator.

    That no attack changes the network's state is asserted after each (`attacks.perturb`).
    """
    training = sum(module.training for module in subject.model.modules())
    with isolated_generators():
        torch.manual_seed(0)
        before, generator = state_hash(subject.model), torch.get_rng_state()
        predict(subject.model, subject.images[: subject.model.batch_size], subject.model.batch_size)
        state = state_hash(subject.model) != before
        drew = not torch.equal(torch.get_rng_state(), generator)
    problems = [
        *([f"{training} modules are in training mode"] if training else []),
        *(["a forward pass changes parameters or buffers"] if state else []),
        *(["a forward pass draws random numbers"] if drew else []),
    ]
    figures = {"training modules": training, "state changed": state, "random draws": drew}
    return check(1, "state", figures, "; ".join(problems) or None)


@torch.no_grad()
def logits(subject: Subject) -> Check:
    """2: two forward passes agree, and their outputs are logits, not probabilities."""
    images = subject.images[: subject.model.batch_size]
    first, second = subject.model(images), subject.model(images)
    difference = float((first - second).abs().max()) / max(float(first.abs().max()), 1e-12)
    sums, smallest = first.sum(1), float(first.min())
    probabilities = smallest >= 0 and bool((sums - 1).abs().max() < 1e-3)
    problems = [
        *(["two forward passes differ, so its gradients are noisy"] if difference > 1e-5 else []),
        *(["it returns probabilities; leave out the softmax and return logits"] if probabilities else []),
    ]
    figures = {"relative difference": difference, "probabilities": probabilities}
    return check(2, "logits", figures, "; ".join(problems) or None)


def nothing_at_zero(subject: Subject) -> Check:
    """3: attacks with eps = 0 leave the images as they are and fool nobody.

    That every perturbation is in the ball, in [0, 1] and a number is asserted batch by batch (`attacks.perturb`).
    """
    n = min(len(subject.clean), subject.model.batch_size, AT_ZERO)
    few = subject.part(torch.arange(n, device=subject.clean.device))
    lost = [int((few.clean & ~stands(few, few.clean, Radius("Linf", 0.0), attack)).sum()) for attack in (FGSM, PGD)]
    flag = f"attacks with eps = 0 fool {max(lost)} of {len(few.clean)} images" if any(lost) else None
    return check(3, "eps = 0", {"FGSM fooled": lost[0], "PGD fooled": lost[1]}, flag)


def falls(clean: float, curves: dict[str, list[float]], extreme: float | None) -> Check:
    """4: accuracy falls with eps in each norm, and is about 0 at 64/255.

    Args:
        clean: accuracy without attack, in [0, 1].
        curves: norm -> robust accuracy at rising eps, in [0, 1].
        extreme: robust accuracy at 64/255, None where it was not measured.
    """
    problems, rise = [], 0.0
    for norm, curve in curves.items():
        rises = [later - earlier for earlier, later in zip((clean, *curve), curve, strict=False)]
        rise = max([rise, *rises])
        if max(rises, default=0.0) > 0:
            problems.append(f"robust accuracy rises with eps ({norm}, by {max(rises):.1%})")
    figures = {"largest rise": rise}
    if extreme is not None:
        figures["at 64/255"] = extreme
        if extreme > ODD_IMAGES:
            problems.append(f"accuracy is still {extreme:.1%} at Linf 64/255, where no network can hold")
    return check(4, "monotone", figures, "; ".join(problems) or None)


def extreme(subject: Subject, settings: Evaluation) -> float:
    """Return the share of images that stand under the whole Linf suite at 64/255."""
    left = subject.clean
    for attack in settings.attacks:
        left = stands(subject.in_batches_for(int(left.sum())), left, EXTREME, attack)
    return float(left.float().mean())


def ordered(subject: Subject, radius: Radius) -> Check:
    """5: an image that random noise fools, FGSM fools too, and one that FGSM fools, PGD fools."""
    noise = stands_noise(subject, radius)
    fgsm, pgd = (stands(subject, subject.clean, radius, attack) for attack in (FGSM, PGD))
    odd = int((fgsm & ~noise | pgd & ~fgsm).sum())
    n = len(subject.clean)
    figures = {name: float(t.float().mean()) for name, t in (("noise", noise), ("FGSM", fgsm), ("PGD", pgd))}
    flag = f"{odd} of {n} images stand against a stronger attack at {radius} and fall to a weaker one"
    return check(5, "order of attacks", figures | {"odd images": odd}, flag if many(odd, n) else None)


def stands_noise(subject: Subject, radius: Radius) -> Tensor:
    """Return which images (N,) are right under each of ten draws of uniform noise in the Linf ball."""
    seeds, left = draws(stream_seed("noise", subject.seed, str(radius)), NOISE_DRAWS), subject.clean.clone()
    for seed in seeds.images:
        with ImageStreams(draws(seed, len(left)).images):
            noise = torch.empty_like(subject.images).uniform_(-radius.pixels, radius.pixels)
        noisy = (subject.images + noise).clamp(0, 1)
        left &= predict(subject.model, noisy, subject.model.batch_size) == subject.labels
    return left


def gradients(subject: Subject, losses: float | None) -> Check:
    """6: few gradients are exactly zero, and cross-entropy and DLR find about the same.

    A loss on saturated logits looks robust to FGSM, PGD and APGD-CE while it only hides its gradient (Croce and Hein,
    arXiv:2003.01690, section 4).

    Args:
        subject: what is attacked.
        losses: largest share of images, over eps, that withstood APGD-CE and fell to APGD-DLR; None where the suite
            does not have both in this order.
    """
    zero, margins, size = 0, [], subject.model.batch_size
    for x, y in zip(subject.images.split(size), subject.labels.split(size), strict=True):
        x = x.clone().requires_grad_()
        outputs = subject.model(x)
        (gradient,) = torch.autograd.grad(F.cross_entropy(outputs, y, reduction="sum"), x)
        zero += int((gradient.flatten(1).abs().amax(1) == 0).sum())
        true = outputs.detach().gather(1, y[:, None]).squeeze(1)
        others = outputs.detach().scatter(1, y[:, None], float("-inf")).amax(1)
        margins.append(true - others)
    share = zero / len(subject.labels)
    problems = [
        *([f"{share:.1%} of the images have a cross-entropy gradient of exactly 0"] if share > ZERO_GRADIENTS else []),
        *([f"APGD-DLR fools {losses:.1%} of the images after APGD-CE failed"] if (losses or 0) > LOSSES else []),
    ]
    figures = {"zero gradients": share, "median margin": float(torch.cat(margins).median())}
    figures |= {} if losses is None else {"CE - DLR": losses}
    return check(6, "gradients", figures, "; ".join(problems) or None)


class Scaled(nn.Module):
    """A network with its logits multiplied by a constant: the same predictions, another cross-entropy."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, images: Tensor) -> Tensor:
        """Return the scaled logits (N, classes)."""
        outputs: Tensor = self.model(images) * self.scale
        return outputs


def scale_free(subject: Subject, radius: Radius) -> Check:
    """7: PGD finds as much with the logits as they are as with logits x0.1 or x10.

    Where it finds less, the cross-entropy is saturated, or too flat, and PGD and APGD-CE flatter the network; what
    APGD-DLR finds does not change with the scale. Logits so large that a tenth of them is saturated too pass here and
    fail check 6.
    """
    accuracy = {}
    for scale in SCALES:
        scaled = subject._replace(model=Victim(Scaled(subject.model.model, scale), subject.model.batch_size))
        accuracy[scale] = float(stands(scaled, subject.clean, radius, PGD).float().mean())
    hidden = accuracy[1.0] - min(accuracy.values())
    flag = f"PGD leaves {hidden:.1%} more images standing at {radius} than with its logits scaled: it flatters them"
    figures = {f"PGD, logits x{scale:g}": value for scale, value in accuracy.items()}
    return check(7, "logit scale", figures, flag if hidden > SCALE else None)


def black_box(subject: Subject, left: Tensor, radius: Radius, queries: int) -> Check:
    """8: Square, which uses no gradient, fools next to none of the images that gradient attacks left standing."""
    subject = subject.in_batches_for(int(left.sum()))
    fooled = int((left & ~stands(subject, left, radius, Attack(name="square", steps=queries))).sum())
    n = len(left)
    flag = f"Square fools {fooled} of {n} images at {radius} that gradient attacks left standing: gradients are masked"
    figures = {"fooled": fooled, "stood": int(left.sum()), "images": n}
    return check(8, "black box", figures, flag if many(fooled, n, BLACK_BOX) else None)


def converged(subject: Subject, left: Tensor, radius: Radius, settings: Evaluation, steps: int) -> Check:
    """9: the suite with many more steps fools no more images."""
    after, subject = left, subject.in_batches_for(int(left.sum()))
    for attack in settings.attacks:
        if attack.steps > 1:
            after = stands(subject, after, radius, Attack(name=attack.name, steps=max(steps, attack.steps)))
    fooled, n = int((left & ~after).sum()), len(left)
    flag = f"with {steps} steps the attacks fool {fooled} more of {n} images at {radius}: they had not converged"
    figures = {"fooled": fooled, "stood": int(left.sum()), "images": n}
    return check(9, "more steps", figures, flag if many(fooled, n) else None)


def transfer(subject: Subject, left: Tensor, radius: Radius, surrogate: Callable[[], nn.Module]) -> Check:
    """10: PGD on another network fools fewer images, and next to none that withstood the white-box attacks.

    Args:
        subject: what is attacked.
        left: (N,) booleans, what the suite left standing.
        radius: of the ball.
        surrogate: gives the same kind of network, trained from another seed.
    """
    other = subject._replace(model=Victim(surrogate(), subject.model.batch_size))
    after = subject.clean.clone()
    seeds = draws(stream_seed("transfer", subject.seed, str(radius)), len(left))
    for batch in torch.arange(len(left), device=left.device).split(subject.model.batch_size):
        x, y = subject.images[batch], subject.labels[batch]
        moved = perturb(other.model, PGD, "Linf", radius.pixels, x, y, seeds.rows(batch.tolist()), subject.classes)
        after[batch] &= predict(subject.model, moved, subject.model.batch_size) == y
    odd, n = int((left & ~after).sum()), len(left)
    problems = [
        *([f"images made for another network fool {odd} of {n} that stood at {radius}"] if many(odd, n) else []),
        *(["a transfer attack is stronger than the white-box attacks"] if after.sum() < left.sum() else []),
    ]
    figures = {"transfer": float(after.float().mean()), "white box": float(left.float().mean()), "odd images": odd}
    return check(10, "transfer", figures, "; ".join(problems) or None)


def reference(subject: Subject, left: Tensor, radius: Radius, steps: int, queries: int) -> Check:
    """11: the reference AutoAttack (standard, 100 steps), another package, fools next to none that the suite left."""
    fooled, n = int((left & ~stands_reference(subject, left, radius, steps, queries)).sum()), len(left)
    flag = f"the reference AutoAttack fools {fooled} more of {n} images at {radius} than the suite: it is too weak"
    figures = {"fooled": fooled, "stood": int(left.sum()), "images": n}
    return check(11, "reference AutoAttack", figures, flag if many(fooled, n) else None)
