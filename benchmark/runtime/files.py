"""Files that are written whole or not at all, sealed with a checksum, and read without running code from them."""

import contextlib
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import pickle
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from platformdirs import user_cache_path

from benchmark.runtime.errors import UsageError

PLACES = (
    "Free space or fix its permissions, or choose another folder with --results DIR (records) or --runs DIR "
    "(checkpoints)."
)
SEAL = 64  # hex digits of SHA-256


class DamagedFileError(Exception):
    """A file of ours that cannot be read; the text says why, in one line."""


def refuse_irregular(path: Path) -> None:
    """Refuse a path at which something else than a regular file is: renaming a file there would put an end to it.

    Raises:
        OSError: it is a folder, a device, a pipe or a socket, or a link to one.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(
            errno.EINVAL, "it is a device, a pipe or a socket, and only regular files are replaced", str(path)
        )


def write_whole(
    path: Path,
    write: Callable[[BinaryIO], object],
    previous: Path | None = None,
    check: Callable[[], object] = lambda: None,
) -> None:
    """Write a file through a temporary one beside it, synced and renamed, so that no reader ever sees a part.

    Args:
        path: the file; its folder is made. Of a link, the file that it leads to is written.
        write: writes the content into the open temporary file.
        previous: where the file that was there is kept; at every moment one of both is whole.
        check: called when all is written, just before the file takes its name, and again if that fails because
            something is gone; what it raises leaves the old file.

    Raises:
        OSError: what writing raised, or the path leads to something else than a regular file; nothing is left behind.
    """
    refuse_irregular(path)
    path = path.resolve() if path.is_symlink() else path
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        check()
        try:
            if previous is not None and path.is_file():
                path.replace(previous)
            temporary.replace(path)
        except FileNotFoundError:
            check()  # a pause since then: another worker has taken over, and tidied up
            raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name survives a power cut
        finally:
            os.close(folder)


@contextmanager
def writing_to(place: Path, advice: str = PLACES) -> Iterator[None]:
    """Turn what stops a file from being written into a message.

    Args:
        place: the folder, or the file, that it names.
        advice: what to do.

    Raises:
        UsageError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write to {place}: {error.strerror or error}. {advice}") from error


def check_writable(*folders: Path) -> None:
    """Refuse folders that cannot be written before hours are spent.

    Raises:
        UsageError: names the folder.
    """
    for folder in folders:
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()


def cache_folder() -> Path:
    """Return the user's cache folder; where the user has no home, as in many containers, one among the runs."""
    try:
        return user_cache_path("sba-benchmark")
    except RuntimeError:
        return Path("runs") / "cache"


def write_text(path: Path, text: str) -> None:
    """Write a text, as UTF-8 (what is no Unicode escaped), whole or not at all.

    Raises:
        OSError: what writing raised.
    """
    write_whole(path, lambda file: file.write(text.encode(errors="backslashreplace")))


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """Make a folder ".NAME.*" in `parent` for the time of a `with`; those of processes that were killed are removed.

    A folder in use is locked (flock), so that only those are removed whose process is gone.

    Raises:
        OSError: the folder cannot be made.
    """
    with _locked(parent):  # so that nobody takes a folder that is not locked yet for a leftover
        for leftover in parent.glob(f".{glob.escape(name)}.*"):
            if leftover.is_dir():
                with contextlib.suppress(OSError), _locked(leftover, wait=False):
                    shutil.rmtree(leftover, ignore_errors=True)
        own = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=parent))
        lock = _locked(own)
        lock.__enter__()
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        lock.__exit__(None, None, None)


@contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Lock a folder; a file system without locks is no reason to fail where it may wait.

    Raises:
        OSError: it may not wait, and somebody else has the lock, or there are no locks.
    """
    place = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not wait:
                raise
        yield
    finally:
        os.close(place)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of writers of `path` that were killed; nobody may be writing it now."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


def checksum(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 (64 hex digits) of a dictionary of JSON values, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, allow_nan=False).encode()).hexdigest()


def save_tensors(
    path: Path, values: Mapping[str, Any], previous: Path | None = None, check: Callable[[], object] = lambda: None
) -> None:
    """Write a dictionary of tensors and plain values by torch.save, whole or not at all, sealed with its SHA-256.

    The seal is the comment that a zip archive may end in, so that torch.load reads the file as any other.

    `previous` and `check` are those of `write_whole`.

    Raises:
        OSError: see `write_whole`.
    """
    import torch  # records are written and read without torch

    buffer = io.BytesIO()
    torch.save(dict(values), buffer)
    archive = buffer.getbuffer()[:-2].tobytes() + SEAL.to_bytes(2, "little")  # its last field: length of the comment
    seal = hashlib.sha256(archive).hexdigest().encode()
    write_whole(path, lambda file: file.write(archive + seal), previous, check)


def refuse_broken_seal(path: Path) -> None:
    """Compare a zip archive with its seal, if it has one.

    Raises:
        DamagedFileError: they differ.
    """
    with zipfile.ZipFile(path) as archive:
        seal = archive.comment
    if seal and hashlib.sha256(path.read_bytes()[:-SEAL]).hexdigest().encode() != seal:
        raise DamagedFileError("its checksum differs")


def load_tensors(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Load a dictionary of tensors and plain values that torch.save wrote; never runs code (weights_only).

    Where the file is sealed, its content is compared with the seal.

    Raises:
        DamagedFileError: the file is truncated, changed or something else than that.
    """
    import torch

    try:
        whole = zipfile.is_zipfile(path)  # torch.save writes zip archives; anything else would meet older unpicklers
        if whole:
            refuse_broken_seal(path)
        values = torch.load(path, weights_only=True, mmap=mmap, map_location="cpu") if whole else None
    except DamagedFileError:
        raise
    except pickle.UnpicklingError as error:
        raise DamagedFileError("it is damaged, or loading it would run pickled code") from error
    except Exception as error:  # one changed bit ends the readers in an IndexError, a TypeError, a BadZipFile, ...
        raise DamagedFileError(str(error).partition("\n")[0] or type(error).__name__) from error
    if not whole:
        raise DamagedFileError("it is not a whole file of torch.save")
    if not isinstance(values, dict):
        raise DamagedFileError("it holds something else than a dictionary")
    return values
