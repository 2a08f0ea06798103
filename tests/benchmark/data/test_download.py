"""Downloads: retried, mirrored, checked, unpacked whole or not at all. The server is on this machine."""

import dataclasses
import errno
import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest
from processes.archive_server import DATA, Server, assert_refused, in_data, odd, pack
from studies.saying import Say

from benchmark.data import cifar, download
from benchmark.data.cifar import cifar10, cifar100
from benchmark.data.synthetic import write_cifar
from benchmark.runtime.errors import DataError
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.preset import DataSettings

ensure_importable()
from torchvision.datasets import CIFAR10, CIFAR100  # noqa: E402

pytestmark = pytest.mark.usefixtures("elsewhere")


def images_found(root: Path = DATA) -> int:
    """The training images of CIFAR-10 in a data root, downloaded if they are not there."""
    return len(cifar10([root], DataSettings(dataset="cifar10")).read()[0].labels)


@pytest.mark.parametrize(
    ("kind", "find", "folder"),
    [(CIFAR10, cifar10, "cifar-10-batches-py"), (CIFAR100, cifar100, "cifar-100-python")],
)
def test_a_download_is_a_data_set_and_its_archive_stays(
    server: Server, official: Callable[..., bytes], kind: Any, find: Any, folder: str
) -> None:
    archive = official(kind=kind)
    train, test = find([DATA], DataSettings(dataset="cifar10")).read()
    assert (len(train.labels), len(test.labels)) == (50, 10)
    assert in_data() == sorted([folder, kind.filename])
    assert (DATA / kind.filename).read_bytes() == archive
    assert server.asked == [f"/official/{kind.filename}"]


TROUBLE = pytest.mark.parametrize(
    ("how", "why"), [("drop", "dropped after"), ("wrong", "expected md5:"), ("busy", "503")]
)


@TROUBLE
def test_trouble_that_passes_is_told_with_its_reason_and_survived(
    server: Server, official: Callable[..., bytes], capsys: pytest.CaptureFixture[str], how: str, why: str
) -> None:
    official()
    server.script.extend([how, how])
    assert images_found() == 50
    first, second = (line for line in capsys.readouterr().out.splitlines() if line.startswith("Try "))
    assert first.startswith("Try 1 of 4 failed: ")
    assert second.startswith("Try 2 of 4 failed: ")
    assert why in first
    assert len(server.asked) == 3


@TROUBLE
def test_trouble_that_stays_ends_in_one_message_and_leaves_nothing(
    server: Server, official: Callable[..., bytes], say: Say, how: str, why: str
) -> None:
    official()
    server.script.extend([how] * 10)
    place = f"{server.url}/official/cifar-10-python.tar.gz"
    assert_refused(
        say, "CIFAR-10 (", "data/cifar-10-batches-py", f"4 tries to download {place}", why, "SBA_DATA_MIRROR"
    )
    assert len(server.asked) == 4
    assert in_data() == []


def test_a_refused_connection_says_only_that(official: Callable[..., bytes], say: Say, server: Server) -> None:
    official()
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SBA_DATA_MIRROR", f"http://127.0.0.1:{port}")
        assert_refused(say, "4 tries", "the last one: [Errno ", "] Connection refused. Try again later")
    assert server.asked == []


def test_a_file_that_is_not_there_is_not_asked_for_again(
    server: Server, official: Callable[..., bytes], say: Say
) -> None:
    official()
    server.script.extend(["missing"])
    assert_refused(say, "404", "SBA_DATA_MIRROR")
    assert len(server.asked) == 1


