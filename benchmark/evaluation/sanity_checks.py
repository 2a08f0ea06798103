"""The functions of SANITY_CHECKS: each measures figures of an evaluation and names what is suspicious in them.

Sources: Carlini et al., "On Evaluating Adversarial Robustness", arXiv:1902.06705; Athalye et al., arXiv:1802.00420,
section 3.1; Croce and Hein, arXiv:2003.01690; Pintor et al., arXiv:2106.09947. The limits beyond which a flag is raised
are ours; they are in the rows of `benchmark.evaluation.catalogue`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from numbers import Real
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.data.seeds import stream_seed
from benchmark.evaluation.attacks import FrozenModel, Radius, perturb, predict
from benchmark.evaluation.autoattack import reference_survivors
from benchmark.evaluation.catalogue import SANITY_CHECKS, Norm
from benchmark.evaluation.image_draws import ImageStreams, draws, isolated_generators
from benchmark.evaluation.joint import (
    AttackedSet,
    Cache,
    Progress,
    joint_curves,
    joint_survivors,
    no_cache,
    survivors,
)
from benchmark.networks.build import state_hash
from benchmark.records.schema import AttackOutcome, Check
from benchmark.runtime.errors import own_words
from benchmark.settings.names import load
from benchmark.settings.preset import Attack, Checks, Evaluation

PGD = Attack(name="pgd", steps=20)
FGSM = Attack(name="fgsm", steps=1)
EXTREME = Radius("Linf", 64.0)
SCALES = (0.1, 1.0, 10.0)
NOISE_DRAWS = 10
AT_ZERO = 64  # images attacked with eps = 0
CONTESTED = 0.1  # share of images that must survive at the eps where the checks look for a stronger attack

Surrogate = Callable[[], nn.Module]


class Case(NamedTuple):
    """What a check sees of an evaluation.

    Attributes:
        attacked: the N images, or the first of them for a costly check.
        left: (N,) booleans, images that survived the suite at `radius`.
        radius: where costly checks attack, see `contested`.
        outcomes: the suite's, of all attacked images.
        settings: the evaluation's.
        surrogate: returns another network of the same kind, for the transfer attack.
    """

    attacked: AttackedSet
    left: Tensor
    radius: Radius
    outcomes: Sequence[AttackOutcome]
    settings: Evaluation
    surrogate: Surrogate

    def first(self, setting: str | None) -> "Case":
        """Return the case of the first images, as many as a setting of [evaluation.checks] has; None: all of them."""
        if setting is None:
            return self
        n = min(int(getattr(self.spend, setting)), len(self.left))
        return self._replace(attacked=self.attacked.part(torch.arange(n, device=self.left.device)), left=self.left[:n])

    @property
    def spend(self) -> Checks:
        """The settings of costly checks, which run only where the preset has them."""
        assert self.settings.checks is not None
        return self.settings.checks


class Found(NamedTuple):
    """The result of a check: its figures, and the text of each flag with whether it is raised."""

    figures: Mapping[str, float]
    flags: Mapping[str, bool]


def case_of(
    attacked: AttackedSet, settings: Evaluation, outcomes: Sequence[AttackOutcome], surrogate: Surrogate
) -> Case:
    """Return the case of an evaluation whose suite has been run."""
    n = len(attacked.clean)
    radius = contested("Linf", joint_curves(outcomes, n)["Linf"])
    left = joint_survivors(outcomes, radius, n).to(attacked.clean.device)
    return Case(attacked, left, radius, outcomes, settings, surrogate)


def run_checks(case: Case, progress: Progress, cache: Cache = no_cache) -> list[Check]:
    """Run every check, the costly ones only where the settings have [evaluation.checks]."""
    rows = [(name, row) for name, row in SANITY_CHECKS.items() if case.settings.checks or row.images is None]
    found = []
    for done, (name, row) in enumerate(rows):
        title = f"check {row.number} ({name})"
        progress(f"{title} at {case.radius}" if row.images else title, done / len(rows))
        found.append(cache(title, partial(run_check, name, case)))
    return found


def run_check(name: str, case: Case) -> Check:
    """Run one check of SANITY_CHECKS; figures are rounded to four decimal places.

    Raises:
        RuntimeError: the check failed, returned no `Found`, or a figure that is no finite number.
    """
    row = SANITY_CHECKS[name]
    title = f"check {row.number} ({name})"
    with own_words(RuntimeError, f"{title} failed"):
        found = load(row.target)(case.first(row.images), **row.limits)
    if not isinstance(found, Found):
        raise RuntimeError(f"{title} returned a {type(found).__name__}; it must return a Found (figures, flags).")
    if wrong := [key for key, value in found.figures.items() if not (isinstance(value, Real) and math.isfinite(value))]:
        listed = ", ".join(f"{key!r} is {found.figures[key]!r}" for key in wrong)
        raise RuntimeError(f"{title}: {listed}; figures must be finite numbers, and one without a value is left out.")
    figures = {key: round(float(value), 4) for key, value in found.figures.items()}
    flag = "; ".join(text for text, raised in found.flags.items() if raised)
    return Check(number=row.number, name=name, figures=figures, flag=flag or None)


def contested(norm: Norm, robust: Mapping[float, float]) -> Radius:
    """Return the largest radius at which a tenth of the images survive, where a stronger attack could break most.

    The smallest radius where none leaves a tenth.

    Args:
        norm: of the radius.
        robust: eps, in rising order -> joint robust accuracy in [0, 1].
    """
    return Radius(norm, max((eps for eps, share in robust.items() if share >= CONTESTED), default=min(robust)))


def _many(count: int, images: int, share: float) -> bool:
    """Return whether a number of suspicious images is more than a share of all, and more than one."""
    return count > max(1, share * images)


def _share(images: Tensor) -> float:
    """Return the share of True in double precision, like joint curves; in float32, 0.9 would be less than 0.9."""
    return int(images.sum()) / len(images)


def _fooled_after_suite(case: Case, after: Tensor, odd: float, flag: str) -> Found:
    """Return the result of one more attack after the suite; `after`: (N,) booleans, the survivors of both."""
    fooled, n = int((case.left & ~after).sum()), len(case.left)
    text = flag.format(fooled=fooled, n=n, radius=case.radius)
    return Found({"fooled": fooled, "stood": int(case.left.sum()), "images": n}, {text: _many(fooled, n, odd)})


def state(case: Case) -> Found:
    """Run the network once, with its modes, state and the global generator before and after.

    That no attack changes the network's state is asserted after each (`attacks.perturb`).
    """
    model, images = case.attacked.model, case.attacked.images
    training = sum(module.training for module in model.modules())
    with isolated_generators():
        torch.manual_seed(0)
        before, generator = state_hash(model), torch.get_rng_state()
        predict(model, images[: model.batch_size])
        changed = state_hash(model) != before
        drew = not torch.equal(torch.get_rng_state(), generator)
    return Found(
        {"training modules": training, "state changed": changed, "random draws": drew},
        {
            f"{training} modules are in training mode": training > 0,
            "a forward pass changes parameters or buffers": changed,
            "a forward pass draws random numbers": drew,
        },
    )


@torch.no_grad()
def logits(case: Case, difference: float) -> Found:
    """Run one batch twice; probabilities are outputs >= 0 that sum up to 1."""
    model = case.attacked.model
    images = case.attacked.images[: model.batch_size]
    first, second = model(images), model(images)
    found = float((first - second).abs().max()) / max(float(first.abs().max()), 1e-12)
    probabilities = float(first.min()) >= 0 and bool((first.sum(1) - 1).abs().max() < 1e-3)
    return Found(
        {"relative difference": found, "probabilities": probabilities},
        {
            "two forward passes differ, so its gradients are noisy": found > difference,
            "it returns probabilities; leave out the softmax and return logits": probabilities,
        },
    )


def zero_eps(case: Case) -> Found:
    """Attack the first images with eps = 0.

    That every perturbation is in the ball, in [0, 1] and a number is asserted batch by batch (`attacks.perturb`).
    """
    n = min(len(case.left), case.attacked.model.batch_size, AT_ZERO)
    first = case.attacked.part(torch.arange(n, device=case.left.device))
    fooled = [
        int((first.clean & ~survivors(first, first.clean, Radius("Linf", 0.0), attack)).sum()) for attack in (FGSM, PGD)
    ]
    return Found(
        {"FGSM fooled": fooled[0], "PGD fooled": fooled[1]},
        {f"attacks with eps = 0 fool {max(fooled)} of {n} images": any(fooled)},
    )


def monotone(case: Case, extreme: float) -> Found:
    """Look for rises in the joint curve of each norm; where costly checks run, attack at 64/255 too."""
    clean, flags, rise = _share(case.attacked.clean), dict[str, bool](), 0.0
    for norm, curve in joint_curves(case.outcomes, len(case.left)).items():
        values = [clean, *curve.values()]
        largest = max(later - earlier for earlier, later in pairwise(values))
        rise = max(rise, largest)
        flags[f"robust accuracy rises with eps ({norm}, by {largest:.1%})"] = largest > 0
    if case.settings.checks is None:
        return Found({"largest rise": rise}, flags)
    left = extreme_accuracy(case.first("images"))
    flags[f"accuracy is still {left:.1%} at {EXTREME}, where no network can hold"] = left > extreme
    return Found({"largest rise": rise, "at 64/255": left}, flags)


def extreme_accuracy(case: Case) -> float:
    """Return the share of images that survive the whole Linf suite at 64/255."""
    attacked, left = case.attacked, case.attacked.clean
    for attack in case.settings.attacks:
        left = survivors(attacked.in_batches_for(int(left.sum())), left, EXTREME, attack)
    return _share(left)


def order_of_attacks(case: Case, odd: float) -> Found:
    """Count the images that random noise fools and FGSM does not, or that FGSM fools and PGD does not."""
    attacked, n = case.attacked, len(case.left)
    noise = noise_survivors(attacked, case.radius)
    fgsm, pgd = (survivors(attacked, attacked.clean, case.radius, attack) for attack in (FGSM, PGD))
    count = int((fgsm & ~noise | pgd & ~fgsm).sum())
    flag = f"{count} of {n} images survive a stronger attack at {case.radius} and fall to a weaker one"
    return Found(
        {"noise": _share(noise), "FGSM": _share(fgsm), "PGD": _share(pgd), "odd images": count},
        {flag: _many(count, n, odd)},
    )


def noise_survivors(attacked: AttackedSet, radius: Radius) -> Tensor:
    """Return which images, (N,) booleans, are right under each of ten draws of uniform noise in the Linf ball."""
    seeds, left = draws(stream_seed("noise", attacked.seed, str(radius)), NOISE_DRAWS), attacked.clean.clone()
    for seed in seeds.images:
        with ImageStreams(draws(seed, len(left)).images):
            noise = torch.empty_like(attacked.images).uniform_(-radius.pixels, radius.pixels)
        noisy = (attacked.images + noise).clamp(0, 1)
        left &= predict(attacked.model, noisy) == attacked.labels
    return left


def gradients(case: Case, zero: float, missed: float) -> Found:
    """Count gradients that are exactly 0, and what APGD-DLR fooled after APGD-CE.

    A loss on saturated logits looks robust to FGSM, PGD and APGD-CE while it only hides its gradient (Croce and Hein,
    arXiv:2003.01690, section 4).
    """
    model, zeros, margins = case.attacked.model, 0, []
    batches = (values.split(model.batch_size) for values in (case.attacked.images, case.attacked.labels))
    for images, labels in zip(*batches, strict=True):
        x = images.clone().requires_grad_()
        outputs = model(x)
        (gradient,) = torch.autograd.grad(F.cross_entropy(outputs, labels, reduction="sum"), x)
        zeros += int((gradient.flatten(1).abs().amax(1) == 0).sum())
        true = outputs.detach().gather(1, labels[:, None]).squeeze(1)
        others = outputs.detach().scatter(1, labels[:, None], float("-inf")).amax(1)
        margins.append(true - others)
    share = zeros / len(case.left)
    figures = {"zero gradients": share, "median margin": float(torch.cat(margins).median())}
    flags = {f"{share:.1%} of the images have a cross-entropy gradient of exactly 0": share > zero}
    if later := _dlr_after_cross_entropy(case.outcomes):
        fooled = max(outcome["fooled"] / len(case.left) for outcome in later)
        figures["CE - DLR"] = fooled
        flags[f"APGD-DLR fools {fooled:.1%} of the images after APGD-CE failed"] = fooled > missed
    return Found(figures, flags)


def _dlr_after_cross_entropy(outcomes: Sequence[AttackOutcome]) -> list[AttackOutcome]:
    """Return the outcomes of APGD-DLR that come after one of APGD-CE at the same radius."""
    radii, found = set(), []
    for outcome in outcomes:
        radius = outcome["norm"], outcome["eps"]
        if outcome["attack"] == "apgd_ce":
            radii.add(radius)
        elif outcome["attack"] == "apgd_dlr" and radius in radii:
            found.append(outcome)
    return found


class Scaled(nn.Module):
    """A network with its logits multiplied by a constant: the same predictions, another cross-entropy."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, images: Tensor) -> Tensor:
        """Return the scaled logits (N, classes)."""
        outputs: Tensor = self.model(images) * self.scale
        return outputs


