"""Files: written atomically, sealed with a checksum, and read without running code from them."""

import contextlib
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import pickle
import secrets
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

ADVICE = (
    "Free space or fix its permissions, or choose another folder with --results DIR (records) or --runs DIR "
    "(checkpoints)."
)
SEAL = 64  # hex digits of SHA-256
OLD = 3600.0  # seconds after which a temporary file is that of a killed process
LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # torch.serialization.MAGIC_NUMBER


class DamagedFileError(Exception):
    """A file of this program that cannot be read; the text is the reason, in one line."""


class UnreadableFileError(DamagedFileError):
    """A file that the system does not let this process read now; it may be whole."""


def path_of(text: str) -> Path:
    """Return the path that a user wrote; ~ is the home folder, also where no shell replaces it, as in --results=~/x."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises without a home


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; False also where it may not be looked up, which Path.is_dir raises."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Return whether a path is a regular file; False also where it may not be looked up, which Path.is_file raises."""
    return os.path.isfile(path)  # noqa: PTH113


def refusal(path: Path) -> str | None:
    """Return the reason why a path may not be looked up, such as "Permission denied"; None if it may."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error.strerror or str(error)
    return None


def refuse_irregular(path: Path) -> None:
    """Refuse a path of anything but a regular file: renaming a file to it would destroy it.

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
    """Write a file atomically: a temporary one beside it is written, synced and renamed.

    Args:
        path: the file; its folder is created. A link is followed.
        write: writes the content into the open temporary file.
        previous: the old file is renamed to this; at every moment one of both is complete.
        check: called just before the file is renamed, and again if that fails because a file is missing; if it raises,
            the old file stays.

    Raises:
        OSError: of writing, or the path is no regular file; no temporary file is left.
    """
    refuse_irregular(path)
    path = path.resolve() if path.is_symlink() else path
    # A random name: in containers that share a folder, processes have the same numbers.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            # Of the open file: a worker that took over in a pause may have removed its name.
            now = os.fstat(file.fileno()).st_mtime
        _remove_old_leftovers(path, now)
        check()
        try:
            if previous is not None and path.is_file():
                path.replace(previous)
            temporary.replace(path)
        except FileNotFoundError:
            check()  # during a pause before the rename another worker took over and removed the temporary file
            raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # so that the new name survives a power cut
    finally:
        os.close(folder)


@contextmanager
def writing_to(place: Path, advice: str = ADVICE) -> Iterator[None]:
    """Turn an OSError of the block, which writes a file or folder `place`, into a UsageError that ends with advice."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write to {place}: {error.strerror or error}. {advice}") from error


def check_writable(*folders: Path) -> None:
    """Raise UsageError for folders that cannot be written, before hours are spent."""
    for folder in folders:
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()


def cache_folder() -> Path:
    """Return the user's cache folder; without a home, as in many containers, runs/cache."""
    try:
        return user_cache_path("sba-benchmark")
    except RuntimeError:
        return Path("runs") / "cache"


def write_text(path: Path, text: str) -> None:
    """Write a text atomically as UTF-8, surrogates escaped; raises like `write_whole`."""
    write_whole(path, lambda file: file.write(text.encode(errors="backslashreplace")))


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """Yield a new folder ".NAME.*" in `parent`, removed with the block; those of killed processes are removed too.

    A folder in use is locked (flock), so only the folders of ended processes are removed.

    Raises:
        OSError: the folder cannot be created.
    """
    with _locked(parent):  # otherwise another process could remove a new folder before it is locked
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
    """Lock a folder. Without `wait`, OSError if another process has the lock or the file system has no locks."""
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
    """Remove the temporary files of killed writers of `path`; no process may be writing it."""
    for leftover in _temporary_files(path):
        leftover.unlink(missing_ok=True)


def _temporary_files(path: Path) -> Iterator[Path]:
    return path.parent.glob(f".{glob.escape(path.name)}.*.tmp")


def _remove_old_leftovers(path: Path, now: float) -> None:
    """Remove temporary files that are older than writing takes; `now` is by the clock of the file system."""
    for leftover in _temporary_files(path):
        with contextlib.suppress(OSError):
            if leftover.stat().st_mtime < now - OLD:
                leftover.unlink()


def checksum(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 (64 hex digits) of a dictionary of JSON values, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, allow_nan=False).encode()).hexdigest()


def save_tensors(
    path: Path, values: Mapping[str, Any], previous: Path | None = None, check: Callable[[], object] = lambda: None
) -> None:
    """Write a dictionary of tensors and plain values by torch.save, atomically, sealed with its SHA-256.

    The seal is the comment of the zip archive, so that torch.load can read the file. `previous`, `check` and errors:
    see `write_whole`.
    """
    import torch  # records are written and read without torch

    buffer = io.BytesIO()
    torch.save(dict(values), buffer)
    archive = buffer.getbuffer()[:-2].tobytes() + SEAL.to_bytes(2, "little")  # its last field: length of the comment
    seal = hashlib.sha256(archive).hexdigest().encode()
    write_whole(path, lambda file: file.write(archive + seal), previous, check)


def load_tensors(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Load a dictionary of tensors and plain values that torch.save wrote, also before torch 1.6; never runs code.

    Memory is bounded by the file's size.

    Raises:
        DamagedFileError: the file is truncated, differs from its seal, or is no such dictionary.
        UnreadableFileError: of the disk, the network or the process, which may pass.
    """
    import torch

    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            _refuse_untrue_archive(path)
        whole = zipped or _is_legacy(path)
        values = torch.load(path, weights_only=True, mmap=mmap and zipped, map_location="cpu") if whole else None
    except DamagedFileError:
        raise
    except pickle.UnpicklingError as error:
        raise DamagedFileError("it is damaged, or loading it would run pickled code") from error
    except OSError as error:
        damaged = error.errno in (None, errno.EINVAL, errno.ENOENT)  # EINVAL: a place before the file's beginning
        raise (DamagedFileError if damaged else UnreadableFileError)(error.strerror or str(error)) from error
    except Exception as error:  # damaged files make the readers raise IndexError, TypeError, BadZipFile and more
        raise DamagedFileError(str(error).partition("\n")[0] or type(error).__name__) from error
    if not whole:
        raise DamagedFileError("it is not a whole file of torch.save")
    if not isinstance(values, dict):
        raise DamagedFileError("it holds something else than a dictionary")
    return values


def _refuse_untrue_archive(path: Path) -> None:
    """Refuse a zip archive that would take more memory than its size, or differs from its seal, if it has one.

    torch.save stores its entries as they are. A compressed archive, or one whose entries overlap, might unpack to a
    thousand times its size.

    Raises:
        DamagedFileError: with the sizes, or that the checksum differs.
    """
    with zipfile.ZipFile(path) as archive:
        seal, declared = archive.comment, sum(entry.file_size for entry in archive.infolist())
    if declared > (size := path.stat().st_size):
        raise DamagedFileError(f"it has {size:,} bytes and would unpack to {declared:,}; torch.save does not compress")
    if seal and hashlib.sha256(path.read_bytes()[:-SEAL]).hexdigest().encode() != seal:
        raise DamagedFileError("its checksum differs")


def _is_legacy(path: Path) -> bool:
    """Return whether a file begins as those of torch.save before torch 1.6, which are no archives."""
    with path.open("rb") as file:
        return file.read(len(LEGACY)) == LEGACY
