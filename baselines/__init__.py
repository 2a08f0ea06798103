"""The methods SBA is compared with, one file each, and the batched augmentation; imports torch and `sba` alone.

In: a network that returns logits (N, classes), images (N, C, H, W) in [0, 1], class indices (N,), and a CPU generator,
from which all randomness comes. Out: a `Step`. A method is a frozen dataclass of its settings, called with these; its
docstring has the formula, the source and every deviation, and README.md its card.

To add a method, write its file, its card, and its row in METHODS of `benchmark/settings/methods.py`; CONTRIBUTING.md
has the contract, which `tests/benchmark/settings/test_methods.py` checks for every row.
"""
