"""Evaluation: clean accuracy and calibration on all images; attacks, corruptions and checks on a fixed part of them."""

import contextlib
import time
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.data.images import Images
from benchmark.data.load import Data, stratified_order, to_float
from benchmark.data.seeds import stream, stream_seed
from benchmark.evaluation.attacks import FrozenModel, Radius, predict
from benchmark.evaluation.corruptions import all_corruptions
from benchmark.evaluation.joint import AttackedSet, Cache, Progress, attack_jointly, no_cache
from benchmark.evaluation.sanity_checks import Surrogate, case_of, noise_survivors, run_checks
from benchmark.networks.build import device_of, eval_mode
from benchmark.records.outcomes import pack_bits, unpack_bits
from benchmark.records.schema import Calibration, Check, Corrupted, Noise, Outcomes, Robustness
from benchmark.runtime.distributed import ALONE, Group
from benchmark.runtime.errors import UsageError
from benchmark.settings.preset import Preset, Recipe
from benchmark.training.loop import autocast

CLEAN_BATCH = 500
BINS = 15  # of calibration


class Evaluated(NamedTuple):
    """The outcomes of one network as its record has them, and the seconds of all but the clean accuracy."""

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
    device = device_of(model)
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
        if mine:  # of more processes than images, some have none
            logits, labels = clean_logits(recipe, model, split, mine)
            right = int((logits.argmax(1) == labels).sum())
    except FloatingPointError as error:
        problem = str(error)
    if group.any(bool(problem)):
        raise FloatingPointError(problem or "the network's logits are not finite in another process")
    return group.sum(right)[0] / len(split.labels)


def calibration(logits: Tensor, labels: Tensor) -> Calibration:
    """Return the expected calibration error and the negative log-likelihood.

    ECE = sum over bins b of n_b / n * |accuracy_b - confidence_b|, where confidence is the largest softmax
    probability and the 15 bins divide (0, 1] evenly: the plug-in estimator of Guo et al., ICML 2017,
    arXiv:1706.04599, section 2. It is biased upwards, by less the more images there are. NLL is the mean of
    -log p(label), in nats.

    Args:
        logits: (N, classes).
        labels: (N,) true classes.
    """
    logits = logits.double()
    confidence, predicted = logits.softmax(1).max(1)
    correct = (predicted == labels).double()
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1  # (N,) right-closed
    gap = torch.zeros(BINS, dtype=torch.double, device=logits.device).index_add_(0, bins, correct - confidence)
    return Calibration(
        n=len(labels),
        bins=BINS,
        ece=round(float(gap.abs().sum()) / len(labels), 6),
        nll=round(float(F.cross_entropy(logits, labels)), 6),
    )


def attacked_images(preset: Preset, split: Images) -> list[int]:
    """Return the indices of the attacked images, the same for every arm and seed; every prefix is class-stratified.

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


def make_attacked_set(preset: Preset, seed: int, model: nn.Module, data: Data) -> AttackedSet:
    """Return a network with the images that its preset attacks, in the order of `attacked_images`.

    Whether an image is right without attack is decided in float32, as under attack.
    """
    settings, split = preset.evaluation, evaluated_split(preset, data)
    pixels, labels = split.pick(attacked_images(preset, split), device_of(model))
    images = pixels.float().div(255).contiguous()  # (n, C, H, W) in [0, 1]
    frozen = FrozenModel(model, settings.batch_size)
    clean = predict(frozen, images) == labels
    return AttackedSet(frozen, images, labels, clean, data.classes, stream_seed(preset.data.name, seed, "evaluation"))


def evaluate(
    preset: Preset,
    seed: int,
    model: nn.Module,
    data: Data,
    surrogate: Surrogate,
    progress: Progress,
    cache: Cache = no_cache,
) -> Evaluated:
    """Evaluate a network: clean accuracy and calibration on the whole split, all else on the attacked images.

    Corruptions, noise and the costly checks run for the seeds that the preset's checks name (`Evaluation.is_checked`).

    Args:
        preset: gives attacks, data set and precision.
        seed: the run's.
        model: images (N, C, H, W) in [0, 1] to logits; it is not changed.
        data: on the model's device.
        surrogate: returns the network of the transfer attack; called only where the costly checks run.
        progress: called with the current part and the share done; an exception it raises ends the evaluation.
        cache: computes the costly parts, or returns them from an earlier start.

    Raises:
        FloatingPointError: the network's logits are not finite.
        DataError, UsageError: see `attack_jointly`, `attacked_images`.
        RuntimeError: an attack changed the network or left the ball.
    """
    settings, split = preset.evaluation, evaluated_split(preset, data)
    logits, labels = clean_logits(preset.recipe, model, split)
    began = time.perf_counter()
    attacked = make_attacked_set(preset, seed, model, data)
    outcomes = attack_jointly(attacked, settings, lambda text, share: progress(text, 0.7 * share), cache)
    corrupted, noise = list[Corrupted](), None
    if settings.is_checked(seed):
        progress("corruptions", 0.7)
        corrupted, noise = _without_adversary(preset, attacked, cache)
    else:
        settings = settings.model_copy(update={"checks": None})
    case = case_of(attacked, settings, outcomes, surrogate)
    checks = run_checks(case, lambda text, share: progress(text, 0.75 + 0.25 * share), cache)
    gradients = next(check["figures"] for check in checks if check["name"] == "gradients")
    chosen = np.array(attacked_images(preset, split))
    in_order = np.argsort(chosen)  # records list images in the split's order
    return Evaluated(
        clean=Outcomes(n=len(logits), correct=pack_bits((logits.argmax(1) == labels).cpu().numpy())),
        calibration=calibration(logits, labels),
        robustness=Robustness(
            n=len(chosen),
            images=pack_bits(np.isin(np.arange(len(logits)), chosen)),
            clean=pack_bits(attacked.clean.cpu().numpy()[in_order]),
            attacks=[{**o, "correct": _reordered(o["correct"], in_order)} for o in outcomes],
            noise=noise,
            corruptions=corrupted,
            zero_gradient_share=gradients["zero gradients"],
            median_margin=gradients["median margin"],
        ),
        checks=checks,
        seconds=time.perf_counter() - began,
    )


def _reordered(bits: str, order: NDArray[np.int64]) -> str:
    return pack_bits(unpack_bits(bits, len(order))[order])


def _without_adversary(preset: Preset, attacked: AttackedSet, cache: Cache) -> tuple[list[Corrupted], Noise]:
    """Count the images that are right under corruptions, and under noise of the largest eps."""
    eps = preset.evaluation.eps[-1]
    corrupted = cache(
        "corruptions", lambda: _count_corrupted(attacked, stream_seed(preset.data.name, 0, "corruptions"))
    )
    right = cache("noise", lambda: int(noise_survivors(attacked, Radius("Linf", eps)).sum()))
    return corrupted, Noise(eps=eps, correct=right)


def _count_corrupted(attacked: AttackedSet, seed: int) -> list[Corrupted]:
    """Count the images that are right under every corruption; a seed gives the same ones for every network."""
    found, pixels = list[Corrupted](), attacked.images.mul(255).round().byte().cpu().numpy()
    for kind, severity, changed in all_corruptions(pixels, seed):
        images = torch.from_numpy(changed).to(attacked.images.device).float().div(255)
        right = predict(attacked.model, images) == attacked.labels
        found.append(Corrupted(kind=kind, severity=severity, correct=int(right.sum())))
    return found
