"""What SBA's settings, and what a call is given, must be."""

import math
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor

from sba.scheduler import Decision, Ramp
from sba.separate_batchnorm import BatchNorm
from sba.soft_label import Divergence, HardLabels, SoftLabel
from sba.vicinity import NoiseKind, NoiseUnit

if TYPE_CHECKING:
    from sba.method import SBA

CHOICES = {
    "scheduler": get_args(Decision),
    "ramp": get_args(Ramp),
    "noise_kind": get_args(NoiseKind),
    "noise_unit": get_args(NoiseUnit),
    "soft_label": get_args(SoftLabel),
    "divergence": get_args(Divergence),
    "batchnorm": get_args(BatchNorm),
    "hard_labels": get_args(HardLabels),
}
SHARES = ("p", "noise_jitter", "label_mix")
NOT_NEGATIVE = ("noise", "alpha", "kl_weight")
COUNTS = {"copies": 1, "ramp_steps": 0, "warmup_steps": 0, "kl_ramp_steps": 0}  # with the least of each
SWITCHES = ("label_gradient", "gradient_below")


def check_settings(sba: "SBA") -> None:
    """Raise ValueError for a setting out of range or at odds with another; the message begins with its name."""
    layers = sba.layers
    if not isinstance(layers, tuple) or not layers or not all(isinstance(name, str) and name for name in layers):
        named = [name if isinstance(name, str) else type(name).__name__ for name in layers or ()]
        found = repr(layers) if isinstance(layers, str) else named
        raise ValueError(f'layers must be a tuple of one or more layer names, like ("layer1",), got {found}.')
    if len(set(layers)) < len(layers):
        raise ValueError(f"layers must name each layer once, got {layers!r}.")
    for name, allowed in CHOICES.items():
        if getattr(sba, name) not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {getattr(sba, name)!r}.")
    for name in SHARES:
        if not _number(value := getattr(sba, name)) or not 0 <= value <= 1:
            raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}.")
    for name in NOT_NEGATIVE:
        if not _number(value := getattr(sba, name)) or not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}.")
    for name, least in COUNTS.items():
        if isinstance(value := getattr(sba, name), bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}.")
    for name in SWITCHES:
        if not isinstance(value := getattr(sba, name), bool):
            raise ValueError(f"{name} must be True or False, got {value!r}.")
    if not _number(sba.temperature) or not 0 < sba.temperature < math.inf:
        raise ValueError(f"temperature must be a finite number above 0, got {sba.temperature!r}.")
    tau = sba.similarity_tau
    if tau is not None and (not _number(tau) or not 0 < tau < math.inf):
        raise ValueError(f"similarity_tau must be None or a finite number above 0, got {tau!r}.")
    _check_together(sba)


def _check_together(sba: "SBA") -> None:
    """Raise ValueError for settings that contradict each other."""
    if (sba.ramp == "constant") != (sba.ramp_steps == 0):
        raise ValueError(
            f"ramp_steps must be 0 with ramp 'constant' and at least 1 with any other, got {sba.ramp_steps} with "
            f"ramp {sba.ramp!r}."
        )
    if sba.noise_kind == "interpolation":
        if sba.noise > 1:
            raise ValueError(f"noise must be at most 1 with noise_kind 'interpolation', got {sba.noise!r}.")
        if sba.noise_unit != "activation_std":
            raise ValueError(f"noise_unit must be left alone with noise_kind 'interpolation', got {sba.noise_unit!r}.")
        if sba.noise_jitter:
            raise ValueError(f"noise_jitter must be 0 with noise_kind 'interpolation', got {sba.noise_jitter!r}.")
    if sba.soft_label == "dark_knowledge" and sba.label_mix:
        raise ValueError(
            f"label_mix must be 0 with soft_label 'dark_knowledge', which has no true class, got {sba.label_mix!r}."
        )
    if sba.hard_labels == "mean" and not sba.alpha:
        raise ValueError("hard_labels must be 'sum' with alpha 0, which leaves one cross-entropy, got 'mean'.")
    if sba.divergence == "symmetric" and sba.label_mix == 1:
        raise ValueError("label_mix must be below 1 with divergence 'symmetric', which is infinite for a hard label.")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_call(images: object, labels: object, generator: object) -> None:
    """Raise ValueError for arguments that a step cannot use; nothing that needs to wait for a device is looked at."""
    if not isinstance(images, Tensor) or images.dim() < 2 or not len(images):
        raise ValueError(
            f"images must be one tensor (N, ...) of at least one example, got {describe(images)}; a model that takes "
            "more than that needs a wrapper that takes one tensor."
        )
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"labels must be class indices, int64 ({len(images)},), got {describe(labels)}; mixed or one-hot labels "
            "are not supported."
        )
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise ValueError(f"generator must be a torch.Generator of the CPU, got {generator!r}.")


def check_logits(output: object, rows: int) -> Tensor:
    """Return a model's output if it is one tensor with `rows` rows of logits.

    Raises:
        ValueError: it is something else, such as a tuple or the rows of part of the batch.
    """
    if not isinstance(output, Tensor) or output.dim() != 2 or len(output) != rows or output.shape[1] < 2:
        raise ValueError(
            f"the model must return logits ({rows}, classes), one tensor for 2 classes or more and every sample, "
            f"virtual ones included; it returned {describe(output)}."
        )
    return output


def describe(value: object) -> str:
    """Say what a value is: a tensor's dtype and shape, else its type."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return f"a {type(value).__name__}"
