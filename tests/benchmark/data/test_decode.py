"""Any kind of image file becomes an upright RGB image, or a reason why not."""

import errno
import io
import os
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, ImageCms, ImageOps
from studies.photos import as_files, decoded, noise, write_photos

from benchmark.data.decode import FORMATS, UnreadableImageError, read_rgb
from benchmark.data.streamed import Skipped

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


def png_that_claims(width: int, height: int) -> bytes:
    """A few bytes of PNG whose header promises a picture of this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def damaged(path: Path, kind: str) -> Path:
    content = saved(path, noise(64, 64)).read_bytes()
    if kind in ("missing", "folder"):
        path.unlink()
        return path if kind == "missing" else path.parent
    halves = {"truncated": content[: len(content) // 2], "text": b"not an image\n", "empty": b""}
    path.write_bytes({**halves, "huge": png_that_claims(100_000, 100_000)}[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("truncated", "image file is truncated"),
        ("text", "no image of a known format"),
        ("empty", "no image of a known format"),
        ("missing", "No such file or directory"),
        ("folder", "directory"),
        ("huge", "exceeds limit"),
    ],
)
def test_an_unreadable_file_is_a_reason_in_one_line(tmp_path: Path, kind: str, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason) as error:
        read_rgb(damaged(tmp_path / "photo.JPEG", kind))
    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)


def test_a_colour_profile_does_not_hinder(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = saved(tmp_path / "profile.jpg", Image.new("RGB", (8, 8), COLOUR), icc_profile=profile)
    assert np.abs(np.asarray(read_rgb(image)).astype(int) - np.array(COLOUR)).max() <= 4


GREY = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize(
    ("name", "pixels", "reason"),
    [
        ("zero to one.tif", GREY, "floating-point pixels"),
        ("hdr.ppm", GREY * 1000, "floating-point pixels"),
        ("deep.tif", (GREY * 2**30).astype(np.int32), "32-bit pixels|signed pixels"),
    ],
)
def test_pixels_without_a_fixed_white_are_refused(tmp_path: Path, name: str, pixels: np.ndarray, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=f"it has ({reason}), which have no fixed white"):
        read_rgb(saved(tmp_path / name, Image.fromarray(pixels)))


def tiff(pixels: np.ndarray, **tags: int) -> bytes:
    """An uncompressed grey-scale TIFF of 16-bit pixels with these tags beside the needed ones, little-endian."""
    height, width = pixels.shape
    content = pixels.astype("<u2").tobytes()
    values = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(content)}
    values |= {int(tag[1:]): value for tag, value in tags.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items()))
    directory = struct.pack("<H", len(values)) + entries + bytes(4)
    return struct.pack("<2sHI", b"II", 42, 8 + len(content)) + content + directory


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({}, None),
        ({"_339": 1}, None),
        ({"_339": 2}, "signed pixels"),
        ({"_262": 0}, "from white to black"),
        ({"_258": 12}, "other than 16 bits"),
    ],
)
def test_sixteen_bits_of_tiff_are_read_where_their_white_is_known(
    tmp_path: Path, tags: dict[str, int], reason: str | None
) -> None:
    levels = np.array([[0, 257, 2570], [65535, 32768, 1000]], dtype=np.uint16)
    path = tmp_path / "deep.tiff"
    path.write_bytes(tiff(levels, **tags))
    if reason:
        with pytest.raises(UnreadableImageError, match=reason):
            read_rgb(path)
    else:
        assert np.asarray(read_rgb(path))[..., 0].tolist() == [[0, 1, 10], [255, 128, 4]]


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif"])
def test_no_other_format_is_opened_whatever_the_ending(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\nshowpage\n"
    executed: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments, **_: executed.append(arguments))
    for content in (postscript, b"GIF89a\x01\0\x01\0\0\0\0;", b"8BPS\0\1"):
        path = tmp_path / f"photo{ending}"
        path.write_bytes(content)
        with pytest.raises(UnreadableImageError, match="no image of a known format"):
            read_rgb(path)
    assert not executed


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "MemoryError"),
        (KeyError("x"), "'x'"),
        (IndexError("a\nb"), "a b"),
        (RecursionError("z"), "z"),
        (EOFError(), "EOFError"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_pillow_raises_is_an_unreadable_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    monkeypatch.setattr(Image, "open", Mock(side_effect=error))
    with pytest.raises(UnreadableImageError, match=f"^{reason}$"):
        read_rgb(tmp_path)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_machine_that_can_open_no_more_files_is_no_damaged_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    files = as_files(write_photos(tmp_path, 2), tmp_path)._replace(skipped=Skipped(2))
    monkeypatch.setattr(Image, "open", Mock(side_effect=OSError(number, os.strerror(number))))
    with pytest.raises(OSError, match=os.strerror(number)):
        decoded(files, [0], workers=0)
    assert not files.damaged


MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "L", "LA", "RGBA", "P", "1", "I;16"),
    "PPM": ("RGB", "L", "1", "I;16", "F"),
    "BMP": ("RGB", "L", "P", "1"),
    "TIFF": ("RGB", "L", "LA", "RGBA", "P", "1", "I;16", "CMYK", "F", "I"),
    "WEBP": ("RGB", "RGBA"),
}
TIFF_COMPRESSIONS = ("packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg")


def originals() -> Iterator[tuple[str, bytes]]:
    """Yield (ending, content) of valid images, several for each ending."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    for ending, kind in FORMATS.items():
        for mode in MODES[kind]:
            image = Image.fromarray(pixels)
            deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
            options: list[dict[str, Any]] = [{}]
            options += [{"exif": exif}] if kind in ("JPEG", "PNG", "WEBP") else []
            options += [{"compression": name} for name in TIFF_COMPRESSIONS if kind == "TIFF" and mode in ("RGB", "L")]
            for chosen in options:
                buffer = io.BytesIO()
                (deep if mode == "I;16" else image.convert(mode)).save(buffer, kind, **chosen)
                yield ending, buffer.getvalue()


