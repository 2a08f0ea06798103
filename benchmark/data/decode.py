"""Image files in, upright RGB images out."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

BROKEN = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)  # what Pillow raises


class UnreadableImageError(Exception):
    """A file that is no readable image; the text says why, in one line."""


def read_rgb(path: Path) -> Image.Image:
    """Return an image file as 8-bit RGB, turned upright by its EXIF orientation.

    Grey-scale, palette and CMYK images are converted; transparency is dropped; grey levels of 16 bits are divided by
    257, which takes 65,535 to 255.

    Raises:
        UnreadableImageError: the file is missing, empty, truncated or no image.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16 bits, which `convert` would clip at 255
                levels = np.asarray(image).clip(0, 65535) / 257  # (H, W)
                image = Image.fromarray(np.rint(levels).astype(np.uint8))
            if "transparency" in image.info:  # a palette with it converts by way of RGBA only
                image = image.convert("RGBA")
            return image if image.mode == "RGB" else image.convert("RGB")
    except UnidentifiedImageError as error:
        raise UnreadableImageError("it is no image of a known format") from error
    except BROKEN as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise UnreadableImageError(" ".join(reason.split())) from error
