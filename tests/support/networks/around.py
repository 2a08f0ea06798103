"""A wrapper around a network, as people put around theirs: freshly made, it says training=True."""

from torch import Tensor, nn


class Around(nn.Module):
    """A network to which subclasses do something, before or after."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits
