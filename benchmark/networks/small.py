"""The network of the smoke study: three convolutions on 8x8 images."""

from collections import OrderedDict

from torch import Tensor, nn

from benchmark.networks.build import Normalize, conv


def small_net(normalize: Normalize, classes: int, images: Tensor) -> nn.Module:
    """Return the network of the smoke study: three 3x3 convolutions on 8x8 images (about 30,000 weights)."""
    channels = images.shape[1]
    return nn.Sequential(
        OrderedDict(
            normalize=normalize,
            stem=nn.Sequential(conv(channels, 16), nn.BatchNorm2d(16), nn.ReLU()),
            block1=nn.Sequential(conv(16, 32), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            block2=nn.Sequential(conv(32, 64), nn.BatchNorm2d(64), nn.ReLU()),
            head=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)),
        )
    )
