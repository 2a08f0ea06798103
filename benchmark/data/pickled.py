"""A reader for the official CIFAR files, which are pickles, that calls nothing that a pickle names."""

import io
import pickle
from typing import Any

import numpy as np

WHOLE_NUMBERS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")


class UnsafePickleError(Exception):
    """A pickle that is damaged, or names anything but plain values and arrays; the text names it."""


def load_plain(content: bytes) -> Any:
    """Unpickle dictionaries, lists, texts, bytes, numbers and arrays of whole numbers.

    An array is returned as an object that `numpy.asarray` converts. Any other class or function that the pickle names
    is refused and never called.

    Raises:
        UnsafePickleError: it names something else, or is no whole pickle.
    """
    try:
        return _Plain(io.BytesIO(content), encoding="latin1").load()
    except UnsafePickleError:
        raise
    except Exception as error:  # a damaged pickle can make the unpickler raise anything
        raise UnsafePickleError(f"it is no whole pickle ({type(error).__name__}: {error})") from error


class _Kind:
    """Replaces numpy.dtype, whose state could make it read foreign memory."""

    def __init__(self, kind: str, *_: object) -> None:
        if kind not in WHOLE_NUMBERS:
            raise UnsafePickleError(f"it holds an array of {kind!r}, not of whole numbers")
        self.kind = kind

    def __setstate__(self, _state: object) -> None:
        pass


class _Array:
    """Replaces numpy.ndarray."""

    def __init__(self, *_: object) -> None:
        self.values = np.empty(0, dtype=np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Kind, bool, bytes | str]) -> None:
        _, shape, kind, fortran, content = state
        raw = content.encode("latin1") if isinstance(content, str) else content  # str: written by Python 2
        self.values = np.frombuffer(raw, dtype=kind.kind).reshape(shape, order="F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype)


def _encode(text: str, _encoding: str) -> bytes:
    """Decode bytes as Python 3 writes them into pickles of protocol 2."""
    return text.encode("latin1")


NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _encode,
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMES:
            raise UnsafePickleError(f"it names {module}.{name}, which is not loaded")
        return NAMES[module, name]
