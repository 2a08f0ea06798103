"""The form of every network, built here or anyone's: its outputs, their gradient, and the weights that fit it."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.runtime.errors import RunError, UsageError, own_words, shorten

LISTED = 4  # differences, or names of weights, in a message


def shape(tensor: Tensor) -> str:
    """Write a tensor's shape: "64 x 3 x 3 x 3"."""
    return " x ".join(map(str, tensor.shape)) or "a single number"


def refuse_other_outputs(who: str, model: nn.Module, images: Tensor, classes: int) -> None:
    """Refuse a network that does not return finite logits (N, classes) in float32, of several images and of one.

    Args:
        who: names the network in the message.
        model: on the device of the images, in the mode to be tried.
        images: (N, C, H, W) in [0, 1].
        classes: of the data set.

    Raises:
        UsageError: the network fails on them, or returns something else.
        RunError: its logits are not finite.
    """
    with own_words(UsageError, f"{who} fails on images of {shape(images[0])}"), torch.no_grad():
        logits = model(images)
    refuse_other_logits(who, logits, len(images), classes)
    if not logits.isfinite().all():
        raise RunError(f"{who}: its logits are not finite, as with the weights of a run that diverged.")
    with own_words(UsageError, f"{who} fails on a single image"), torch.no_grad():
        model(images[:1])


def refuse_other_logits(who: str, logits: object, images: int, classes: int) -> None:
    """Raise UsageError for outputs that are not one logit in float32 for each image and class."""
    if not isinstance(logits, Tensor) or logits.shape != (images, classes):
        found = shape(logits) if isinstance(logits, Tensor) else type(logits).__name__
        raise UsageError(
            f"{who} returns {found} for {images} images; the data set has {classes} classes, so it must return "
            f"{images} x {classes} logits."
        )
    if logits.dtype != torch.float32:
        raise UsageError(
            f"{who} returns {logits.dtype}, though its weights and images are float32, in which networks are "
            "attacked. Leave autocast, conversions and argmax out of its forward."
        )


def refuse_missing_gradient(who: str, model: nn.Module, images: Tensor) -> None:
    """Refuse a network whose logits have no gradient with respect to the images, or one that is not finite.

    Raises:
        UsageError: it has none, or the network fails in its backward pass.
    """
    with own_words(UsageError, f"{who} cannot be attacked"):
        images = images.clone().requires_grad_()
        logits = model(images)
        loss = F.cross_entropy(logits, logits.argmax(1))
        (gradient,) = torch.autograd.grad(loss, images, allow_unused=True) if loss.requires_grad else (None,)
        if gradient is None:
            raise UsageError(
                f"{who}: its logits have no gradient with respect to the images, which the attacks need: look for "
                "torch.no_grad, detach, NumPy or quantized weights in its forward."
            )
        if not gradient.isfinite().all():
            raise UsageError(f"{who}: the gradient of its cross-entropy with respect to the images is not finite.")


def differences(weights: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Return the first differences between a state_dict and that of a network, for a message; empty if it fits.

    Example:
        >>> differences({}, {"bias": Tensor([0.0])})
        'lacks bias'
    """
    both = [key for key in own if isinstance(own[key], Tensor) and isinstance(weights.get(key), Tensor)]
    shapes = [key for key in both if weights[key].shape != own[key].shape]
    kinds = [key for key in both if key not in shapes and _kind(weights[key]) != _kind(own[key])]
    found = [
        *(f"lacks {short(key)}" for key in own if key not in weights),
        *(f"has {short(key)}, unknown here" for key in weights if key not in own),
        *(f"has {short(key)} as {shape(weights[key])}, here {shape(own[key])}" for key in shapes),
        *(f"has {short(key)} in {weights[key].dtype}, here {own[key].dtype}" for key in kinds),
    ]
    more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return f"{'; '.join(found[:LISTED])}{more}"


def _kind(tensor: Tensor) -> tuple[bool, bool, bool]:
    """Return the kind of a tensor's numbers: copying one kind into another changes their meaning."""
    return tensor.is_floating_point(), tensor.is_complex(), tensor.is_quantized


def short(name: object) -> str:
    """Return the name of a weight for a message."""
    return shorten(str(name), 80)
