"""Damaged image files of every accepted ending, read as the benchmark reads them.

    python tests/support/image_fuzz.py 4000

Each file is a small valid image of one ending with some of its bytes changed, cut out, repeated or replaced by those of
another image. It must be read as an upright RGB image, or refused by `UnreadableImageError` with a reason in one line,
in at most SECONDS. Prints how many were read, how many refused, and every file that did neither; ends with 1 if there
is one.
"""

import io
import random
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.data.decode import FORMATS, UnreadableImageError, read_rgb

SECONDS = 20
MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "L", "LA", "RGBA", "P", "1", "I;16"),
    "PPM": ("RGB", "L", "1", "I;16", "F"),
    "BMP": ("RGB", "L", "P", "1"),
    "TIFF": ("RGB", "L", "LA", "RGBA", "P", "1", "I;16", "CMYK", "F", "I"),
    "WEBP": ("RGB", "RGBA"),
}
TIFF_COMPRESSIONS = (None, "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg")


def originals() -> list[tuple[str, bytes]]:
    """Return (ending, content) of valid images, several for each ending."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = []
    for ending, kind in FORMATS.items():
        for mode in MODES[kind]:
            if mode == "I;16":
                image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
            else:
                image = Image.fromarray(pixels).convert(mode)
            for options in [{"exif": exif}, {}] if kind in ("JPEG", "PNG", "WEBP") else [{}]:
                found.append((ending, content(image, kind, **options)))
            if kind == "TIFF" and mode in ("RGB", "L"):
                found += [(ending, content(image, kind, compression=name)) for name in TIFF_COMPRESSIONS]
    return found


def content(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def mutated(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield (ending, content) of damaged images."""
    rng, sources = random.Random(seed), originals()
    for number in range(count):
        ending, whole = sources[number % len(sources)]
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            _damage(data, rng, sources)
        yield (rng.choice(list(FORMATS)) if rng.random() < 0.1 else ending), bytes(data)


def _damage(data: bytearray, rng: random.Random, sources: list[tuple[str, bytes]]) -> None:
    start = min(int(rng.expovariate(1 / 60)), len(data))  # headers matter most
    place = start if rng.random() < 0.7 else rng.randrange(len(data) + 1)
    length = rng.choice((1, 1, 2, 4, 30))
    kind = rng.randrange(6)
    if kind == 0:
        data[place : place + length] = rng.randbytes(length)
    elif kind == 1:
        data[place : place + length] = rng.choice((b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\x80"))
    elif kind == 2:
        del data[place:]
    elif kind == 3:
        del data[place : place + length]
    elif kind == 4:
        data[place:place] = data[place : place + length] * 3
    else:
        other = rng.choice(sources)[1]
        data[place : place + length] = other[place : place + length]


def outcome(path: Path) -> str:
    """Return "read" or "refused", or what else happened."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        image = read_rgb(path)
        whole = image.mode == "RGB" and np.asarray(image).shape == (image.height, image.width, 3)
        return "read" if whole else f"a {image.mode} image of {image.size}"
    except UnreadableImageError as error:
        if isinstance(error.__cause__, TimeoutError):
            return f"not read after {SECONDS} s"
        return "refused" if str(error).strip() and "\n" not in str(error) else f"refused as {str(error)!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(count: int, folder: Path, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """Return how many damaged images had which outcome, and a line for each that was neither read nor refused."""
    tally, strange = Counter[str](), list[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd EXIF entries, and of large images
        for number, (ending, data) in enumerate(mutated(count, seed)):
            path = folder / f"{number}{ending}"
            path.write_bytes(data)
            found = outcome(path)
            tally[found if found in ("read", "refused") else "strange"] += 1
            if found in ("read", "refused"):
                path.unlink()
            else:
                strange.append(f"{path}: {found}")
    return tally, strange


if __name__ == "__main__":
    tally, strange = fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 4000, Path(tempfile.mkdtemp(prefix="image-fuzz-")))
    print(dict(tally), *strange, sep="\n")
    sys.exit(bool(strange))
