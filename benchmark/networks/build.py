"""Networks: images in [0, 1] go in, logits come out; normalisation is the first layer."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.runtime.errors import UsageError
from benchmark.settings import registry

SAMPLE = 2000  # training images, at least, that normalisation and whitening are computed from


class Normalize(nn.Module):
    """Subtract the channel means of training images and divide by their standard deviations.

    Part of the network, so that attacks see images in [0, 1] and cannot normalise twice.

    Args:
        mean: (C,) channel means of training images in [0, 1].
        std: (C,) channel standard deviations, all positive.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.reshape(1, -1, 1, 1).clone())
        self.register_buffer("std", std.reshape(1, -1, 1, 1).clone())

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) images in [0, 1] to normalised ones."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return (images - mean) / std


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias that keeps the height and width (at stride 1)."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


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


def whitening_stem(whitening: Tensor) -> nn.Sequential:
    """Return a frozen 2x2 convolution by the patches' whitening filters and their negatives, then GELU.

    Source: Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498, section 3.2.
    Deviations: no trainable bias.

    Args:
        whitening: (2 * 2 * C, C, 2, 2) filters that decorrelate the patches of normalised training images.
    """
    filters = torch.cat([whitening, -whitening])
    layer = nn.Conv2d(whitening.shape[1], len(filters), 2, bias=False)
    layer.weight = nn.Parameter(filters.clone(), requires_grad=False)
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
    whitening = whitening_filters(normalize(images))
    return _behind(normalize, whitening_stem(whitening), 2 * len(whitening), classes)


def fast_conv_net(normalize: Normalize, classes: int, images: Tensor) -> nn.Module:
    """Return `fast_net` with a learned stem: a 3x3 convolution, BatchNorm and GELU in place of the frozen whitening.

    As many channels leave the stem. It tells what belongs to a method from what belongs to the whitening, whose
    smallest eigenvalues turn small changes of the image into large ones behind the stem.
    """
    width = 2 * 4 * images.shape[1]
    stem = nn.Sequential(conv(images.shape[1], width), nn.BatchNorm2d(width), nn.GELU())
    return _behind(normalize, stem, width, classes)


def _behind(normalize: Normalize, stem: nn.Module, width: int, classes: int) -> nn.Module:
    """Return a network of a stem with `width` output channels, three pooled blocks and a linear head."""
    return nn.Sequential(
        OrderedDict(
            normalize=normalize,
            stem=stem,
            block1=pooled_block(width, 32),
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


def build_model(name: str, images: Tensor, classes: int, seed: int) -> nn.Module:
    """Build a network with its initial weights.

    Args:
        name: a name in the registry.
        images: (N, C, H, W) uint8 training images, in any order; about 2,000 evenly spaced ones give the
            normalisation and the whitening, the same for every arm and seed.
        classes: number of classes.
        seed: seed of the initial weights. PyTorch's layers draw them from the global generator, which is
            therefore seeded inside a fork and left as it was.

    Raises:
        UsageError: the network does not take images of this size.
    """
    build = registry.look_up(name, registry.MODELS)
    sample = images[:: max(1, len(images) // SAMPLE)].cpu().float() / 255  # an image folder is sorted by class
    normalize = Normalize(sample.mean((0, 2, 3)), sample.std((0, 2, 3)))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs' generators too
        model: nn.Module = build(normalize, classes, sample)
    try:
        with torch.no_grad():
            model.eval()(sample[:1])
    except RuntimeError as error:
        size = " x ".join(str(n) for n in images.shape[1:])
        raise UsageError(f"network {name!r} does not take images of {size} ({error}).") from error
    return model.train()


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode for a while; each gets its own mode back, whatever happens."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 (16 hex digits) of all parameters and buffers that are saved."""
    return _hash(model.state_dict())


def state_hash(model: nn.Module) -> str:
    """Return the SHA-256 (16 hex digits) of all parameters and buffers, also those that are not saved."""
    return _hash(dict(model.named_parameters()) | dict(model.named_buffers()))


def _hash(values: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(values.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
