"""The arguments of one call of SBA, and the checks of them and of the model's output."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sba.batch import describe, tensors
from sba.layers import Forward

if TYPE_CHECKING:
    from sba.method import SBA

Criterion = Callable[[Any, Any], Any]  # (logits, targets) -> scalar or (N, ...)


class Call(NamedTuple):
    """The arguments of `SBA.__call__`."""

    model: nn.Module
    inputs: Any
    targets: Any
    generator: torch.Generator
    criterion: Criterion
    forward: Forward | None

    def output(self) -> Any:
        """Return the model's output for the inputs."""
        return self.model(self.inputs) if self.forward is None else self.forward(self.model, self.inputs)


def check_call(call: Call) -> Tensor:
    """Return the first tensor of the inputs.

    Raises:
        ValueError: an argument is of a wrong type, or its tensors have different numbers of rows.
    """
    held = list(tensors(call.inputs))
    if not held or not len(held[0]):
        raise ValueError(
            "inputs must be a tensor (N, ...) of at least one example, or a tuple, list or dict of such tensors, got "
            f"{describe(call.inputs)}."
        )
    rows = len(held[0])
    for name, value in (("inputs", call.inputs), ("targets", call.targets)):
        if any(len(tensor) != rows for tensor in tensors(value)):
            raise ValueError(
                f"{name} must have a row for each of the {rows} examples in every tensor, got {describe(value)}; "
                "pass values without rows in forward= or criterion=."
            )
    if not callable(call.criterion):
        raise ValueError(f"criterion must be a function of (logits, targets), got {describe(call.criterion)}.")
    if call.forward is not None and not callable(call.forward):
        raise ValueError(f"forward must be a function of (model, inputs) or None, got {describe(call.forward)}.")
    if not isinstance(call.generator, torch.Generator) or call.generator.device.type != "cpu":
        raise ValueError(f"generator must be a torch.Generator of the CPU, got {call.generator!r}.")
    return held[0]


def check_targets(sba: "SBA", call: Call, logits: Tensor) -> None:
    """Raise ValueError if the criterion or the soft label needs targets that fit the logits, and has others."""
    reason = "the default criterion; others need criterion=" if call.criterion is F.cross_entropy else None
    reason = "label_mix above 0" if sba.label_mix else reason
    indices, targets = logits.shape[:1] + logits.shape[2:], call.targets
    allowed = f"class indices, int64 {tuple(indices)}"
    fit = isinstance(targets, Tensor) and targets.dtype == torch.int64 and targets.shape == indices
    if sba.soft_label == "dark_knowledge":
        reason = "soft_label 'dark_knowledge'"
    else:
        allowed += f", or probabilities, floating point {tuple(logits.shape)}"
        fit = fit or (isinstance(targets, Tensor) and targets.is_floating_point() and targets.shape == logits.shape)
    if reason and not fit:
        raise ValueError(f"targets must be {allowed}, for {reason}, got {describe(targets)}.")


def check_logits(output: object, rows: int) -> Tensor:
    """Return a model's output in float32 or better.

    Raises:
        ValueError: it is not a floating point tensor (rows, classes, ...) with at least 2 classes.
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
            f"virtual ones included; it returned {describe(output)}. Pass forward= to select the logits."
        )
    return output if output.dtype in (torch.float32, torch.float64) else output.float()
