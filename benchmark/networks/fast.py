"""The networks of the CPU studies, after airbench (Keller Jordan, arXiv:2404.00498): a whitening or learned stem."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.networks.build import Normalize, conv


def whitening_stem(images: Tensor, stride: int = 1) -> nn.Sequential:
    """Return a frozen 2x2 convolution by the whitening filters of images and their negatives, then GELU.

    Source: Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498, section 3.2.
    Deviations: no trainable bias.

    Args:
        images: (N, C, H, W) normalised training images, whose patches the filters decorrelate.
        stride: of the convolution; at 2 the patches do not overlap and height and width are halved.
    """
    whitening = whitening_filters(images)
    filters = torch.cat([whitening, -whitening])
    layer = nn.Conv2d(images.shape[1], len(filters), 2, stride, bias=False)
    layer.weight = nn.Parameter(filters, requires_grad=False)
    return nn.Sequential(layer, nn.GELU())


def pooled_block(inputs: int, outputs: int) -> nn.Sequential:
    """Return conv, pool, BatchNorm, GELU, conv, BatchNorm, GELU; halves height and width."""
    return nn.Sequential(
        conv(inputs, outputs),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(outputs),
        nn.GELU(),
        conv(outputs, outputs),
        nn.BatchNorm2d(outputs),
        nn.GELU(),
    )


def fast_net(normalize: Normalize, classes: int, images: Tensor) -> nn.Module:
    """Return the network of the CPU studies, after airbench: whitening stem, three pooled blocks, linear head.

    Source: Keller Jordan, arXiv:2404.00498, section 3. Deviations: widths 32, 128, 128; BatchNorm and
    initialisation are PyTorch's defaults; maximum over what is left of the image, so that any size fits.
    """
    return _behind(normalize, whitening_stem(normalize(images)), images.shape[1], classes)


def fast_64_net(normalize: Normalize, classes: int, images: Tensor) -> nn.Module:
    """Return `fast_net` for images of 64 pixels: its stem takes patches that do not overlap.

    The 24 channels of a 2x2 patch are its 12 values, whitened, and their negatives: nothing is lost, and the network
    costs 1.2 times what `fast_net` costs on images of 32 pixels, instead of 4.4 times.
    """
    return _behind(normalize, whitening_stem(normalize(images), stride=2), images.shape[1], classes)


def fast_conv_net(normalize: Normalize, classes: int, images: Tensor) -> nn.Module:
    """Return `fast_net` with a learned stem: a 3x3 convolution, BatchNorm and GELU in place of the frozen whitening.

    As many channels leave the stem. It tells what belongs to a method from what belongs to the whitening, whose
    smallest eigenvalues turn small changes of the image into large ones behind the stem.
    """
    channels = images.shape[1]
    stem = nn.Sequential(conv(channels, 8 * channels), nn.BatchNorm2d(8 * channels), nn.GELU())
    return _behind(normalize, stem, channels, classes)


def _behind(normalize: Normalize, stem: nn.Module, channels: int, classes: int) -> nn.Module:
    """Return a network of a stem (8 output channels for each of the image's), three pooled blocks and a linear head."""
    return nn.Sequential(
        OrderedDict(
            normalize=normalize,
            stem=stem,
            block1=pooled_block(8 * channels, 32),
            block2=pooled_block(32, 128),
            block3=pooled_block(128, 128),
            head=nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(128, classes)),
        )
    )


def whitening_filters(images: Tensor) -> Tensor:
    """Return 2x2 filters whose outputs on the images are uncorrelated with unit variance.

    The filters are the eigenvectors of the covariance of all 2x2 patches, each divided by the square root of
    its eigenvalue (+ 5e-4), largest first; each eigenvector's sign makes its largest entry positive.

    Args:
        images: (N, C, H, W) normalised images.

    Returns:
        (4 * C, C, 2, 2) filters.
    """
    channels = images.shape[1]
    patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 4 * channels).double()  # (N * (H - 1) * (W - 1), 4 * C)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))  # (1, 4 * C)
    filters: Tensor = (vectors * largest.sign() / (values + 5e-4).sqrt()).T.flip(0)
    return filters.reshape(-1, channels, 2, 2).float()
