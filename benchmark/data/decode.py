"""Image files in, upright 8-bit RGB images out."""

import errno
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# The endings of image files, and Pillow's name of their format. No other format is ever opened: Pillow goes by a
# file's content, and would pass a PostScript file named .jpg to Ghostscript.
FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
# Tags of TIFF, and their usual values.
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
BLACK_IS_ZERO, UNSIGNED = 1, 1
USUAL = ((None, None), ((16,), None), ((16,), BLACK_IS_ZERO))  # of 16 bits: no TIFF, or one whose 65,535 is white


class UnreadableImageError(Exception):
    """A file that is no readable image; the text gives the reason, in one line."""


def read_rgb(path: Path) -> Image.Image:
    """Return an image file as 8-bit RGB, turned upright by its EXIF orientation.

    Grey-scale, palette and CMYK images are converted; transparency is dropped; 16-bit grey levels are divided by 257,
    which maps 65,535 to 255. 32-bit integers and floating-point numbers have no fixed white and are refused.

    Raises:
        UnreadableImageError: the file is missing, empty, damaged, of another format or has such pixels.
        OSError: this machine has no memory or file handles left, which says nothing of the file.
    """
    try:
        with Image.open(path, formats=sorted(set(FORMATS.values()))) as file:
            _refuse_unscaled(file)
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16 bits, which `convert` would clip at 255
                levels = np.asarray(image).clip(0, 65535) / 257  # (H, W)
                image = Image.fromarray(np.rint(levels).astype(np.uint8))
            if "transparency" in image.info:  # a palette with it converts by way of RGBA only
                image = image.convert("RGBA")
            return image if image.mode == "RGB" else image.convert("RGB")
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError("it is no image of a known format") from error
    except Exception as error:  # damaged files make Pillow raise almost anything
        if is_shortage(error):
            raise
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise UnreadableImageError(" ".join(reason.split())) from error


def is_shortage(error: Exception) -> bool:
    """Return whether an error is due to this machine, which has no memory or file handles left."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def _refuse_unscaled(file: Image.Image) -> None:
    """Raise UnreadableImageError for grey levels whose white is unknown."""
    problem = None
    tags = getattr(file, "tag_v2", {})  # of TIFF
    if file.mode == "F":
        problem = "floating-point pixels"
    elif set(tags.get(SAMPLE_FORMAT, (UNSIGNED,))) != {UNSIGNED}:
        problem = "signed pixels"
    elif file.mode == "I" and tags:  # elsewhere Pillow's mode of 16 bits
        problem = "32-bit pixels"
    elif file.mode.startswith("I;16") and (tags.get(BITS_PER_SAMPLE), tags.get(PHOTOMETRIC)) not in USUAL:
        problem = "grey levels of other than 16 bits, or from white to black"
    if problem:
        raise UnreadableImageError(f"it has {problem}, which have no fixed white; save it with 8 bits a channel")
