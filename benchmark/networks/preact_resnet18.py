"""PreActResNet-18 for 32x32 images, the network of the mixup and Manifold Mixup papers' CIFAR tables."""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.networks.build import Normalize, conv


class PreActBlock(nn.Module):
    """BatchNorm, ReLU, 3x3 conv, twice, added to a shortcut (a 1x1 conv of the activated input where shapes change)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs)
        self.shortcut = None if stride == 1 and inputs == outputs else conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        activated = F.relu(self.bn1(x))
        skip = x if self.shortcut is None else self.shortcut(activated)
        residual: Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return residual + skip


def preact_resnet18(normalize: Normalize, classes: int, images: Tensor) -> nn.Module:
    """Return PreActResNet-18: widths 64 to 512, two blocks a stage, 11.2 million parameters.

    Source: He et al., "Identity Mappings in Deep Residual Networks", arXiv:1603.05027; CIFAR variant of the
    mixup authors (3x3 stem without pooling). Deviation: BatchNorm and ReLU before the pooling, as in the paper
    (the widespread kuangliu code leaves them out).
    """
    stages = OrderedDict[str, nn.Module](normalize=normalize, stem=conv(images.shape[1], 64))
    inputs = 64
    for i, (width, stride) in enumerate([(64, 1), (128, 2), (256, 2), (512, 2)], start=1):
        stages[f"block{i}"] = nn.Sequential(PreActBlock(inputs, width, stride), PreActBlock(width, width, 1))
        inputs = width
    stages["norm"] = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
    stages["head"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
    return nn.Sequential(stages)
