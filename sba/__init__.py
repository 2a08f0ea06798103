"""Stochastic Batch Augmentation (arXiv:2006.15284), as read from its abstracts, for any PyTorch training loop.

In: a network, a batch with its targets, and a CPU generator. Out: a `Step`, whose loss the caller backpropagates.
Imports PyTorch alone.

`method.py` has the settings and takes a step: `scheduler.py` decides whether it is augmented, `joint_pass.py` runs the
network with the virtual activations that `vicinity.py` draws behind a layer of `layers.py`, `loss.py` has the loss.
`processes.py` makes several processes take the step of one with the whole batch.

To add a reading of the method, add a field with its range to `SBA`, a row to the settings in README.md, and a row to
`benchmark/settings/variants.py`.
"""

from sba.method import SBA, Step

__all__ = ["SBA", "Step"]
