"""Attacks: torchattacks under the rules that keep it from corrupting a benchmark."""

import contextlib
import copy
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from benchmark.evaluation.catalogue import ATTACKS, Norm, Setting
from benchmark.evaluation.image_draws import Draws, ImageStreams, isolated_generators
from benchmark.networks.build import state_hash
from benchmark.runtime.errors import UsageError, own_words
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.names import load
from benchmark.settings.preset import Attack

TOLERANCE = 1e-5  # of eps, and 1/10 of it of the pixels' range: float32 rounding of clean + delta


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


class FrozenModel(nn.Module):
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
        with torch.no_grad():  # the weights of a copied ScriptModule would not be leaves
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

    def in_batches_of(self, batch_size: int) -> "FrozenModel":
        """Return the same network, whose weights are shared, with another batch size."""
        other = copy.copy(self)
        other.batch_size = batch_size
        return other


class _AllFooledError(Exception):
    """Every image of a batch has been misclassified: nothing is left for the attack to do."""


class _UntilFooled(nn.Module):
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
            _AllFooledError: no attacked image is left.
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
            raise _AllFooledError
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


def make_attack(attack: Attack, model: nn.Module, radius: Radius, classes: int, seed: int) -> Callable[..., Tensor]:
    """Return an attack, called as (images, labels), with the options of its row.

    Args:
        attack: name and steps; for Square the steps are queries.
        model: a `FrozenModel`.
        radius: of the ball.
        classes: number of classes.
        seed: of the draws that all images of a batch share.

    Raises:
        UsageError: the attack does not know the norm or takes one step, or needs more classes; its row in `ATTACKS`
            names no class, or options that the class does not take.
    """
    ensure_importable()
    refuse_impossible(attack, radius.norm, classes)
    row, setting = ATTACKS[attack.name], Setting(attack.steps, radius.norm, radius.pixels, classes, seed)
    reference = row.l2 if by_reference(attack.name, radius.norm) else None
    target, options = reference or (row.target, row.options)
    try:
        made = load(target)(model, eps=radius.pixels, **options(setting))
        made = made.perturb if reference else made
    except Exception as error:  # the row may name anybody's class
        raise wrong_row(
            attack.name, f"cannot be made ({target} in {radius.norm}: {type(error).__name__}: {error})"
        ) from error
    if not callable(made):
        raise wrong_row(attack.name, f"cannot be made ({target} is not callable with (images, labels))")
    return cast("Callable[..., Tensor]", made)


def wrong_row(name: str, problem: str) -> UsageError:
    """Return the error of an attack that its row makes wrongly."""
    return UsageError(f"attack {name} {problem}. Correct ATTACKS[{name!r}] in benchmark/evaluation/catalogue.py.")


def by_reference(name: str, norm: Norm) -> bool:
    """Return whether an attack is made by the reference implementation (pyautoattack) in a norm."""
    return norm == "L2" and ATTACKS[name].l2 is not None


def refuse_impossible(attack: Attack, norm: Norm, classes: int) -> None:
    """Refuse an attack that does not exist in this norm or on so few classes.

    Raises:
        UsageError: with the way out.
    """
    name, row = attack.name, ATTACKS[attack.name]
    if norm != "Linf" and row.linf_only:
        raise UsageError(f"attack {name} is for Linf only; in {norm} take apgd_ce or apgd_dlr.")
    if row.one_step and attack.steps != 1:
        raise UsageError(f"attack {name} takes one step; steps = {attack.steps} would be named and not made. Set 1.")
    if classes < row.classes:
        raise UsageError(
            f"attack {name} compares the {row.classes} largest logits, but there are only {classes} classes; leave it "
            "out of the preset's attacks (apgd_ce works with any number of classes)."
        )


def perturb(
    model: nn.Module, attack: Attack, radius: Radius, images: Tensor, labels: Tensor, draws: Draws, classes: int
) -> Tensor:
    """Return adversarial images for one batch, checked to be in the ball and in [0, 1].

    Every draw comes from `draws`; the global generators are left as they were.

    Args:
        model: a `FrozenModel`.
        attack, radius, classes: see `make_attack`.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) true classes.
        draws: with one seed for each image.

    Raises:
        RuntimeError: the attack failed, returned no images like those given, changed the network's weights, buffers or
            modes, left the ball or left [0, 1]. This is a defect of the attack or of the network: no robustness figure
            may come from it.
    """
    before, modes = state_hash(model), [module.training for module in model.modules()]
    with isolated_generators(), ImageStreams(draws.images):
        torch.manual_seed(draws.shared)
        with own_words(RuntimeError, f"attack {attack.name} failed"):
            adversarial = _run_attack(model, attack, radius, images, labels, draws.shared, classes)
    if state_hash(model) != before or [module.training for module in model.modules()] != modes:
        raise RuntimeError(f"attack {attack.name} changed the network's state; its result is void.")
    distance = largest_distance(adversarial - images, radius.norm)
    if not distance <= radius.pixels * (1 + TOLERANCE) + TOLERANCE / 10:
        hint = " An attack without an L2 form has linf_only=True in its row of ATTACKS." if radius.norm == "L2" else ""
        raise RuntimeError(f"attack {attack.name} left the ball {radius}: |delta| = {distance}.{hint}")
    low, high = float(adversarial.min()), float(adversarial.max())
    if low < 0 or high > 1:
        raise RuntimeError(f"attack {attack.name} returned pixels from {low} to {high}, outside of [0, 1].")
    return adversarial


def _run_attack(
    model: nn.Module, attack: Attack, radius: Radius, images: Tensor, labels: Tensor, seed: int, classes: int
) -> Tensor:
    if not ATTACKS[attack.name].any_step:
        return _checked(make_attack(attack, model, radius, classes, seed)(images, labels), images)
    watched, adversarial = _UntilFooled(model, labels), images
    with contextlib.suppress(_AllFooledError):
        adversarial = _checked(make_attack(attack, watched, radius, classes, seed)(images, labels), images)
    return watched.adversarial(adversarial)


def _checked(adversarial: object, images: Tensor) -> Tensor:
    """Return the detached result of an attack on (N, C, H, W) images; TypeError or ValueError if it is none."""
    if not isinstance(adversarial, Tensor):
        raise TypeError(f"it returned a {type(adversarial).__name__}, no tensor of images")
    for kind in ("shape", "dtype"):
        found, wanted = getattr(adversarial, kind), getattr(images, kind)
        if found != wanted:
            raise TypeError(f"it returned images with {kind} {found}, those given have {wanted}")
    if not adversarial.isfinite().all():
        raise ValueError("it returned values that are not finite")
    return adversarial.detach()


def largest_distance(delta: Tensor, norm: Norm) -> float:
    """Return the largest norm of the perturbations (N, C, H, W); nan if any is not a number."""
    flat = delta.flatten(1)
    return float((flat.abs() if norm == "Linf" else flat.norm(dim=1)).max())


@torch.no_grad()
def predict(model: FrozenModel, images: Tensor) -> Tensor:
    """Return the (N,) predicted classes of float images (N, C, H, W).

    Raises:
        FloatingPointError: logits are not finite.
    """
    classes = []
    for batch in images.split(model.batch_size):
        logits = model(batch)
        if not logits.isfinite().all():
            broken = int((~logits.isfinite()).any(1).sum())
            raise FloatingPointError(f"the network's logits are not finite for {broken} of {len(batch)} images")
        classes.append(logits.argmax(1))
    return torch.cat(classes)
