"""Networks: images in [0, 1] go in, logits come out; normalisation is the first layer."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from benchmark.networks.catalogue import NETWORKS
from benchmark.networks.checks import refuse_missing_gradient, refuse_other_outputs
from benchmark.runtime.errors import UsageError, own_words
from benchmark.settings.names import look_up
from benchmark.settings.preset import SAMPLE

SIGNATURE = "a function (normalize, classes, images) -> torch.nn.Module"  # of a network, in messages


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


def build_model(name: str, images: Tensor, classes: int, seed: int) -> nn.Module:
    """Build a network with its initial weights.

    Args:
        name: a name in `NETWORKS`.
        images: (N, C, H, W) uint8 training images, in any order; about 2,000 evenly spaced ones give the
            normalisation and the whitening, the same for every arm and seed. A channel that is constant in them is
            divided by 1.
        classes: number of classes.
        seed: seed of the initial weights. PyTorch's layers draw them from the global generator, which is
            therefore seeded inside a fork and left as it was.

    Raises:
        UsageError: the row's function fails or returns no network; the network fails on these images, returns something
            else than logits (N, classes), or hides their gradient.
        RunError: its logits are not finite.
    """
    build, who = look_up(name, NETWORKS), f"network {name!r} ({NETWORKS[name].target})"
    pixels = images[:: max(1, len(images) // SAMPLE)].cpu()  # an image folder is sorted by class
    constant = pixels.amin((0, 2, 3)) == pixels.amax((0, 2, 3))  # channels in which all images are alike
    sample = pixels.float() / 255
    normalize = Normalize(sample.mean((0, 2, 3)), sample.std((0, 2, 3)).masked_fill(constant, 1.0))
    with own_words(UsageError, f"{who} cannot be built as {SIGNATURE}"), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs' generators too
        model: nn.Module = build(normalize, classes, sample)
    if not isinstance(model, nn.Module):
        raise UsageError(f"{who} returned {type(model).__name__}; a network is {SIGNATURE}.")
    with own_words(UsageError, f"{who} fails"):
        model.eval()
        refuse_other_outputs(who, model, sample[:2], classes)
        refuse_missing_gradient(who, model, sample[:2])
        model.train()
    return model


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


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a network: that of its first parameter, or of its first buffer where it has none."""
    return next(chain(model.parameters(), model.buffers())).device


def count_parameters(model: nn.Module) -> int:
    """Return the number of a network's weights, trainable or not, without its buffers."""
    return sum(parameter.numel() for parameter in model.parameters())


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 (16 hex digits) of all parameters and buffers that are saved."""
    return state_dict_hash(model.state_dict())


def state_hash(model: nn.Module) -> str:
    """Return the SHA-256 (16 hex digits) of all parameters and buffers, also those that are not saved."""
    return state_dict_hash(dict(model.named_parameters()) | dict(model.named_buffers()))


def state_dict_hash(values: Mapping[str, object]) -> str:
    """Return the SHA-256 (16 hex digits) of names and tensors, of any type and layout; extra state is left out."""
    digest = hashlib.sha256()
    for name, value in sorted(values.items()):
        if isinstance(value, Tensor):
            digest.update(name.encode())
            digest.update(_bytes_of(value))
    return digest.hexdigest()[:16]


def _bytes_of(value: Tensor) -> bytes:
    value = value.detach().cpu()
    if value.layout != torch.strided:
        value = value.to_dense()
    # As bytes, because numpy lacks some of torch's types, such as bfloat16.
    return value.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
