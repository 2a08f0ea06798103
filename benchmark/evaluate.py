"""Evaluation: clean accuracy on all images, attacks on a fixed part of them."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.attacks import attack_copy, attack_jointly, flags, gradient_health, predict
from benchmark.data import Data, stratified_order
from benchmark.datasets import Split
from benchmark.errors import UsageError
from benchmark.models import eval_mode
from benchmark.plan import Run
from benchmark.records import Outcomes, Robustness, pack_bits, unpack_bits
from benchmark.settings import Recipe
from benchmark.streams import stream, stream_seed
from benchmark.train import autocast, to_float

CLEAN_BATCH = 500


class Evaluated(NamedTuple):
    """What the evaluation of one network gives, ready for the record."""

    clean: Outcomes
    robustness: Robustness
    flags: list[str]
    seconds: float


def evaluated_split(run: Run, data: Data) -> Split:
    """Return the split that the preset evaluates: the test set, or the validation set while something is chosen."""
    return data.test if run.preset.evaluation.split == "test" else data.validation


@torch.no_grad()
def clean_correct(recipe: Recipe, model: nn.Module, split: Split) -> Tensor:
    """Return the (N,) booleans "classified correctly", in eval mode and the training's precision.

    The mode of every module is restored.
    """
    batches = zip(split.images.split(CLEAN_BATCH), split.labels.split(CLEAN_BATCH), strict=True)
    with eval_mode(model), autocast(recipe, split.images.device):
        return torch.cat([model(to_float(images)).argmax(1) == labels for images, labels in batches])


def attacked_images(run: Run, split: Split) -> list[int]:
    """Return the indices of the attacked images: class-stratified, the same for every arm and seed.

    Raises:
        UsageError: the split has fewer images than the preset attacks.
    """
    data, wanted = run.preset.data, run.preset.evaluation.images
    if wanted > len(split.labels):
        raise UsageError(
            f"evaluation.images = {wanted}, but {data.dataset} has only {len(split.labels)} to evaluate on."
        )
    order = stratified_order(split.labels.cpu(), stream(data.dataset, data.split_seed, "attacked"))
    return sorted(order[:wanted].tolist())


def evaluate(run: Run, model: nn.Module, data: Data, progress: Callable[[str], None]) -> Evaluated:
    """Evaluate a trained network: clean accuracy on the whole split, then the attacks.

    Args:
        run: gives the attacks and the seed.
        model: logits from uint8-scaled images in [0, 1]; it is not changed.
        data: on the model's device.
        progress: told what is going on.
    """
    settings, split = run.preset.evaluation, evaluated_split(run, data)
    correct = clean_correct(run.preset.recipe, model, split).cpu()
    began = time.perf_counter()
    chosen = attacked_images(run, split)
    images = split.images[chosen].float().div(255).contiguous()  # (n, C, H, W) in [0, 1]
    labels, victim = split.labels[chosen], attack_copy(model)
    seed = stream_seed(run.preset.data.dataset, run.seed, "evaluation") >> 1
    clean = predict(victim, images, settings.batch_size) == labels  # (n,), in float32 like the attacks
    outcomes = attack_jointly(victim, images, labels, clean, settings, seed, progress)
    health = gradient_health(victim, images, labels, settings.batch_size)
    last = {outcome["eps"]: outcome for outcome in outcomes}  # the last attack of each eps has the joint outcome
    robust = [float(unpack_bits(last[eps]["correct"], len(chosen)).mean()) for eps in settings.eps]
    return Evaluated(
        clean=Outcomes(n=len(correct), correct=pack_bits(correct.numpy())),
        robustness=Robustness(
            n=len(chosen),
            images=pack_bits(np.isin(np.arange(len(correct)), chosen)),
            clean=pack_bits(clean.cpu().numpy()),
            attacks=outcomes,
            zero_gradient_share=health.zero_share,
            median_margin=round(health.median_margin, 4),
        ),
        flags=flags(float(clean.float().mean()), outcomes, health, robust),
        seconds=time.perf_counter() - began,
    )