def logit_scale(case: Case, hidden: float) -> Found:
    """Attack by PGD with the logits times 0.1, 1 and 10.

    Where PGD finds less with the logits as they are, the cross-entropy is saturated, or too flat, and PGD and APGD-CE
    flatter the network; the outcome of APGD-DLR does not change with the scale. Logits so large that a tenth of them is
    saturated too pass here and fail the check of gradients.
    """
    attacked, accuracy = case.attacked, dict[float, float]()
    for scale in SCALES:
        scaled = FrozenModel(Scaled(attacked.model.model, scale), attacked.model.batch_size)
        accuracy[scale] = _share(survivors(attacked._replace(model=scaled), attacked.clean, case.radius, PGD))
    more = accuracy[1.0] - min(accuracy.values())
    flag = f"{more:.1%} more images survive PGD at {case.radius} than with its logits scaled: PGD flatters the network"
    return Found({f"PGD, logits x{scale:g}": value for scale, value in accuracy.items()}, {flag: more > hidden})


def black_box(case: Case, odd: float) -> Found:
    """Attack the survivors of the suite by Square."""
    square = Attack(name="square", steps=case.spend.square_queries)
    attacked = case.attacked.in_batches_for(int(case.left.sum()))
    after = survivors(attacked, case.left, case.radius, square)
    flag = "Square fools {fooled} of {n} images at {radius} that survived gradient attacks: gradients are masked"
    return _fooled_after_suite(case, after, odd, flag)


