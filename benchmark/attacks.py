"""Attacks: torchattacks under the rules that keep it from corrupting a benchmark."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import registry
from benchmark.errors import DataError
from benchmark.models import weights_hash
from benchmark.records import AttackOutcome, pack_bits
from benchmark.settings import Attack, Evaluation
from benchmark.torchvision_ops import ensure_importable

BALL_TOLERANCE = 1e-6  # float32 rounding of clean + delta


class GradientHealth(NamedTuple):
    """Signs of masked gradients: share of images whose cross-entropy gradient is exactly 0, median logit margin."""

    zero_share: float
    median_margin: float


def attack_copy(model: nn.Module) -> nn.Module:
    """Return a float32, contiguous copy in eval mode with frozen parameters.

    Attacking a copy leaves the trained network as it is; frozen parameters save the weights' gradients; bfloat16
    and channels_last make torchattacks leave the eps ball or fail.
    """
    frozen = copy.deepcopy(model).float().eval().requires_grad_(False)
    for parameter in frozen.parameters():
        parameter.data = parameter.data.contiguous()
    return frozen


def make_attack(settings: Attack, model: nn.Module, eps: float, seed: int) -> Any:
    """Build one torchattacks attack at Linf radius eps in [0, 1] units of pixel values.

    PGD's step is 2.5 * eps / steps (Madry et al., arXiv:1706.06083), because the package's fixed 2/255 would
    leave small balls at once.
    """
    ensure_importable()
    kind = registry.look_up(settings.name, registry.ATTACKS)
    options: dict[str, Any] = {"eps": eps}
    if settings.name == "pgd":
        options |= {"steps": settings.steps, "alpha": 2.5 * eps / settings.steps}
    elif settings.name.startswith("apgd"):
        options |= {"steps": settings.steps, "loss": settings.name.removeprefix("apgd_"), "seed": seed}
    return kind(model, **options)


def perturb(model: nn.Module, settings: Attack, eps: float, images: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Return adversarial images for one batch, checked to lie in the eps ball and in [0, 1].

    Every draw comes from `seed`; the global generators are left as they were.

    Args:
        model: from `attack_copy`.
        eps: Linf radius in pixel values of [0, 1].
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) true classes.

    Raises:
        RuntimeError: the attack changed the network's weights, buffers or modes, or left the ball. This is a defect
            of the attack, not of the user: no robustness figure may come from it.
    """
    before = weights_hash(model)
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        adversarial: Tensor = make_attack(settings, model, eps, seed % 2**31)(images, labels).detach()
    if weights_hash(model) != before or any(module.training for module in model.modules()):
        raise RuntimeError(f"attack {settings.name} changed the network's state; its result is void.")
    distance = float((adversarial - images).abs().max())
    if not (distance <= eps + BALL_TOLERANCE and adversarial.min() >= 0 and adversarial.max() <= 1):
        raise RuntimeError(f"attack {settings.name} left the ball: max |delta| = {distance} at eps = {eps}.")
    return adversarial


def attack_jointly(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    clean: Tensor,
    settings: Evaluation,
    seed: int,
    progress: Callable[[str], None] = lambda _text: None,
) -> list[AttackOutcome]:
    """Run every attack at every eps; one attack sees only the images that all earlier ones at that eps left correct.

    Args:
        model: from `attack_copy`.
        images: (N, C, H, W) float32 in [0, 1], in fixed order.
        labels: (N,) true classes.
        clean: (N,) booleans, classified correctly without attack; only these are attacked.
        settings: eps (1/255), attacks in order, batch size. The outcome depends on the batch size, so it is part
            of a run's settings.
        seed: seed of the evaluation; the i-th batch of each attack draws from seed + i.
        progress: told what is going on.

    Raises:
        DataError: images outside [0, 1].
    """
    if not (images.min() >= 0 and images.max() <= 1):
        low, high = float(images.min()), float(images.max())
        raise DataError(
            f"images to attack must be in [0, 1], these reach from {low:g} to {high:g}; divide bytes by 255."
        )
    outcomes = []
    for eps in settings.eps:
        robust = clean.clone()
        for attack in settings.attacks:
            progress(f"{attack.name} at {eps:g}/255, {int(robust.sum())} images left")
            left = robust.nonzero().squeeze(1)
            for number, batch in enumerate(left.split(settings.batch_size) if len(left) else ()):
                batch_seed = seed + number
                x, y = images[batch], labels[batch]
                adversarial = perturb(model, attack, eps / 255, x, y, batch_seed)
                robust[batch] = predict(model, adversarial, settings.batch_size) == y
            outcomes.append(
                AttackOutcome(
                    attack=attack.name,
                    norm="Linf",
                    eps=eps,
                    steps=attack.steps,
                    correct=pack_bits(robust.cpu().numpy()),
                    fooled=len(left) - int(robust.sum()),
                    gradients=len(left) * gradient_steps(attack),
                )
            )
    return outcomes


def gradient_steps(attack: Attack) -> int:
    """Return the backward passes an attack spends on an image: APGD takes one more than its steps."""
    return attack.steps + 1 if attack.name.startswith("apgd") else attack.steps


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Return the (N,) predicted classes of float images (N, C, H, W)."""
    return torch.cat([model(batch).argmax(1) for batch in images.split(batch_size)])


def gradient_health(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> GradientHealth:
    """Return how many images have a cross-entropy gradient of exactly 0, and the median margin of the logits.

    The margin is z_y - max of the other logits. A loss on saturated logits looks robust to FGSM, PGD and APGD-CE
    while it only hides its gradient (Croce and Hein, arXiv:2003.01690, section 4).

    Args:
        model: from `attack_copy`.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) true classes.
    """
    zero, margins = 0, []
    for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        x = x.clone().requires_grad_()
        logits = model(x)
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), x)
        zero += int((gradient.flatten(1).abs().amax(1) == 0).sum())
        true = logits.detach().gather(1, y[:, None]).squeeze(1)
        others = logits.detach().scatter(1, y[:, None], float("-inf")).amax(1)
        margins.append(true - others)
    return GradientHealth(zero / len(labels), float(torch.cat(margins).median()))


def flags(
    clean: float, outcomes: Sequence[AttackOutcome], health: GradientHealth, robust: Sequence[float]
) -> list[str]:
    """Return what a reader must know before believing the robustness figures of a run; empty where nothing is odd.

    Args:
        clean: clean accuracy on the attacked images, in [0, 1].
        outcomes: from `attack_jointly`.
        health: from `gradient_health`.
        robust: robust accuracy at each eps, rising eps.
    """
    found = []
    if health.zero_share > 0.01:
        found.append(f"{health.zero_share:.1%} of the images have a cross-entropy gradient of exactly 0")
    if any(later > earlier for earlier, later in zip((clean, *robust), robust, strict=False)):
        found.append("robust accuracy rises with eps")
    if robust[-1] > 0.05:
        eps = outcomes[-1]["eps"]
        found.append(f"robust accuracy is still {robust[-1]:.1%} at {eps:g}/255, where undefended networks are at 0")
    return found
