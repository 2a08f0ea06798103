"""Evaluation: clean accuracy and calibration on all images; attacks, corruptions and checks on a fixed part of them."""

import contextlib
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.data.images import Images
from benchmark.data.load import Data, stratified_order, to_float
from benchmark.data.seeds import stream, stream_seed
from benchmark.evaluation import sanity_checks as sanity
from benchmark.evaluation.attacks import Victim, predict
from benchmark.evaluation.calibration import calibration
from benchmark.evaluation.corruptions import all_corruptions
from benchmark.evaluation.joint import Keep, Progress, Radius, Subject, at_once, attack_jointly
from benchmark.networks.build import eval_mode
from benchmark.records.outcomes import pack_bits, unpack_bits
from benchmark.records.schema import AttackOutcome, Calibration, Check, Corrupted, Noise, Outcomes, Robustness
from benchmark.runtime.distributed import ALONE, Group
from benchmark.runtime.errors import UsageError
from benchmark.settings.preset import Checks, Evaluation, Preset, Recipe
from benchmark.training.loop import autocast

CLEAN_BATCH = 500

Surrogate = Callable[[], nn.Module]


class Evaluated(NamedTuple):
    """What the evaluation of one network gives, ready for the record."""

    clean: Outcomes
    calibration: Calibration
    robustness: Robustness
    checks: list[Check]
    seconds: float


def evaluated_split(preset: Preset, data: Data) -> Images:
    """Return the split that the preset evaluates: the test set, or the validation set while something is chosen."""
    return data.test if preset.evaluation.split == "test" else data.validation


@torch.no_grad()
def clean_logits(recipe: Recipe, model: nn.Module, split: Images, part: range | None = None) -> tuple[Tensor, Tensor]:
    """Return (n, classes) logits, in eval mode and the training's precision, as float32, and the (n,) labels.

    `part` are the images of the split, all by default. The mode of every module is restored.

    Raises:
        FloatingPointError: logits are not finite.
    """
    device = next(model.parameters()).device
    batches = split.batches(range(len(split.labels)) if part is None else part, CLEAN_BATCH, device)
    with eval_mode(model), autocast(recipe, device), contextlib.closing(batches):
        found = [(model(to_float(images)).float(), labels) for images, labels in batches]
    logits, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    if broken := int((~logits.isfinite()).any(1).sum()):
        raise FloatingPointError(f"the network's logits are not finite for {broken} of {len(logits)} images")
    return logits, labels


def accuracy(recipe: Recipe, model: nn.Module, split: Images, group: Group = ALONE) -> float:
    """Return the share of the split's images that are classified correctly, in [0, 1]; a group divides them.

    Raises:
        FloatingPointError: logits are not finite, in any process.
    """
    mine = range(len(split.labels))[group.rank :: group.size]
    right, problem = 0, ""
    try:
        logits, labels = clean_logits(recipe, model, split, mine)
        right = int((logits.argmax(1) == labels).sum())
    except FloatingPointError as error:
        problem = str(error)
    if group.any(bool(problem)):
        raise FloatingPointError(problem or "the network's logits are not finite in another process")
    return group.sum(right)[0] / len(split.labels)


def attacked_images(preset: Preset, split: Images) -> list[int]:
    """Return the indices of the attacked images, the same for every arm and seed; every beginning is class-stratified.

    Raises:
        UsageError: the split has fewer images than the preset attacks.
    """
    data, wanted = preset.data, preset.evaluation.images
    if wanted > len(split.labels):
        raise UsageError(
            f"evaluation.images = {wanted}, but {data.dataset} has only {len(split.labels)} to evaluate on."
        )
    order = stratified_order(split.labels.cpu(), stream(data.name, data.split_seed, "attacked"))
    return [int(i) for i in order[:wanted]]


