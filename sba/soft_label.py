"""The distilled dynamic soft label and the loss built on it."""

import torch.nn.functional as F
from torch import Tensor


def soft_label_loss(logits: Tensor, virtual: Tensor, temperature: float) -> Tensor:
    """Return T^2 * KL(q || softmax(z_m / T)) with q = softmax(z / T), averaged over examples and copies.

    q is the network's own output on the original sample; no gradient flows through it.

    Args:
        logits: (N, classes) logits z of the originals.
        virtual: (M * N, classes) logits z_m of the copies, copy by copy.
        temperature: T > 0. T^2 keeps the gradient's size when T changes (Hinton et al., arXiv:1503.02531, 2).

    Source: arXiv:2006.15284, abstract; the temperature is a reading.
    """
    label = F.log_softmax(logits.detach() / temperature, dim=1)  # (N, classes)
    label = label.repeat(len(virtual) // len(logits), 1)  # (M * N, classes)
    divergence = F.kl_div(F.log_softmax(virtual / temperature, dim=1), label, reduction="batchmean", log_target=True)
    return temperature**2 * divergence
