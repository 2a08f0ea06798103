"""Files that are written whole or not at all, and read without running code from them."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


class DamagedFileError(Exception):
    """A file of ours that cannot be read; the text says why, in one line."""


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file through a temporary one beside it, synced and renamed, so that no reader ever sees a part.

    Args:
        path: the file; its folder is made.
        write: writes the content into the open temporary file.

    Raises:
        OSError, RuntimeError: what writing raised; nothing is left behind. (torch.save reports a full disk as
            either.)
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_tensors(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Load a dictionary of tensors and plain values that torch.save wrote; never runs code (weights_only).

    Raises:
        DamagedFileError: the file is truncated, changed or something else than that.
    """
    import torch  # records are written and read without torch

    try:
        whole = zipfile.is_zipfile(path)  # torch.save writes zip archives; anything else would meet older unpicklers
        values = torch.load(path, weights_only=True, mmap=mmap, map_location="cpu") if whole else None
    except pickle.UnpicklingError as error:
        raise DamagedFileError("it is damaged, or loading it would run pickled code") from error
    except Exception as error:  # one changed bit ends the readers in an IndexError, a TypeError, a BadZipFile, ...
        raise DamagedFileError(str(error).partition("\n")[0] or type(error).__name__) from error
    if not whole:
        raise DamagedFileError("it is not a whole file of torch.save")
    if not isinstance(values, dict):
        raise DamagedFileError("it holds something else than a dictionary")
    return values