def evaluate(
    preset: Preset,
    seed: int,
    model: nn.Module,
    data: Data,
    surrogate: Surrogate,
    progress: Progress,
    kept: Keep = at_once,
) -> Evaluated:
    """Evaluate a network: clean accuracy and calibration on the whole split, then everything on the attacked images.

    Corruptions, noise and the costly checks run for the seeds that the preset's checks name (`Evaluation.is_checked`).

    Args:
        preset: gives attacks, data set and precision.
        seed: the run's.
        model: logits from uint8-scaled images in [0, 1]; it is not changed.
        data: on the model's device.
        surrogate: gives the network of the transfer attack; called only where the costly checks run.
        progress: told what is going on; what it raises ends the evaluation.
        kept: computes the costly parts, or has kept them.

    Raises:
        FloatingPointError: the network's logits are not finite.
        DataError, UsageError: see `attack_jointly`, `attacked_images`.
        RuntimeError: an attack changed the network or left the ball.
    """
    settings, split = preset.evaluation, evaluated_split(preset, data)
    logits, labels = clean_logits(preset.recipe, model, split)
    began = time.perf_counter()
    subject, chosen, attacked = make_subject(preset, seed, model, data)
    outcomes = attack_jointly(subject, settings, lambda text, share: progress(text, 0.7 * share), kept)
    curves = joint_curves(outcomes, len(chosen))
    corrupted, noise = list[Corrupted](), None
    if settings.is_checked(seed):
        progress("corruptions", 0.7)
        corrupted, noise = without_adversary(preset, subject, attacked, kept)
    else:
        settings = settings.model_copy(update={"checks": None})
    checks = all_checks(
        subject, settings, outcomes, curves, surrogate, lambda text, s: progress(text, 0.75 + 0.25 * s), kept
    )
    gradients = next(check["figures"] for check in checks if check["number"] == 6)
    in_order = np.argsort(chosen)  # records list images in the split's order
    return Evaluated(
        clean=Outcomes(n=len(logits), correct=pack_bits((logits.argmax(1) == labels).cpu().numpy())),
        calibration=calibration(logits, labels),
        robustness=Robustness(
            n=len(chosen),
            images=pack_bits(np.isin(np.arange(len(logits)), chosen)),
            clean=pack_bits(subject.clean.cpu().numpy()[in_order]),
            attacks=[{**o, "correct": reordered(o["correct"], in_order)} for o in outcomes],
            noise=noise,
            corruptions=corrupted,
            zero_gradient_share=gradients["zero gradients"],
            median_margin=gradients["median margin"],
        ),
        checks=checks,
        seconds=time.perf_counter() - began,
    )


def reordered(bits: str, order: "np.typing.NDArray[np.int64]") -> str:
    """Return packed outcomes in another order."""
    return pack_bits(unpack_bits(bits, len(order))[order])


def make_subject(preset: Preset, seed: int, model: nn.Module, data: Data) -> tuple[Subject, list[int], Tensor]:
    """Return what is attacked, in stratified order, the indices of its images in the evaluated split, and their bytes.

    Whether an image is right without attack is decided in float32, as under attack.
    """
    settings, split = preset.evaluation, evaluated_split(preset, data)
    chosen = attacked_images(preset, split)
    attacked, labels = split.pick(chosen, next(model.parameters()).device)
    images = attacked.float().div(255).contiguous()  # (n, C, H, W) in [0, 1]
    victim = Victim(model, settings.batch_size)
    clean = predict(victim, images, settings.batch_size) == labels
    draws = stream_seed(preset.data.name, seed, "evaluation")
    return Subject(victim, images, labels, clean, data.classes, draws), chosen, attacked


def joint_curves(outcomes: list[AttackOutcome], n: int) -> dict[str, dict[float, float]]:
    """Return norm -> eps -> joint robust accuracy in [0, 1]; the last attack of each eps has the joint outcome."""
    curves: dict[str, dict[float, float]] = {}
    for outcome in outcomes:
        share = float(unpack_bits(outcome["correct"], n).mean())
        curves.setdefault(outcome["norm"], {})[outcome["eps"]] = share
    return curves


def without_adversary(preset: Preset, subject: Subject, images: Tensor, kept: Keep) -> tuple[list[Corrupted], Noise]:
    """Count the images (N, C, H, W), uint8, that are right under corruptions, and under noise of the largest eps."""
    draws, eps = stream_seed(preset.data.name, 0, "corruptions"), preset.evaluation.eps[-1]
    corrupted = kept("corruptions", lambda: count_corrupted(subject, images, draws))
    right = kept("noise", lambda: int(sanity.stands_noise(subject, Radius("Linf", eps)).sum()))
    return corrupted, Noise(eps=eps, correct=right)


