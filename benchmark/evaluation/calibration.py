"""Calibration: whether a network's confidence is its accuracy; soft labels change it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.records.schema import Calibration

BINS = 15


def calibration(logits: Tensor, labels: Tensor) -> Calibration:
    """Return the expected calibration error and the negative log-likelihood.

    ECE = sum over bins b of n_b / n * |accuracy_b - confidence_b|, where confidence is the largest softmax
    probability and the 15 bins divide (0, 1] evenly: the plug-in estimator of Guo et al., ICML 2017,
    arXiv:1706.04599, section 2. It is biased upwards, by less the more images there are. NLL is the mean of
    -log p(label), in nats.

    Args:
        logits: (N, classes).
        labels: (N,) true classes.
    """
    logits = logits.double()
    confidence, predicted = logits.softmax(1).max(1)
    correct = (predicted == labels).double()
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1  # (N,) right-closed
    gap = torch.zeros(BINS, dtype=torch.double, device=logits.device).index_add_(0, bins, correct - confidence)
    return Calibration(
        n=len(labels),
        bins=BINS,
        ece=round(float(gap.abs().sum()) / len(labels), 6),
        nll=round(float(F.cross_entropy(logits, labels)), 6),
    )
