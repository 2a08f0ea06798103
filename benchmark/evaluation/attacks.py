"""Attacks: torchattacks under the rules that keep it from corrupting a benchmark."""

import contextlib
import copy
import logging
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmark.evaluation.catalogue import ATTACKS
from benchmark.evaluation.image_draws import Draws, ImageStreams, isolated_generators
from benchmark.networks.build import state_hash
from benchmark.runtime.errors import UsageError
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.names import look_up
from benchmark.settings.preset import Attack

Norm = Literal["Linf", "L2"]

TARGETS = 9  # the reference AutoAttack attacks 9 other classes, however many there are
CLASSES_NEEDED = {"apgd_dlr": 3, "apgd_t": 4}  # the loss compares so many of the largest logits
ANY_STEP = ("apgd_ce", "apgd_dlr")  # they succeed with any of their steps, not with the last alone
LINF_ONLY = ("fgsm", "pgd")  # torchattacks' FGSM knows no other norm, its PGDL2 depends on the batch size
QUIET = logging.getLogger(f"{__name__}.quiet")  # of what the sanity checks say anyway, such as zero gradients
QUIET.disabled = True
TOLERANCE = 1e-5  # of eps, and 1/10 of it of the pixels' range: float32 rounding of clean + delta


class Victim(nn.Module):
    """A network as attacks see it: a copy in float32 and eval mode, frozen; it is the trained one in all else.

    Frozen parameters save the weights' gradients. Inside it is channels_last, which is 1.5 times as fast on a CPU;
    images come in and gradients go out contiguous, since torchattacks' FAB and Square fail on anything else. bfloat16
    would let PGD leave the ball.

    The network itself always gets `batch_size` images, because sums of floats depend on the shape of a batch: more are
    divided, fewer filled up with copies of the last. So the logits of an image do not depend on the others.

    Attributes:
        batch_size: images in each forward and backward pass of the network.
        gradients: gradient samples (images x backward passes) so far.
    """

    def __init__(self, model: nn.Module, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.gradients = 0
        self.model = copy.deepcopy(model).float().requires_grad_(False)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of images (N, C, H, W) in [0, 1]."""
        logits = [self._forward_batch(batch) for batch in images.split(self.batch_size)]
        return torch.cat(logits) if len(logits) > 1 else logits[0]

    def _forward_batch(self, images: Tensor) -> Tensor:
        n, differentiable = len(images), images.requires_grad and torch.is_grad_enabled()
        if 0 < n < self.batch_size:
            copies = images[-1:].detach().expand(self.batch_size - n, *images.shape[1:])
            images = torch.cat([images, copies])
        elif differentiable:
            images = images.view_as(images)
        if differentiable:
            images.register_hook(self._received)
        logits: Tensor = self.model(images)
        return logits[:n]

    def _received(self, gradient: Tensor) -> Tensor:
        self.gradients += len(gradient)
        return gradient.contiguous()

    def in_batches_of(self, batch_size: int) -> "Victim":
        """Return the same network, whose weights are shared, with another batch size."""
        other = copy.copy(self)
        other.batch_size = batch_size
        return other


class AllFooledError(Exception):
    """Every image of a batch has been misclassified: nothing is left for the attack to do."""


class UntilFooled(nn.Module):
    """A network under an attack that succeeds with any of its steps: a fooled image is not computed again.

    APGD goes on with images that it has fooled, though its result for them is certain. Here they keep the logits with
    which they were misclassified, their gradient is 0, and the other images are as without them.

    Args:
        model: the network.
        labels: (N,) true classes of the batch.
    """

    def __init__(self, model: nn.Module, labels: Tensor) -> None:
        super().__init__()
        self.model = model
        self.labels = labels
        self.attacked: Tensor | None = None  # (n,) rows of the batch that were right at first, which APGD attacks
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the clean batch (N, C, H, W) at the first call, of the n attacked images after it.

        Raises:
            AllFooledError: no attacked image is left.
        """
        if self.attacked is None:
            logits: Tensor = self.model(images)
            self.attacked = (logits.argmax(1) == self.labels).nonzero().squeeze(1)
            self.labels = self.labels[self.attacked]
            self.logits = logits[self.attacked].detach()
            self.left = torch.arange(len(self.attacked), device=images.device)
            self.fooling = images[self.attacked].detach()
            return logits
        if not len(self.left):
            raise AllFooledError
        found = self.model(images.index_select(0, self.left) if len(self.left) < len(images) else images)
        logits = self.logits.index_copy(0, self.left, found)
        right = found.argmax(1) == self.labels[self.left]
        fooled = self.left[~right]
        self.fooling[fooled] = images.detach()[fooled]
        self.logits, self.left = logits.detach(), self.left[right]
        return logits

    def adversarial(self, images: Tensor) -> Tensor:
        """Return the batch (N, C, H, W) with the image that fooled the network first in each row that was fooled."""
        if self.attacked is None:
            return images
        fooled = torch.ones(len(self.attacked), dtype=torch.bool, device=images.device)
        fooled[self.left] = False
        return images.index_copy(0, self.attacked[fooled], self.fooling[fooled])


def make_attack(settings: Attack, model: nn.Module, norm: Norm, radius: float, classes: int, seed: int) -> Any:
    """Build one torchattacks attack with the reference's parameters where the package's defaults differ.

    PGD's step is 2.5 * radius / steps (Madry et al., arXiv:1706.06083), because the package's fixed 2/255 would leave
    small balls at once. APGD-T and FAB-T attack 9 targets, Square does not rescale its schedule: as the reference
    AutoAttack (Croce and Hein, arXiv:2003.01690), which the package's defaults are not.

    Args:
        settings: name and steps; for Square the steps are queries.
        model: from `Victim`.
        norm: "Linf" or "L2".
        radius: of the ball, in pixel values of [0, 1].
        classes: number of classes.
        seed: of the draws that all images of a batch share.

    Raises:
        UsageError: the attack does not know the norm, or needs more classes.
    """
    ensure_importable()
    refuse_impossible(settings, norm, classes)
    kind, name = look_up(settings.name, ATTACKS), settings.name
    options: dict[str, Any] = {"eps": radius}
    if name == "pgd":
        options |= {"steps": settings.steps, "alpha": 2.5 * radius / settings.steps}
    elif name in ("apgd_ce", "apgd_dlr"):
        options |= {"norm": norm, "steps": settings.steps, "loss": name.removeprefix("apgd_"), "seed": seed}
    elif name in ("apgd_t", "fab_t"):
        options |= {"norm": norm, "steps": settings.steps, "n_classes": min(TARGETS, classes - 1) + 1, "seed": seed}
        options |= {"multi_targeted": True} if name == "fab_t" else {}
    elif name == "square":
        options |= {"norm": norm, "n_queries": settings.steps, "resc_schedule": False, "seed": seed}
    return reference_attack(name, model, options) if by_reference(name, norm) else kind(model, **options)


def by_reference(name: str, norm: Norm) -> bool:
    """Say whether an attack is made by the reference implementation, because torchattacks 3.5.1 departs from it.

    In L2 its APGD-T moves a whole batch by the first image's step, and its Square measures a window over all channels
    at once, where the reference takes each image's step and each channel.
    """
    return norm == "L2" and name in ("apgd_t", "square")


def reference_attack(name: str, model: nn.Module, options: dict[str, Any]) -> Any:
    """Build APGD-T or Square of pyautoattack from torchattacks' options."""
    if name == "square":
        return import_module("pyautoattack.square").SquareAttack(model, p_init=0.8, **options).perturb
    targeted = import_module("pyautoattack.autopgd_base").APGDAttack_targeted
    options = options | {"n_iter": options["steps"], "n_target_classes": options["n_classes"] - 1, "logger": QUIET}
    made = targeted(model, **{key: value for key, value in options.items() if key not in ("steps", "n_classes")})
    return made.perturb


def refuse_impossible(settings: Attack, norm: Norm, classes: int) -> None:
    """Refuse an attack that cannot be made in this norm or on so few classes.

    Raises:
        UsageError: with the way out.
    """
    if norm != "Linf" and settings.name in LINF_ONLY:
        raise UsageError(f"attack {settings.name} is for Linf only; in {norm} take apgd_ce or apgd_dlr.")
    needed = CLASSES_NEEDED.get(settings.name, 2)
    if classes < needed:
        raise UsageError(
            f"attack {settings.name} compares the {needed} largest logits, but there are only {classes} classes; leave "
            "it out of the preset's attacks (apgd_ce works with any number of classes)."
        )


def perturb(
    model: nn.Module,
    settings: Attack,
    norm: Norm,
    radius: float,
    images: Tensor,
    labels: Tensor,
    draws: Draws,
    classes: int,
) -> Tensor:
    """Return adversarial images for one batch, checked to lie in the ball and in [0, 1].

    Every draw comes from `draws`; the global generators are left as they were.

    Args:
        model: from `Victim`.
        settings, norm, radius, classes: see `make_attack`.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) true classes.
        draws: with one seed for each image.

    Raises:
        RuntimeError: the attack changed the network's weights, buffers or modes, or left the ball. This is a defect
            of the attack or of the network: no robustness figure may come from it.
    """
    before, modes = state_hash(model), [module.training for module in model.modules()]
    with isolated_generators(), ImageStreams(draws.images):
        torch.manual_seed(draws.shared)
        adversarial = run_attack(settings, model, norm, radius, images, labels, draws.shared, classes)
    if state_hash(model) != before or [module.training for module in model.modules()] != modes:
        raise RuntimeError(f"attack {settings.name} changed the network's state; its result is void.")
    distance = largest_distance(adversarial - images, norm)
    inside = distance <= radius * (1 + TOLERANCE) + TOLERANCE / 10
    if not (inside and adversarial.min() >= 0 and adversarial.max() <= 1):
        raise RuntimeError(f"attack {settings.name} left the ball: |delta| = {distance} at eps = {radius} ({norm}).")
    return adversarial


def run_attack(
    settings: Attack,
    model: nn.Module,
    norm: Norm,
    radius: float,
    images: Tensor,
    labels: Tensor,
    seed: int,
    classes: int,
) -> Tensor:
    """Return what an attack makes of one batch, unchecked; see `perturb` and `make_attack`."""
    if settings.name not in ANY_STEP:
        made: Tensor = make_attack(settings, model, norm, radius, classes, seed)(images, labels).detach()
        return made
    watched, adversarial = UntilFooled(model, labels), images
    with contextlib.suppress(AllFooledError):
        adversarial = make_attack(settings, watched, norm, radius, classes, seed)(images, labels).detach()
    return watched.adversarial(adversarial)


def largest_distance(delta: Tensor, norm: Norm) -> float:
    """Return the largest norm of the perturbations (N, C, H, W); nan where one is not a number."""
    flat = delta.flatten(1)
    return float((flat.abs() if norm == "Linf" else flat.norm(dim=1)).max())


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Return the (N,) predicted classes of float images (N, C, H, W), `batch_size` of them at once.

    Raises:
        FloatingPointError: logits are not finite.
    """
    classes = []
    for batch in images.split(batch_size):
        logits = model(batch)
        if not logits.isfinite().all():
            broken = int((~logits.isfinite()).any(1).sum())
            raise FloatingPointError(f"the network's logits are not finite for {broken} of {len(batch)} images")
        classes.append(logits.argmax(1))
    return torch.cat(classes) if classes else torch.empty(0, dtype=torch.long, device=images.device)
