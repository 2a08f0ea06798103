"""Corruptions against the published parameters, PIL, SciPy, colorsys and the laws their noise follows."""

import colorsys
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import poisson

from benchmark.evaluation import corruptions
from benchmark.evaluation.corruptions import KINDS, all_corruptions, corrupt

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]

# Hendrycks and Dietterich's make_cifar_c.py, severities 1 to 5.
PUBLISHED = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg": (80, 65, 58, 50, 40),
}
LEVELS = range(1, 6)
SIZES = ((8, 8), (32, 32), (64, 64), (24, 40))
every_kind = pytest.mark.parametrize("kind", PUBLISHED)
every_severity = pytest.mark.parametrize("severity", LEVELS)
both_channels = pytest.mark.parametrize("channels", [1, 3])


def pictures(channels: int, height: int = 32, width: int = 32, n: int = 6) -> Bytes:
    """Images (n, channels, height, width) with soft shapes, some grain, and black and white pixels."""
    generator = np.random.default_rng((channels, height, width))
    soft = gaussian_filter(generator.normal(size=(n, channels, height, width)), (0, 0, height / 8, width / 8))
    low, high = soft.min((2, 3), keepdims=True), soft.max((2, 3), keepdims=True)
    grain = generator.normal(scale=0.02, size=soft.shape)
    found: Bytes = np.clip(255 * ((soft - low) / (high - low) + grain), 0, 255).astype(np.uint8)
    found[:, :, 0, 0], found[:, :, -1, 0] = 0, 255
    return found


def grey(value: int, n: int = 100) -> Bytes:
    """Colour images of one value."""
    return np.full((n, 3, 32, 32), value, dtype=np.uint8)


def seeded(images: Bytes, kind: str, severity: int) -> Bytes:
    """Corrupted images, with the same draws each time."""
    return corrupt(images, kind, severity, np.random.default_rng(0))


def assert_whole_parts(found: Bytes, exact: Floats) -> None:
    """Assert that bytes are the whole parts of values, as far as floats hold these."""
    rest = np.clip(exact, 0, 255) - found
    assert rest.min() > -1e-4
    assert rest.max() < 1 + 1e-4


def test_the_kinds_are_the_eight_that_are_tested_here() -> None:
    assert list(KINDS) == list(PUBLISHED)


@pytest.mark.parametrize("severity", [0, -1, 6])
def test_another_severity_is_refused(severity: int) -> None:
    with pytest.raises(ValueError, match=rf"severity = {severity}: allowed are 1 to 5"):
        seeded(pictures(3, 4, 4), "contrast", severity)


@every_kind
@both_channels
@pytest.mark.parametrize("size", SIZES)
def test_shape_and_bytes_are_kept_and_the_originals_untouched(kind: str, channels: int, size: tuple[int, int]) -> None:
    images = pictures(channels, *size, n=3)
    before = images.copy()
    for severity in LEVELS:
        found = seeded(images, kind, severity)
        assert found.dtype == np.uint8
        assert found.shape == images.shape
        assert not np.array_equal(found, images)
    assert np.array_equal(images, before)


@pytest.mark.parametrize("kind", ["gaussian_noise", "shot_noise", "impulse_noise"])
def test_noise_of_an_image_and_of_a_channel_is_its_own(kind: str) -> None:
    changes = seeded(grey(128, 40), kind, 5).astype(np.float64).reshape(120, -1)
    correlations = np.asarray(np.corrcoef(changes))[np.triu_indices(120, 1)]
    assert np.abs(correlations).max() < 6 / np.sqrt(32 * 32)
    assert correlations.std() == pytest.approx(1 / np.sqrt(32 * 32), rel=0.1)


@pytest.mark.parametrize(("kind", "widest"), [("gaussian_noise", 0.10), ("shot_noise", 50**-0.5), ("impulse_noise", 0)])
def test_noise_beyond_black_and_white_is_cut_off_and_does_not_wrap_around(kind: str, widest: float) -> None:
    for value in (0, 255):
        away = np.abs(seeded(grey(value), kind, 5).astype(int) - value)
        near = away[away < 255] if kind == "impulse_noise" else away
        assert near.max() <= 1 + 255 * 6 * widest
        assert (near == 0).mean() > 0.49


@every_severity
def test_gaussian_noise_has_the_published_sd_and_a_normal_law(severity: int) -> None:
    sd = PUBLISHED["gaussian_noise"][severity - 1]
    change = seeded(grey(128), "gaussian_noise", severity) + 0.5 - 128.0
    assert change.mean() == pytest.approx(0, abs=5 * 255 * sd / np.sqrt(change.size))
    assert change.std() == pytest.approx(np.sqrt((255 * sd) ** 2 + 1 / 12), rel=0.01)
    for sigmas, share in ((1, 0.6827), (2, 0.9545)):
        bound = 255 * sd * sigmas
        whole_bytes = 0.5 / (255 * sd)  # a byte is the whole part of a value
        assert (np.abs(change) < bound).mean() == pytest.approx(share, abs=0.005 + 0.5 * whole_bytes)