def more_steps(case: Case, odd: float) -> Found:
    """Attack the survivors by every attack of the suite that takes steps, with `long_steps` at least."""
    steps, after = case.spend.long_steps, case.left
    attacked = case.attacked.in_batches_for(int(case.left.sum()))
    for attack in case.settings.attacks:
        if attack.steps > 1:
            longer = Attack(name=attack.name, steps=max(steps, attack.steps))
            after = survivors(attacked, after, case.radius, longer)
    flag = f"with {steps} steps the attacks fool {{fooled}} more of {{n}} images at {{radius}}: they had not converged"
    return _fooled_after_suite(case, after, odd, flag)


def transfer(case: Case, odd: float) -> Found:
    """Attack the surrogate by PGD, and let the network classify the images that come out."""
    attacked, radius, n = case.attacked, case.radius, len(case.left)
    other = FrozenModel(case.surrogate(), attacked.model.batch_size)
    after = attacked.clean.clone()
    seeds = draws(stream_seed("transfer", attacked.seed, str(radius)), n)
    for batch in torch.arange(n, device=after.device).split(other.batch_size):
        x, y = attacked.images[batch], attacked.labels[batch]
        moved = perturb(other, PGD, radius, x, y, seeds.rows(batch.tolist()), attacked.classes)
        after[batch] &= predict(attacked.model, moved) == y
    count = int((case.left & ~after).sum())
    weaker = bool(after.sum() >= case.left.sum())
    return Found(
        {"transfer": _share(after), "white box": _share(case.left), "odd images": count},
        {
            f"images made for another network fool {count} of {n} that survived at {radius}": _many(count, n, odd),
            "a transfer attack is stronger than the white-box attacks": not weaker,
        },
    )


