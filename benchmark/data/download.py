"""Download archives of data sets: retries, a mirror, the official size and checksum; files are complete or absent."""

import gzip
import os
import re
import tarfile
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pooch
import requests
from urllib3.exceptions import HTTPError

from benchmark.runtime.console import Transfer, print_line
from benchmark.runtime.errors import DataError
from benchmark.runtime.files import scratch_folder

MIRROR = "SBA_DATA_MIRROR"
TRIES = 4
STALLED_SECONDS = 30.0  # without a byte, after which a connection counts as dropped
SLOW_SECONDS = 60.0  # during which a download may be slower than
SLOWEST = 10_000.0  # bytes per second
POLL = 0.2  # seconds between checks of a download


class DownloadError(Exception):
    """An archive that cannot be downloaded or is refused; the text gives the reason and the remedy."""


def source_of(url: str) -> str:
    """Return the URL to download from: the official one, or the same file in the folder that SBA_DATA_MIRROR names.

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
        raise DataError(
            f"{MIRROR} is {without_secrets(mirror)!r}{' with a query' * ('?' in mirror)}; it must be the URL of a "
            "folder, such as https://example.org/data."
        )
    return f"{mirror.rstrip('/')}/{url.rpartition('/')[2]}"


def without_secrets(text: str) -> str:
    """Return a text with user names, passwords and queries removed from its addresses."""
    return re.sub(r"\?\S*", "", re.sub(r"//\S*@", "//", text))


def fetch(url: str, md5: str, size: int, archive: Path) -> None:
    """Download a file, unless it is there with the right checksum.

    Args:
        url: http or https.
        md5: its official checksum, 32 hex digits.
        size: its official size in bytes; no byte more is accepted.
        archive: where it is written, only complete and checked. Its folder must exist.

    Raises:
        DownloadError: every try failed, or the server has no such file or a larger one.
        OSError: the folder cannot be written, or is full.
    """
    name, tries = archive.name, count(1)
    if archive.is_file() and pooch.file_hash(str(archive), alg="md5") == md5:
        return

    def get(address: str, output: str, _pooch: object) -> None:
        number = next(tries)
        print_line(f"Downloading {without_secrets(address)}.")
        try:
            _receive(address, output, size)
            found = pooch.file_hash(output, alg="md5")
            if found != md5:  # pooch compares it as well, but would not print it before the last try
                raise ValueError(f"the file has the checksum md5:{found}, expected md5:{md5}")
        except (requests.RequestException, ValueError) as error:
            if number < TRIES:
                print_line(f"Try {number} of {TRIES} failed: {_reason(error)} Trying again.")
            raise

    pooch.get_logger().setLevel("WARNING")  # it would print the same as we do
    with scratch_folder(archive.parent, name) as work:
        source = pooch.create(work, "", registry={name: f"md5:{md5}"}, urls={name: url}, retry_if_failed=TRIES - 1)
        try:
            done = source.fetch(name, downloader=get)
        except (requests.RequestException, ValueError) as error:
            tried = f"{TRIES} tries to download {without_secrets(url)} failed, the last one"
            raise DownloadError(f"{tried}: {_reason(error)} {_advice(name)}") from error
        Path(done).replace(archive)


def _reason(error: BaseException) -> str:
    """Return the first cause of an error, as a sentence: "Connection refused." instead of three errors around it."""
    while error.__context__ is not None:
        error = error.__context__
    return f"{without_secrets(str(error)).rstrip('.')}."


def _advice(name: str) -> str:
    folder = f"set {MIRROR} to the URL of a folder that holds {name}"
    return f"Try again later, {folder}, or put that file into a folder of yours."


class _Reception(Thread):
    """A download in a thread of its own: reading from a slow server blocks, regardless of the socket's timeout.

    Attributes:
        received: bytes so far.
        error: the exception that ended it, or None.
        abandoned: set by the waiting thread; nothing is written any more.
    """

    def __init__(self, url: str, output: str, size: int) -> None:
        super().__init__(daemon=True)
        self.url, self.output, self.size = url, output, size
        self.received, self.abandoned = 0, False
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._receive()
        except Exception as error:  # raised again in the thread that waits
            self.error = error

    def _receive(self) -> None:
        # A server that compresses the archive once more would change both the length and the checksum.
        plain = {"Accept-Encoding": "identity"}
        with (
            requests.get(self.url, stream=True, timeout=STALLED_SECONDS, headers=plain) as answer,
            Path(self.output).open("wb") as file,
        ):
            if not answer.ok:
                failure = f"the server answers {answer.status_code} {answer.reason}"
                if answer.status_code < 500:  # asking again does not change it
                    raise DownloadError(f"The download failed: {failure}. {_advice(Path(self.url).name)}")
                raise requests.HTTPError(failure)
            for chunk in self._chunks(answer):
                self.received += len(chunk)
                if self.received > self.size:
                    raise DownloadError(
                        f"{without_secrets(self.url)} has more than the {self.size:,} bytes of the official file, so "
                        f"it is another one. {_advice(Path(self.url).name)}"
                    )
                if self.abandoned:
                    return
                file.write(chunk)

    def _chunks(self, answer: requests.Response) -> Iterator[bytes]:
        try:
            yield from answer.iter_content(2**14)
        except HTTPError as error:  # requests before 2.28 does not convert all of urllib3's
            raise requests.ConnectionError(str(error)) from error


def _receive(url: str, output: str, size: int) -> None:
    """Download to a file, once; RequestException where another try may succeed, else DownloadError."""
    reception = _Reception(url, output, size)
    progress = [(time.monotonic(), 0)]  # times and bytes received by then, over the last SLOW_SECONDS
    with closing(Transfer(Path(urlsplit(url).path).name)) as shown:
        shown.total = size
        reception.start()
        try:
            while reception.is_alive():
                reception.join(POLL)
                now, received = time.monotonic(), reception.received
                shown.update(received - progress[-1][1])
                progress.append((now, received))
                if now - progress[0][0] >= SLOW_SECONDS:
                    if received - progress[0][1] < SLOWEST * SLOW_SECONDS and reception.is_alive():
                        slow = f"less than {SLOWEST / 1e3:g} kB/s for {SLOW_SECONDS:g} s"
                        raise requests.ConnectionError(slow)
                    progress.pop(0)
        finally:
            reception.abandoned = True
    if reception.error:
        raise reception.error
    if reception.received < size:
        raise requests.ConnectionError(f"the connection was dropped after {reception.received:,} of {size:,} bytes")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive's folder of this name; afterwards it is complete or absent.

    The archive is kept: it may be the user's own, and it restores damaged files without a network.

    Raises:
        DownloadError: the archive is damaged, or would write outside its folder.
        OSError: the disk is full or cannot be written, or the archive holds no such folder.
    """
    with scratch_folder(folder.parent, folder.name) as work:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(work, filter=_inside)
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DownloadError(
                f"{archive} is refused, and nothing of it is kept: {error}. Get the data set elsewhere."
            ) from error
        try:
            (work / folder.name).rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster; its files are checked when they are read
                raise


def _inside(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """Refuse members outside the folder; tarfile's own filter only cuts the root off an absolute path."""
    if member.name.startswith(("/", os.sep)):
        raise tarfile.AbsolutePathError(member)
    return tarfile.data_filter(member, folder)
