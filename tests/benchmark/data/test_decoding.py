"""Any kind of image file becomes an upright RGB image, or a reason why not."""

from pathlib import Path

import numpy as np
import pytest
from photos import noise
from PIL import Image, ImageCms, ImageOps

from benchmark.data.decode import UnreadableImageError, read_rgb

COLOUR = (200, 30, 60)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    original = Image.new("RGB", (20, 30), COLOUR).convert(mode)
    path = tmp_path / ("image.jpg" if mode in ("CMYK", "YCbCr") else "image.png")
    image = read_rgb(saved(path, original))
    assert (image.mode, image.size) == ("RGB", (20, 30))
    difference = np.asarray(image).astype(int) - np.asarray(original.convert("RGB")).astype(int)
    assert abs(difference).max() <= 4


def test_a_palette_with_transparent_colours_keeps_its_colours(tmp_path: Path) -> None:
    original = noise(16, 16).convert("P")
    colours = np.asarray(original.convert("RGB"))
    original.info["transparency"] = bytes([0] * 256)
    assert np.array_equal(np.asarray(read_rgb(saved(tmp_path / "clear.png", original))), colours)


def test_sixteen_bits_are_divided_by_257_and_not_clipped(tmp_path: Path) -> None:
    levels = np.array([[0, 257, 128, 129], [32768, 65535, 65278, 1000]], dtype=np.uint16)
    image = read_rgb(saved(tmp_path / "deep.png", Image.fromarray(levels)))
    expected = np.rint(levels / 257).astype(np.uint8)
    assert np.array_equal(np.asarray(image), np.stack([expected] * 3, axis=2))
    assert expected.tolist() == [[0, 1, 0, 1], [128, 255, 254, 4]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_camera_is_undone(tmp_path: Path, orientation: int) -> None:
    upright = noise(16, 24)
    turned = {
        1: upright,
        2: ImageOps.mirror(upright),
        3: upright.rotate(180),
        4: ImageOps.flip(upright),
        5: ImageOps.mirror(upright.rotate(-90, expand=True)),
        6: upright.rotate(90, expand=True),
        7: ImageOps.mirror(upright.rotate(90, expand=True)),
        8: upright.rotate(-90, expand=True),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_rgb(saved(tmp_path / "photo.png", turned, exif=exif))
    assert np.array_equal(np.asarray(found), np.asarray(upright))


def damaged(tmp_path: Path, kind: str) -> Path:
    path = saved(tmp_path / "photo.JPEG", noise(64, 64))
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[: len(content) // 2], "text": b"not an image\n", "empty": b""}[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("truncated", "image file is truncated"),
        ("text", "no image of a known format"),
        ("empty", "no image of a known format"),
        ("missing", "No such file or directory"),
    ],
)
def test_what_cannot_be_read_is_a_reason_in_one_line(tmp_path: Path, kind: str, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason) as error:
        read_rgb(damaged(tmp_path, kind))
    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)


def test_a_folder_in_the_place_of_an_image_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="directory"):
        read_rgb(tmp_path)


def test_a_colour_profile_does_not_hinder(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = saved(tmp_path / "profile.jpg", Image.new("RGB", (8, 8), COLOUR), icc_profile=profile)
    assert np.abs(np.asarray(read_rgb(image)).astype(int) - np.array(COLOUR)).max() <= 4
