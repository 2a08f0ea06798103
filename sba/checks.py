"""Checks of SBA's settings and of the arguments of a call."""

from typing import TYPE_CHECKING, Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from sba import ranges
from sba.batch import describe, tensors
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
STEPS = ("ramp_steps", "warmup_steps", "kl_ramp_steps")
MOST_COPIES, MOST_TEMPERATURE = 1000, 1e6  # a step holds all copies; at that temperature every label is uniform
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
    for name in STEPS:
        ranges.count(name, getattr(sba, name), least=0)
    ranges.count("copies", sba.copies, least=1, most=MOST_COPIES)
    for name in SWITCHES:
        ranges.switch(name, getattr(sba, name))
    ranges.positive("temperature", sba.temperature, most=MOST_TEMPERATURE)
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


def check_call(
    sba: "SBA", inputs: object, targets: object, generator: object, criterion: object, forward: object
) -> Tensor:
    """Return the first tensor of the inputs, if a step can use the arguments.

    Raises:
        ValueError: an argument of a wrong kind. Values are not examined, which would wait for the device.
    """
    held = list(tensors(inputs))
    if not held or not len(held[0]):
        raise ValueError(
            "inputs must be a tensor (N, ...) of at least one example, or a tuple, list or dict of such tensors, got "
            f"{describe(inputs)}."
        )
    rows = len(held[0])
    for name, value in (("inputs", inputs), ("targets", targets)):
        if any(len(tensor) != rows for tensor in tensors(value)):
            raise ValueError(
                f"{name} must have a row for each of the {rows} examples in every tensor, got {describe(value)}; "
                "pass values without rows in forward= or criterion=."
            )
    if not callable(criterion):
        raise ValueError(f"criterion must be a function of (logits, targets), got {describe(criterion)}.")
    if forward is not None and not callable(forward):
        raise ValueError(f"forward must be a function of (model, inputs) or None, got {describe(forward)}.")
    _check_kind(sba, targets, criterion, rows)
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise ValueError(f"generator must be a torch.Generator of the CPU, got {generator!r}.")
    return held[0]


def _check_kind(sba: "SBA", targets: object, criterion: object, rows: int) -> None:
    """Raise ValueError unless targets are of the kind that the criterion and the soft label need."""
    tensor = targets if isinstance(targets, Tensor) else torch.empty(0, dtype=torch.bool)
    indices = tensor.dtype == torch.int64 and tensor.dim() >= 1
    probabilities = tensor.is_floating_point() and tensor.dim() >= 2
    if sba.soft_label == "dark_knowledge" and not indices:
        raise ValueError(
            f"targets must be class indices, int64 ({rows}, ...), for soft_label 'dark_knowledge', got "
            f"{describe(targets)}."
        )
    if _needs_classes(sba, criterion) and not (indices or probabilities):
        reason = "label_mix above 0" if sba.label_mix else "the default criterion; others need criterion="
        raise ValueError(
            f"targets must be class indices, int64 ({rows}, ...), or probabilities, floating point ({rows}, classes, "
            f"...), for {reason}, got {describe(targets)}."
        )


def _needs_classes(sba: "SBA", criterion: object) -> bool:
    return criterion is F.cross_entropy or sba.label_mix > 0 or sba.soft_label == "dark_knowledge"


def check_shape(sba: "SBA", targets: Any, criterion: object, logits: Tensor) -> None:
    """Raise ValueError unless targets have the shape of the logits, where the criterion or the soft label needs it."""
    indices = logits.shape[:1] + logits.shape[2:]
    if _needs_classes(sba, criterion) and targets.shape != (logits.shape if targets.is_floating_point() else indices):
        raise ValueError(
            f"targets must be class indices {tuple(indices)} or probabilities {tuple(logits.shape)} for logits "
            f"{tuple(logits.shape)}, got {describe(targets)}."
        )


def check_logits(output: object, rows: int) -> Tensor:
    """Return a model's output if it holds the logits of `rows` samples, in float32 or better.

    Raises:
        ValueError: it is something else, such as a tuple or the rows of part of the batch.
    """
    if (
        not isinstance(output, Tensor)
        or not output.is_floating_point()
        or output.dim() < 2
        or len(output) != rows
        or output.shape[1] < 2
    ):
        raise ValueError(
            f"the model must return logits ({rows}, classes, ...), one tensor for 2 classes or more and every sample, "
            f"virtual ones included; it returned {describe(output)}. Pass forward= to select the "
            "logits."
        )
    return output if output.dtype in (torch.float32, torch.float64) else output.float()