@every_severity
@pytest.mark.parametrize("value", [64, 128])
def test_shot_noise_is_a_poisson_count_of_variance_x_over_photons(severity: int, value: int) -> None:
    photons, x = PUBLISHED["shot_noise"][severity - 1], value / 255
    found = seeded(grey(value), "shot_noise", severity)
    assert (found / 255).var() == pytest.approx(x / photons, rel=0.04)  # bytes blur it a little
    counts = np.arange(4 * photons)
    shares = np.bincount(
        np.minimum((255 * counts) // photons, 255).astype(int), poisson.pmf(counts, x * photons), minlength=256
    )
    sd = np.sqrt(shares * (1 - shares) / found.size)
    assert (np.abs(np.bincount(found.ravel(), minlength=256) / found.size - shares) <= 5 * sd + 1e-5).all()


@every_severity
def test_impulse_noise_sets_the_published_share_to_black_or_white(severity: int) -> None:
    share, found = PUBLISHED["impulse_noise"][severity - 1], seeded(grey(100), "impulse_noise", severity)
    assert set(np.unique(found)) == {0, 100, 255}
    for value, expected in ((0, share / 2), (255, share / 2), (100, 1 - share)):
        sd = np.sqrt(expected * (1 - expected) / found.size)
        assert abs((found == value).mean() - expected) < 5 * sd


PLANE_BY_PLANE: dict[str, Callable[[Floats, float], Floats]] = {
    "gaussian_blur": lambda plane, sd: gaussian_filter(plane, sd, mode="nearest"),
    "contrast": lambda plane, share: share * plane + (1 - share) * plane.mean(),
}


@every_severity
@both_channels
@pytest.mark.parametrize("kind", PLANE_BY_PLANE)
def test_blur_is_scipys_and_contrast_is_drawn_to_the_mean_of_each_channel_alone(
    kind: str, severity: int, channels: int
) -> None:
    images, parameter = pictures(channels, 24, 40), PUBLISHED[kind][severity - 1]
    planes = [[255 * PLANE_BY_PLANE[kind](plane / 255, parameter) for plane in image] for image in images]
    assert_whole_parts(seeded(images, kind, severity), np.array(planes))


@every_severity
def test_brightness_raises_the_value_of_hsv(severity: int) -> None:
    more, images = PUBLISHED["brightness"][severity - 1], pictures(3, 16, 16)
    pixels = images.transpose(0, 2, 3, 1).reshape(-1, 3) / 255
    expected = []
    for red, green, blue in pixels:
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        expected.append(colorsys.hsv_to_rgb(hue, saturation, min(value + more, 1.0)))
    exact = 255 * np.array(expected).reshape(6, 16, 16, 3).transpose(0, 3, 1, 2)
    found = seeded(images, "brightness", severity)
    assert_whole_parts(found, exact)
    assert (found >= images).all()


@every_severity
@both_channels
@pytest.mark.parametrize("size", SIZES)
def test_pixelate_is_pils_box_there_and_back(severity: int, channels: int, size: tuple[int, int]) -> None:
    images, share = pictures(channels, *size, n=2), PUBLISHED["pixelate"][severity - 1]
    height, width = size
    found = seeded(images, "pixelate", severity)
    for image, changed in zip(images, found, strict=True):
        for plane, got in zip(image, changed, strict=True):
            small = Image.fromarray(plane).resize((int(width * share), int(height * share)), Image.Resampling.BOX)
            assert np.array_equal(np.asarray(small.resize((width, height), Image.Resampling.BOX)), got)


def test_pixelate_computed_by_hand() -> None:
    """At 0.75, 4 pixels become 3 boxes of 4/3: means of the pixels whose centres they hold, then the nearest again."""
    row = np.array([0, 90, 210, 30] * 2, dtype=np.uint8)
    for image in (np.tile(row, (8, 1)), np.tile(row, (8, 1)).T):
        expected = np.where(np.isin(image, (90, 210)), 150, image)
        assert np.array_equal(seeded(image[None, None], "pixelate", 4)[0, 0], expected)


@every_severity
@both_channels
def test_jpeg_is_what_pil_reads_back_from_each_image_alone(severity: int, channels: int) -> None:
    images, quality = pictures(channels), PUBLISHED["jpeg"][severity - 1]
    found = seeded(images, "jpeg", severity)
    for image, got in zip(images, found, strict=True):
        planes = [Image.fromarray(plane) for plane in image]
        file = BytesIO()
        (planes[0] if channels == 1 else Image.merge("RGB", planes)).save(file, format="JPEG", quality=int(quality))
        decoded = Image.open(BytesIO(file.getvalue()))
        assert [np.asarray(plane).tolist() for plane in decoded.split()] == got.tolist()


# All of them, made once.


def made(images: Bytes, seed: int) -> list[tuple[str, int, Bytes]]:
    return [(kind, severity, changed.copy()) for kind, severity, changed in all_corruptions(images, seed)]


@pytest.mark.parametrize("limit", [0, corruptions.CACHE_BYTES])
def test_every_corruption_has_its_own_draws_kept_in_memory_or_not(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corruptions, "CACHE_BYTES", limit)
    images = pictures(3, 16, 16, n=2)
    found = made(images, seed=7)
    assert [(kind, severity) for kind, severity, _ in found] == [(kind, s) for kind in KINDS for s in range(1, 6)]
    for number, (kind, severity, changed) in enumerate(found):
        assert np.array_equal(changed, corrupt(images, kind, severity, np.random.default_rng((7, number))))
    for other in (made(images, seed=8), made(255 - images, seed=7)):
        assert not any(np.array_equal(a, b) for (_, _, a), (_, _, b) in zip(found[:15], other[:15], strict=True))


@pytest.mark.parametrize(("limit", "times"), [(0, 80), (corruptions.CACHE_BYTES, 40)])
def test_images_are_corrupted_once_for_all_runs_of_a_study_unless_they_are_too_large(
    limit: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(images: Bytes, kind: str, severity: int, generator: np.random.Generator) -> Bytes:
        calls.append(kind)
        return corrupt(images, kind, severity, generator)

    monkeypatch.setattr(corruptions, "CACHE_BYTES", limit)
    monkeypatch.setattr(corruptions, "corrupt", counted)
    images = pictures(3, 16, 16, n=3)
    for run in (images, images.copy()):  # of equal bytes
        made(run, seed=11)
    assert len(calls) == times
