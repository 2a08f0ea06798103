"""ResNet-50, torchvision's, with normalisation inside and its stages named as those of our other networks."""

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from benchmark.networks.build import Normalize
from benchmark.runtime.torchvision import ensure_importable


def resnet50(normalize: Normalize, classes: int, _images: Tensor) -> nn.Module:
    """Return ResNet-50 with random weights: stem, four stages of bottlenecks, linear head; for images of 224 pixels.

    Source: He et al., CVPR 2016, arXiv:1512.03385; torchvision's, whose stride is in the 3x3 convolutions (v1.5).
    """
    ensure_importable()
    from torchvision.models import resnet50 as build

    network: Any = build(weights=None, num_classes=classes)
    return nn.Sequential(
        OrderedDict(
            normalize=normalize,
            stem=nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool),
            block1=network.layer1,
            block2=network.layer2,
            block3=network.layer3,
            block4=network.layer4,
            head=nn.Sequential(network.avgpool, nn.Flatten(), network.fc),
        )
    )