def count_corrupted(subject: Subject, images: Tensor, seed: int) -> list[Corrupted]:
    """Count the images (N, C, H, W), uint8, that are right under every corruption; the same ones for every network."""
    found: list[Corrupted] = []
    for kind, severity, changed in all_corruptions(images.cpu().numpy(), seed):
        batch = torch.from_numpy(changed).to(images.device).float().div(255)
        right = predict(subject.model, batch, subject.model.batch_size) == subject.labels
        found.append(Corrupted(kind=kind, severity=severity, correct=int(right.sum())))
    return found


def all_checks(
    subject: Subject,
    settings: Evaluation,
    outcomes: list[AttackOutcome],
    curves: dict[str, dict[float, float]],
    surrogate: Surrogate,
    progress: Progress,
    kept: Keep = at_once,
) -> list[Check]:
    """Return the outcomes of all sanity checks, of the costly ones only where the settings ask for them."""
    spend, n = settings.checks, len(subject.clean)
    radius = sanity.contested("Linf", curves["Linf"])
    few = subject.part(torch.arange(min(spend.images if spend else 0, n), device=subject.clean.device))
    lines = {norm: list(curve.values()) for norm, curve in curves.items()}
    losses = max((o["fooled"] / n for o in after_cross_entropy(outcomes)), default=None)
    clean = float(subject.clean.float().mean())
    found = [sanity.unchanged(subject), sanity.logits(subject), sanity.nothing_at_zero(subject)]
    progress("check 4", 0.0)
    extreme = kept("check 4", lambda: sanity.extreme(few, settings)) if spend else None
    found.append(sanity.falls(clean, lines, extreme))
    found.append(sanity.gradients(subject, losses))
    if spend is None:
        return found
    stood = standing(outcomes, radius, n).to(subject.clean.device)
    less = subject.part(torch.arange(min(spend.repeated, n), device=subject.clean.device))
    costly: list[tuple[str, Callable[[], Check]]] = [
        ("check 5", lambda: sanity.ordered(few, radius)),
        ("check 7", lambda: sanity.scale_free(few, radius)),
        ("check 8: Square", lambda: sanity.black_box(few, stood[: len(few.clean)], radius, spend.square_queries)),
        ("check 9", lambda: sanity.converged(less, stood[: len(less.clean)], radius, settings, spend.long_steps)),
        ("check 10", lambda: sanity.transfer(few, stood[: len(few.clean)], radius, surrogate)),
        ("the reference AutoAttack", lambda: run_reference(less, stood[: len(less.clean)], radius, spend)),
    ]
    for number, (text, run) in enumerate(costly, start=1):
        progress(f"{text} at {radius}", number / (len(costly) + 1))
        found.append(kept(text, run))
    return sorted(found, key=lambda check: check["number"])


def run_reference(subject: Subject, left: Tensor, radius: Radius, spend: Checks) -> Check:
    """Run the reference AutoAttack with the steps and queries of the settings."""
    return sanity.reference(subject, left, radius, spend.reference_steps, spend.reference_queries)


def after_cross_entropy(outcomes: list[AttackOutcome]) -> list[AttackOutcome]:
    """Return the outcomes of APGD-DLR that come after one of APGD-CE at the same radius."""
    radii, found = set(), []
    for outcome in outcomes:
        radius = outcome["norm"], outcome["eps"]
        if outcome["attack"] == "apgd_ce":
            radii.add(radius)
        elif outcome["attack"] == "apgd_dlr" and radius in radii:
            found.append(outcome)
    return found


def standing(outcomes: list[AttackOutcome], radius: Radius, n: int) -> Tensor:
    """Return which of n images all attacks at a radius left correct, (n,) booleans."""
    last = [o for o in outcomes if o["norm"] == radius.norm and o["eps"] == radius.eps][-1]
    return torch.from_numpy(unpack_bits(last["correct"], n))