def reference_autoattack(case: Case, odd: float) -> Found:
    """Attack the survivors of the suite by the reference AutoAttack."""
    steps, queries = case.spend.reference_steps, case.spend.reference_queries
    after = reference_survivors(case.attacked, case.left, case.radius, steps, queries)
    flag = "the reference AutoAttack fools {fooled} more of {n} images at {radius} than the suite: it is too weak"
    return _fooled_after_suite(case, after, odd, flag)


@torch.no_grad()
def batch(case: Case, difference: float) -> Found:
    """Compare the logits of the first images in a batch with theirs in other batches, without filling these up.

    Batches of another shape change the last bits of float32 sums: alone, images had logits that differed by 1e-6 of
    their range in ResNet-50 and by 3e-7 in smaller networks, on a CPU. The limit leaves room for other convolution
    algorithms; a dependence below it turns only images whose margin is as small.
    """
    model = case.attacked.model.model
    images = case.attacked.images[: min(case.attacked.model.batch_size, AT_ZERO)]
    together, n = model(images), len(images)
    others = {
        "alone": torch.cat([model(image) for image in images.split(1)]),
        "reversed": model(images.flip(0)).flip(0),
        "among others": model(torch.cat([images, 1 - images]))[:n],
    }
    with torch.enable_grad():
        others["with gradients"] = model(images.clone().requires_grad_()).detach()
    scale = max(float((together - together.mean(1, keepdim=True)).abs().max()), 1e-12)
    figures = {name: float((logits - together).abs().max()) / scale for name, logits in others.items()}
    with_gradients = figures["with gradients"]
    largest = max(value for name, value in figures.items() if name != "with gradients")
    return Found(
        figures,
        {
            f"the logits of an image depend on its batch (by {largest:.1%}): BatchNorm without running statistics, "
            "layers in training mode or statistics of the batch": largest > difference,
            f"logits differ where gradients are computed (by {with_gradients:.1%})": with_gradients > difference,
        },
    )
