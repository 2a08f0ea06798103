"""scikit-learn's handwritten digits, which come with a dependency."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.data.images import Source, Split
from benchmark.runtime.errors import UsageError
from benchmark.settings.preset import DataSettings

TRAIN_IMAGES = 1297


def digits(_roots: Sequence[Path], settings: DataSettings) -> Source:
    """Find scikit-learn's handwritten digits: 1,797 grey 8x8 images, 10 classes, real handwriting.

    The first 1,297 images are the training split, the last 500 the test split. Grey levels 0..16 become 0..255.
    Source: UCI "Optical Recognition of Handwritten Digits".

    Raises:
        UsageError: `data.pixels` is not 8.
    """
    from sklearn.datasets import load_digits  # imported here: only this data set needs it

    if settings.pixels != 8:
        raise UsageError(f"digits are 8 x 8 images; data.pixels = {settings.pixels} is not possible, set it to 8.")

    def read() -> tuple[Split, Split]:
        bunch: Any = load_digits()
        images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)  # (N, 1, 8, 8)
        whole = Split(images, torch.from_numpy(bunch.target).long())
        return whole.subset(slice(TRAIN_IMAGES)), whole.subset(slice(TRAIN_IMAGES, None))

    return Source(None, [str(digit) for digit in range(10)], read)
