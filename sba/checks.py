"""What SBA's settings, and what a call is given, must be."""

from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor

from sba import ranges
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
    """Raise ValueError for a setting out of range or in conflict with another; the message begins with its name."""
    ranges.layer_names("layers", sba.layers)
    for name, allowed in CHOICES.items():
        ranges.choice(name, getattr(sba, name), allowed)
    for name in SHARES:
        ranges.share(name, getattr(sba, name))
    for name in NOT_NEGATIVE:
        ranges.not_negative(name, getattr(sba, name))
    for name, least in COUNTS.items():
        ranges.count(name, getattr(sba, name), least=least)
    for name in SWITCHES:
        ranges.switch(name, getattr(sba, name))
    ranges.positive("temperature", sba.temperature)
    if sba.similarity_tau is not None:
        ranges.positive("similarity_tau", sba.similarity_tau)
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
