"""The batch scheduler: whether an iteration is augmented, and how its share changes during training."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sba.method import SBA

_ROUNDING = 1e-9  # ten times 0.1 is not quite 1


@dataclass
class SchedulerState:
    """State of a scheduler between iterations.

    Attributes:
        steps: iterations so far.
        credit: fraction of an augmented iteration that is due, below 1; used by "every_nth".
    """

    steps: int = 0
    credit: float = 0.0


def augments(settings: "SBA", state: SchedulerState, generator: torch.Generator) -> bool:
    """Decide whether this iteration is augmented, and count it in `state`.

    "bernoulli" draws b ~ Bernoulli(p_t): exactly one uniform draw of the CPU generator for any p_t, so that runs that
    differ only in p stay aligned. "every_nth" draws nothing: augmented iterations are evenly spaced with share p_t, for
    p_t = 1/n every n-th iteration.

    Source: arXiv:2006.15284, abstract and introduction (epsilon-greedy inspired; Bernoulli is the simplest reading).
    """
    p = _probability(settings, state.steps)
    state.steps += 1
    if settings.scheduler == "bernoulli":
        return float(torch.rand((), generator=generator, device="cpu")) < p
    state.credit += p
    due = state.credit >= 1 - _ROUNDING
    state.credit -= due
    return due


def _probability(settings: "SBA", step: int) -> float:
    """Return the share p_t of augmented iterations at iteration `step` (from 0).

    p_t = 0 for the first `warmup_steps` iterations. After them, with s = min(1, (step - warmup_steps) / ramp_steps):
    p (constant), p * s (linear_up), p * (1 - cos(pi * s)) / 2 (cosine_up), or p minus that (down).
    """
    if step < settings.warmup_steps:
        return 0.0
    if settings.ramp == "constant":
        return settings.p
    share = min(1.0, (step - settings.warmup_steps) / settings.ramp_steps)
    if settings.ramp.startswith("cosine"):
        share = (1 - math.cos(math.pi * share)) / 2
    return settings.p * (share if settings.ramp.endswith("up") else 1 - share)
