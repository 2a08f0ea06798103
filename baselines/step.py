"""What every method's training step gives."""

from typing import NamedTuple

from torch import Tensor


class Step(NamedTuple):
    """What one training step gives; the same fields as `sba.Step`.

    Attributes:
        loss: scalar to backpropagate.
        logits: (N, classes) logits of the batch, float32.
        virtual: number of additional samples that were backpropagated in this step, of this process's batch.
        layer: the layer behind which they joined the batch ("input" for the input), None where there are none.
    """

    loss: Tensor
    logits: Tensor
    virtual: int = 0
    layer: str | None = None
