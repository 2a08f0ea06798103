"""The batch scheduler: whether an iteration is augmented."""

import torch


def augments(p: float, generator: torch.Generator) -> bool:
    """Draw b ~ Bernoulli(p), the decision to augment this iteration.

    Exactly one uniform draw on the generator, whatever p is, so that runs that differ only in p stay aligned.

    Args:
        p: probability in [0, 1].
        generator: a CPU generator; the decision steers Python, so it must not wait for a device.

    Source: arXiv:2006.15284, abstract and introduction (epsilon-greedy inspired; the simplest reading).
    """
    return float(torch.rand((), generator=generator)) < p