@pytest.mark.parametrize("end", ["", "/"])
def test_a_mirror_is_asked_instead_of_the_official_site(
    server: Server, official: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    official()
    monkeypatch.setenv("SBA_DATA_MIRROR", f"{server.url}/my/mirror{end}")
    assert images_found() == 50
    assert server.asked == ["/my/mirror/cifar-10-python.tar.gz"]


def test_a_mirror_with_another_archive_is_refused(
    server: Server, official: Callable[..., bytes], say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    size = len(official())
    other = pack(write_cifar(tmp_path / "other", 10, train=40, test=10))
    server.content["archive"] = other.ljust(size, b"\0")
    monkeypatch.setenv("SBA_DATA_MIRROR", f"{server.url}/mirror")
    assert_refused(say, "/mirror/cifar-10-python.tar.gz", f"expected md5:{CIFAR10.tgz_md5}")
    assert in_data() == []


@pytest.mark.parametrize(
    "mirror",
    [
        "/srv/data",
        "ftp://example.org",
        "http://",
        "http://[::1",
        "https://a.org:x/",
    ],
)
def test_a_mirror_that_is_no_url_of_a_folder_is_named(
    server: Server, say: Say, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    monkeypatch.setenv("SBA_DATA_MIRROR", mirror)
    assert_refused(say, "SBA_DATA_MIRROR", repr(mirror), "https://")
    assert server.asked == []


@pytest.mark.parametrize(
    "mirror",
    [
        "http://r3ader:s3c@ret@127.0.0.1:9/data",
        "https://example.org/data?t0ken=s3cret",
        "ftp://r3ader:s3cret@example.org/",
        "//r3ader:s3c/ret@example.org",
        "https://r3ader:s3c?ret@example.org:x/",
    ],
)
@pytest.mark.usefixtures("server")
def test_passwords_and_tokens_of_a_mirror_are_never_printed(
    official: Callable[..., bytes], say: Say, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    official()
    monkeypatch.setenv("SBA_DATA_MIRROR", mirror)
    said = assert_refused(say, "SBA_DATA_MIRROR")
    assert not re.search("r3ader|s3c|ret@|t0ken", said.out + said.error)


def test_a_password_in_a_mirror_is_used(
    server: Server, official: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    official()
    monkeypatch.setenv("SBA_DATA_MIRROR", server.url.replace("//", "//reader:secret@") + "/mirror")
    server.script.extend(["missing"])
    with pytest.raises(DataError, match="404") as refused:
        images_found()
    assert "secret" not in str(refused.value) + capsys.readouterr().out
    assert images_found() == 50
    assert f"Downloading {server.url}/mirror/cifar-10-python.tar.gz." in capsys.readouterr().out


def test_no_byte_more_than_the_official_size_is_taken(server: Server, official: Callable[..., bytes], say: Say) -> None:
    size = len(official())
    server.script.extend(["endless"])
    assert_refused(say, f"more than the {size:,} bytes of the official file", "SBA_DATA_MIRROR")
    assert len(server.asked) == 1
    assert in_data() == []


@pytest.mark.parametrize("how", ["slow", "silent"])
def test_a_server_that_is_too_slow_is_given_up_and_asked_again(
    server: Server,
    official: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    how: str,
) -> None:
    official()
    monkeypatch.setattr(download, "SLOW_SECONDS", 0.5)
    monkeypatch.setattr(download, "POLL", 0.05)
    server.script.extend([how])
    assert images_found() == 50
    assert "Try 1 of 4 failed: less than 10 kB/s for 0.5 s. Trying again." in capsys.readouterr().out
    assert in_data() == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]


def full_disk(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("where", "kept"),
    [("benchmark.data.download._Reception._chunks", []), ("tarfile.TarFile.makefile", ["cifar-10-python.tar.gz"])],
)
def test_a_full_disk_is_told_at_once_and_what_is_whole_stays(
    server: Server,
    official: Callable[..., bytes],
    say: Say,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    kept: list[str],
) -> None:
    official()
    with monkeypatch.context() as patch:
        patch.setattr(where, full_disk)
        assert_refused(say, "data cannot hold it", "No space left on device", "--data-root", "SBA_DATA_ROOT")
    assert in_data() == kept
    assert len(server.asked) == 1


def test_a_data_folder_that_cannot_be_written_is_told_before_anything_is_asked_for(
    server: Server, official: Callable[..., bytes], say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    official()
    DATA.mkdir()
    make_folder = os.mkdir

    def read_only(path: str, *arguments: Any) -> None:  # the root of a container may write whatever its permissions
        if Path(path).resolve().parent == DATA.resolve():
            raise PermissionError(errno.EACCES, "Permission denied", path)
        make_folder(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", read_only)
        assert_refused(say, "data cannot hold it", "Permission denied", "--data-root", "SBA_DATA_ROOT")
    assert server.asked == []


def test_a_data_root_below_a_file_is_told(say: Say, official: Callable[..., bytes]) -> None:
    official()
    DATA.write_text("a file", encoding="utf-8")
    assert_refused(say, "data cannot hold it", "File exists")


# Archives


@pytest.mark.parametrize(
    "member",
    [odd("../evil"), odd("cifar-10-batches-py/../../../evil"), odd("/evil"), odd("evil", "/tmp"), odd("evil", "../..")],
    ids=["above", "above within", "absolute", "absolute link", "link above"],
)
def test_an_archive_that_would_write_elsewhere_is_refused(
    official: Callable[..., bytes], say: Say, tmp_path: Path, member: tarfile.TarInfo
) -> None:
    official(member)
    assert_refused(say, "CIFAR-10", "cifar-10-python.tar.gz is refused", "evil")
    assert in_data() == ["cifar-10-python.tar.gz"]
    assert not list(tmp_path.rglob("evil"))


def test_an_archive_that_breaks_off_is_refused(official: Callable[..., bytes], say: Say, server: Server) -> None:
    server.content["archive"] = official()[:-200]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "CIFAR10", dataclasses.replace(cifar.CIFAR10, archive=len(server.content["archive"])))
        patch.setattr(CIFAR10, "tgz_md5", hashlib.md5(server.content["archive"]).hexdigest())
        assert_refused(say, "cifar-10-python.tar.gz is refused")
    assert in_data() == ["cifar-10-python.tar.gz"]


@pytest.mark.parametrize(("moves", "kept"), [("replace", 0), ("rename", 1)], ids=["archive", "data set"])
def test_killed_before_a_whole_file_or_folder_is_moved_leaves_nothing_that_passes(
    server: Server,
    official: Callable[..., bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moves: str,
    kept: int,
) -> None:
    official()
    killed, move = tmp_path / "as a kill leaves it", getattr(Path, moves)

    def move_later(self: Path, target: Path) -> None:
        shutil.copytree(DATA, killed)
        move(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, moves, move_later)
        images_found()
    shown = [path.name for path in killed.iterdir() if not path.name.startswith(".")]
    assert shown == ["cifar-10-python.tar.gz"] * kept
    assert [path.name for path in killed.rglob("*") if path.is_file()]  # it was killed with work done
    assert images_found(killed) == 50
    assert len(server.asked) == 2 - kept
    assert sorted(path.name for path in killed.iterdir()) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]


def test_a_damaged_archive_that_is_there_is_replaced(server: Server, official: Callable[..., bytes]) -> None:
    DATA.mkdir()
    archive = official()
    (DATA / CIFAR10.filename).write_bytes(archive[:-1])
    assert images_found() == 50
    assert (DATA / CIFAR10.filename).read_bytes() == archive
    assert len(server.asked) == 1


def test_a_data_set_that_another_process_unpacked_meanwhile_stays(official: Callable[..., bytes]) -> None:
    DATA.mkdir()
    (DATA / CIFAR10.filename).write_bytes(official())
    (DATA / CIFAR10.base_folder).mkdir()
    (DATA / CIFAR10.base_folder / "theirs").touch()
    download.unpack(DATA / CIFAR10.filename, DATA / CIFAR10.base_folder)
    assert [path.name for path in (DATA / CIFAR10.base_folder).iterdir()] == ["theirs"]
    assert in_data() == [CIFAR10.base_folder, CIFAR10.filename]
