"""Archives of data sets: several tries, a mirror, the official checksum, files that are whole or not there."""

import gzip
import os
import tarfile
import time
import zlib
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import pooch
import requests
from urllib3.exceptions import HTTPError

from benchmark.runtime.console import Transfer
from benchmark.runtime.errors import DataError

MIRROR = "SBA_DATA_MIRROR"
PAUSES = (1.0, 3.0, 10.0)  # seconds after each try that failed; one more try follows the last
STALLED_SECONDS = 30.0  # without a byte for so long a connection counts as dropped


class DownloadError(Exception):
    """An archive that cannot be had or is refused; the text says why and what to do, in whole sentences."""


def source_of(url: str) -> str:
    """Return where to download from: the official URL, or the same file in the folder that SBA_DATA_MIRROR names.

    Raises:
        DataError: SBA_DATA_MIRROR is no http or https URL of a folder.
    """
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return url
    try:
        parts = urlsplit(mirror)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half an IPv6 address, a port that is no number
        usable = False
    if not usable or parts.query or parts.fragment:
        raise DataError(f"{MIRROR} is {mirror!r}; it must be the URL of a folder, such as https://example.org/data.")
    return f"{mirror.rstrip('/')}/{url.rpartition('/')[2]}"


def fetch(url: str, md5: str, archive: Path) -> None:
    """Download a file, unless it is there with the right checksum.

    Args:
        url: where it is, http or https.
        md5: its official checksum, 32 hex digits.
        archive: where it goes, only whole and checked. Its folder must be there.

    Raises:
        DownloadError: every try failed, or the server has no such file.
        OSError: the folder cannot be written, or is full.
    """
    if archive.is_file() and pooch.file_hash(str(archive), alg="md5") == md5:
        return
    pooch.get_logger().setLevel("WARNING")  # it would tell the same as we do
    failure, tries = "", len(PAUSES) + 1
    with TemporaryDirectory(prefix=f".{archive.name}.", dir=archive.parent) as work:
        for number, pause in enumerate((0.0, *PAUSES), start=1):
            if failure:
                print(f"Try {number - 1} of {tries} failed: {failure} The next one is in {pause:g} s.", flush=True)
                time.sleep(pause)
            try:
                done = pooch.retrieve(url, f"md5:{md5}", fname=archive.name, path=work, downloader=_get)
            except (ConnectionError, ValueError) as error:  # pooch's error of a wrong checksum is a ValueError
                failure = f"{str(error).rstrip('.')}."
            else:
                Path(done).replace(archive)
                return
    raise DownloadError(f"{tries} tries to download {url} failed, the last one: {failure} {_advice(archive.name)}")


def _advice(name: str) -> str:
    """Say what else to try where a download failed."""
    folder = f"set {MIRROR} to the URL of a folder that holds {name}"
    return f"Try again later, {folder}, or put that file into a folder of yours."


def _get(url: str, output: str, _pooch: object) -> None:
    """Download to a file, once; a pooch downloader that says what happens and why it failed."""
    print(f"Downloading {url}.", flush=True)
    name = url.rpartition("/")[2]
    with closing(Transfer(name)) as shown:
        # A server that compresses what is compressed already would change both the length and the checksum.
        plain = {"Accept-Encoding": "identity"}
        get: Any = pooch.HTTPDownloader(shown, chunk_size=2**16, timeout=STALLED_SECONDS, headers=plain)
        try:
            get(url, output, None)
        except (requests.RequestException, HTTPError) as error:  # requests before 2.28 lets some of urllib3's pass
            answer = getattr(error, "response", None)
            if answer is not None and answer.status_code < 500:  # asking again does not change it
                raise DownloadError(f"The download failed: {error}. {_advice(name)}") from error
            raise ConnectionError(str(_first_cause(error))) from error
    size = Path(output).stat().st_size
    if size < shown.total:  # some versions of requests take a dropped connection for the end of the file
        raise ConnectionError(f"the connection was dropped after {size:,} of {shown.total:,} bytes")


def _first_cause(error: BaseException) -> BaseException:
    """Return what an error began with: "Connection refused" instead of three errors wrapped around it."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive's folder of this name, so that it is there whole or not at all.

    The archive stays: it may be the user's own, and it restores damaged files without a network.

    Raises:
        DownloadError: the archive is damaged, or would write outside its folder.
        OSError: the disk is full or cannot be written, or the archive holds no such folder.
    """
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as work:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(work, filter=_inside)
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DownloadError(
                f"{archive} is refused, and nothing of it is kept: {error}. Get the data set elsewhere."
            ) from error
        try:
            (Path(work) / folder.name).rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster; the reader checks its files like ours
                raise


def _inside(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """Refuse what would leave the folder; tarfile's own filter only cuts the root off an absolute path."""
    if member.name.startswith(("/", os.sep)):
        raise tarfile.AbsolutePathError(member)
    return tarfile.data_filter(member, folder)
