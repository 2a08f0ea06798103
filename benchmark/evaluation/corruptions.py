"""Common corruptions: eight kinds of CIFAR-10-C at five severities, applied to the evaluated images.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
ICLR 2019, arXiv:1903.12261; parameters are those of the authors' make_cifar_c.py. A subset: noise (gaussian, shot,
impulse), blur (gaussian), brightness, contrast, pixelate, jpeg. Not there: the other blurs, weather and elastic, which
need further libraries or pictures of frost. Deviations: other random draws; the parameters are those for 32 pixels at
any image size, so that larger images are blurred and pixelated less than in ImageNet-C.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.float64]  # (N, C, H, W) in [0, 1]
Kind = Callable[[Images, float, np.random.Generator], Images]


def _gaussian_noise(x: Images, sd: float, generator: np.random.Generator) -> Images:
    return x + generator.normal(scale=sd, size=x.shape)


def _shot_noise(x: Images, photons: float, generator: np.random.Generator) -> Images:
    """Replace each value by a Poisson count; at full brightness it has the mean `photons`."""
    return np.asarray(generator.poisson(x * photons) / photons, dtype=np.float64)


def _impulse_noise(x: Images, share: float, generator: np.random.Generator) -> Images:
    """Set a share of all values to 0 or 1."""
    draw = generator.random(x.shape)
    return np.asarray(np.where(draw < share / 2, 0.0, np.where(draw < share, 1.0, x)), dtype=np.float64)


def _gaussian_blur(x: Images, sd: float, _generator: np.random.Generator) -> Images:
    """Blur height and width; the standard deviation is in pixels."""
    from scipy.ndimage import gaussian_filter  # here: a tenth of the seconds in which a run starts

    blurred: Images = gaussian_filter(x, (0, 0, sd, sd), mode="nearest")
    return blurred


def _brightness(x: Images, more: float, _generator: np.random.Generator) -> Images:
    """Raise the value of HSV (the largest channel), which scales all channels of a pixel."""
    value = x.max(axis=1, keepdims=True)  # (N, 1, H, W)
    brighter = np.minimum(value + more, 1.0)
    scale = brighter / np.where(value > 0, value, 1.0)
    return np.asarray(np.where(value > 0, x * scale, brighter), dtype=np.float64)


def _contrast(x: Images, share: float, _generator: np.random.Generator) -> Images:
    """Draw each channel of an image towards its mean."""
    means: Images = x.mean(axis=(2, 3), keepdims=True)
    return (x - means) * share + means


def _pixelate(x: Images, share: float, _generator: np.random.Generator) -> Images:
    """Shrink height and width to a share and enlarge them again, by boxes."""
    height, width = x.shape[2:]
    small, box = (int(width * share), int(height * share)), Image.Resampling.BOX
    return _through_pil(x, lambda image: image.resize(small, box).resize((width, height), box))


def _jpeg(x: Images, quality: float, _generator: np.random.Generator) -> Images:
    """Compress as JPEG of the given quality, 1 to 95."""

    def compress(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=int(quality))
        return Image.open(file)

    return _through_pil(x, compress)


def _through_pil(x: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    """Apply a function of PIL images, grey or colour, to each image."""
    grey = x.shape[1] == 1
    rows = np.round(255 * x).astype(np.uint8).transpose(0, 2, 3, 1)  # (N, H, W, C)
    changed = np.stack([np.asarray(change(Image.fromarray(row[..., 0] if grey else row))) for row in rows]) / 255
    return changed[:, None] if grey else changed.transpose(0, 3, 1, 2)


KINDS: dict[str, tuple[Kind, tuple[float, ...]]] = {
    "gaussian_noise": (_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": (_shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": (_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "gaussian_blur": (_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),
    "brightness": (_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": (_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "pixelate": (_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg": (_jpeg, (80, 65, 58, 50, 40)),
}
SEVERITIES = (1, 2, 3, 4, 5)
CACHE_BYTES = 2**31  # the corrupted images of one data set are kept in memory up to this size


def corrupt(images: NDArray[np.uint8], kind: str, severity: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return corrupted images of the same shape.

    Args:
        images: (N, C, H, W) bytes, of one channel or three.
        kind: a key of `KINDS`.
        severity: 1 to 5.
        generator: draws the noise.

    Raises:
        ValueError: another severity; 0 would be the strongest, by Python's negative indices.
    """
    if severity not in SEVERITIES:
        raise ValueError(f"severity = {severity}: allowed are 1 to 5.")
    change, parameters = KINDS[kind]
    changed = change(images / 255.0, parameters[severity - 1], generator)
    # Cut off, as the authors do; 1e-6 keeps whole values that floats cannot hold.
    return (255 * np.clip(changed, 0, 1) + 1e-6).astype(np.uint8)


def all_corruptions(images: NDArray[np.uint8], seed: int) -> Iterable[tuple[str, int, NDArray[np.uint8]]]:
    """Return (kind, severity, corrupted images) for every kind at every severity.

    The last images corrupted are kept in memory for the other runs of a study, unless they are more than 2 GiB.

    Args:
        images: (N, C, H, W) bytes, of one channel or three.
        seed: of the noise; each kind and severity has its own stream.
    """
    if images.nbytes * len(KINDS) * len(SEVERITIES) > CACHE_BYTES:
        return _make(images, seed)
    return _cached(images.tobytes(), images.shape, seed)


@functools.lru_cache(maxsize=1)
def _cached(raw: bytes, shape: tuple[int, ...], seed: int) -> tuple[tuple[str, int, NDArray[np.uint8]], ...]:
    return tuple(_make(np.frombuffer(raw, dtype=np.uint8).reshape(shape), seed))


def _make(images: NDArray[np.uint8], seed: int) -> Iterator[tuple[str, int, NDArray[np.uint8]]]:
    pairs = [(kind, severity) for kind in KINDS for severity in SEVERITIES]
    for number, (kind, severity) in enumerate(pairs):
        yield kind, severity, corrupt(images, kind, severity, np.random.default_rng((seed, number)))
