"""scikit-learn's digits, as bytes."""

import numpy as np
import torch

from benchmark.data.digits import digits
from benchmark.settings.preset import DataSettings


def test_digits_are_scikit_learns_in_bytes() -> None:
    from sklearn.datasets import load_digits

    train, test = digits([], DataSettings(dataset="digits", pixels=8)).read()
    assert (train.images.shape, test.images.shape) == ((1297, 1, 8, 8), (500, 1, 8, 8))
    bunch = load_digits()
    np.testing.assert_allclose(test.images[:, 0].numpy() * (16 / 255), bunch.images[1297:], atol=0.04)
    assert torch.cat([train.labels, test.labels]).tolist() == bunch.target.tolist()