SOURCES = list(originals())


@st.composite
def damaged_images(draw: st.DrawFn) -> tuple[str, bytes]:
    """An ending, and an image with some of its bytes changed, cut out, repeated or replaced by those of another."""
    ending, whole = draw(st.sampled_from(SOURCES))
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, draw(st.sampled_from([60, len(data)]))))  # headers matter most
        end = draw(st.sampled_from([place + 1, place + 2, place + 4, place + 30, len(data)]))
        other = draw(st.sampled_from(SOURCES))[1][place:end]
        fixed = st.sampled_from([b"", b"\xff", b"\x7f\xff\xff\xff", bytes(4 * data[place:end]), other])
        data[place:end] = draw(fixed | st.binary(max_size=30))
    return draw(st.sampled_from([ending] * 9 + list(FORMATS))), bytes(data)


def test_damaged_images_of_all_endings_are_read_or_refused(tmp_path: Path) -> None:
    outcomes = Counter[str]()

    @settings(max_examples=150, derandomize=True, deadline=20_000, database=None)  # ms
    @given(damaged_images())
    def read_or_refuse(image: tuple[str, bytes]) -> None:
        path = tmp_path / f"image{image[0]}"
        path.write_bytes(image[1])
        found: np.ndarray | str
        try:
            found = np.asarray(read_rgb(path))
        except UnreadableImageError as error:
            found = str(error)
        if isinstance(found, str):
            assert found.strip()
            assert "\n" not in found
        else:
            assert found.dtype == np.uint8
            assert found.shape[2:] == (3,)
        outcomes["refused" if isinstance(found, str) else "read"] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd EXIF entries, and of large images
        read_or_refuse()
    assert outcomes["read"] > 10
    assert outcomes["refused"] > 50
