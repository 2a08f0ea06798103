"""Attacks: torchattacks under the rules that keep it from corrupting a benchmark."""

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
LINF_ONLY = ("fgsm", "pgd")  # torchattacks' FGSM knows no other norm, its PGDL2 depends on the batch size
QUIET = logging.getLogger(f"{__name__}.quiet")  # of what the sanity checks say anyway, such as zero gradients
QUIET.disabled = True
TOLERANCE = 1e-5  # of eps, and 1/10 of it of the pixels' range: float32 rounding of clean + delta


class Victim(nn.Module):
    """A network as attacks see it: a copy in float32 and eval mode, frozen; it is the trained one in all else.

    Frozen parameters save the weights' gradients. Inside it is channels_last, which is 1.5 times as fast on a CPU;
    images come in and gradients go out contiguous, since torchattacks' FAB and Square fail on anything else. bfloat16
    would let PGD leave the ball.

    Attributes:
        gradients: gradient samples (images x backward passes) so far.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.gradients = 0
        self.model = copy.deepcopy(model).float().requires_grad_(False)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of images (N, C, H, W) in [0, 1]."""
        if images.requires_grad and torch.is_grad_enabled():
            images = images.view_as(images)
            images.register_hook(self._received)
        logits: Tensor = self.model(images)
        return logits

    def _received(self, gradient: Tensor) -> Tensor:
        self.gradients += len(gradient)
        return gradient.contiguous()


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
        attack = make_attack(settings, model, norm, radius, classes, draws.shared)
        adversarial: Tensor = attack(images, labels).detach()
    if state_hash(model) != before or [module.training for module in model.modules()] != modes:
        raise RuntimeError(f"attack {settings.name} changed the network's state; its result is void.")
    distance = largest_distance(adversarial - images, norm)
    inside = distance <= radius * (1 + TOLERANCE) + TOLERANCE / 10
    if not (inside and adversarial.min() >= 0 and adversarial.max() <= 1):
        raise RuntimeError(f"attack {settings.name} left the ball: |delta| = {distance} at eps = {radius} ({norm}).")
    return adversarial


def largest_distance(delta: Tensor, norm: Norm) -> float:
    """Return the largest norm of the perturbations (N, C, H, W); nan where one is not a number."""
    flat = delta.flatten(1)
    return float((flat.abs() if norm == "Linf" else flat.norm(dim=1)).max())


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Return the (N,) predicted classes of float images (N, C, H, W).

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
