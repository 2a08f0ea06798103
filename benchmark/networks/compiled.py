"""A network compiled by torch.compile, whole and as its halves around a layer that a method acts behind."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Part = Callable[[Tensor], Tensor]
INPUT = "input"  # the place before the first layer


class Compiled(nn.Module):
    """A network whose calls are compiled; it shares the network's weights, and compiles each part at its first call.

    Compiled code ignores hooks registered later. A method that widens the batch or mixes it behind a layer therefore
    calls the two halves around that layer, and works between them.

    Args:
        network: images to logits; its training and evaluation modes are its own.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._orig_mod = network  # as torch.compile names it, so that layers are found by their own names
        self._whole: Part = _compiled(network)
        self._halves: dict[str, tuple[Part, Part]] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, ...) images to (N, classes) logits."""
        return self._whole(images)

    def below_and_above(self, layer: str) -> tuple[Part, Part] | None:
        """Return the network up to and with a layer, and the rest of it, both compiled.

        None where the layer is not one of the stages of a Sequential network, where only a hook reaches it.
        """
        if layer == INPUT:
            return (lambda images: images), self._whole
        stages = [name for name, _ in self._orig_mod.named_children()]
        if not isinstance(self._orig_mod, nn.Sequential) or layer not in stages:
            return None
        if layer not in self._halves:
            cut = stages.index(layer) + 1
            self._halves[layer] = _compiled(self._orig_mod[:cut]), _compiled(self._orig_mod[cut:])
        return self._halves[layer]


def _compiled(network: nn.Module) -> Part:
    """Compile for each size of batch by itself: training has one or two, and known sizes give the faster code."""
    part: Part = torch.compile(network, dynamic=False)
    return part
