"""Random starts that belong to an image and not to the batch it is attacked in."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

IMAGES = 4  # dimensions of a batch of images; draws of other shapes are shared by the whole batch


class Draws(NamedTuple):
    """Seeds of one attack: of the draws that all images share, and of each image's own."""

    shared: int
    images: Sequence[int]

    def rows(self, indices: Sequence[int]) -> "Draws":
        """Return the draws of the images at `indices`."""
        return Draws(self.shared, [self.images[i] for i in indices])


def draws(seed: int, images: int) -> Draws:
    """Return the seeds of an attack on N images; the seed of image i does not depend on N."""
    generator = torch.Generator().manual_seed(seed)
    return Draws(seed % 2**31, torch.randint(2**31, (images,), generator=generator).tolist())


@contextmanager
def isolated_generators() -> Iterator[None]:
    """Leave the global generators as they were, also those of GPUs, which attack packages seed on any device."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        yield


class ImageStreams(TorchFunctionMode):
    """A context: draws for a batch of images (torch.rand, torch.randn, uniform_) come from each image's generator.

    Attack packages draw the start of all images of a batch at once, so an image's start, and with it whether it is
    fooled, would depend on which other images are in the batch. All other draws, such as the squares of Square that all
    images share, come from the global generator as before, which the caller seeds.

    Args:
        seeds: one for each row of the batch that is attacked.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__()
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if options.get("generator") is not None:
            return func(*args, **options)
        if func in (torch.rand, torch.randn):
            shape = args[0] if len(args) == 1 and not isinstance(args[0], int) else args
            if self._of_the_batch(shape):
                device = options.pop("device", None)
                rows = [func(*shape[1:], generator=generator, **options) for generator in self.generators]
                return torch.stack(rows).to(device)
        elif func is Tensor.uniform_ and self._of_the_batch(args[0].shape):
            tensor: Tensor = args[0]
            rows = [
                torch.empty(tensor.shape[1:], dtype=tensor.dtype).uniform_(*args[1:], generator=generator, **options)
                for generator in self.generators
            ]
            return tensor.copy_(torch.stack(rows))
        return func(*args, **options)

    def _of_the_batch(self, shape: Sequence[int]) -> bool:
        return len(shape) == IMAGES and shape[0] == len(self.generators)
