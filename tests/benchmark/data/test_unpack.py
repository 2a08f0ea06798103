"""Archives of data sets: nothing is written elsewhere, and no half data set is ever there."""

import dataclasses
import hashlib
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_server import DATA, Server, ask, in_data, odd
from saying import Say

from benchmark.data import cifar, cifar_sets, download
from benchmark.data.cifar import cifar10
from benchmark.runtime.torchvision import ensure_importable
from benchmark.settings.preset import DataSettings

ensure_importable()
from torchvision.datasets import CIFAR10  # noqa: E402

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.mark.parametrize(
    "member",
    [odd("../evil"), odd("cifar-10-batches-py/../../../evil"), odd("/evil"), odd("evil", "/tmp"), odd("evil", "../..")],
    ids=["above", "above within", "absolute", "absolute link", "link above"],
)
def test_an_archive_that_would_write_elsewhere_is_refused(
    official: Callable[..., bytes], say: Say, tmp_path: Path, member: tarfile.TarInfo
) -> None:
    official(member)
    said = ask(say)
    assert said.code == 3
    assert said.has("CIFAR-10", "cifar-10-python.tar.gz is refused", "evil")
    assert in_data() == ["cifar-10-python.tar.gz"]
    assert not list(tmp_path.rglob("evil"))


def test_an_archive_that_breaks_off_is_refused(official: Callable[..., bytes], say: Say, server: Server) -> None:
    server.content["archive"] = official()[:-200]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "CIFAR10", dataclasses.replace(cifar_sets.CIFAR10, archive=len(server.content["archive"])))
        patch.setattr(CIFAR10, "tgz_md5", hashlib.md5(server.content["archive"]).hexdigest())
        said = ask(say)
    assert said.code == 3
    assert said.has("cifar-10-python.tar.gz is refused")
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
        cifar10([DATA], DataSettings(dataset="cifar10"))
    shown = [path.name for path in killed.iterdir() if not path.name.startswith(".")]
    assert shown == ["cifar-10-python.tar.gz"] * kept
    assert [path.name for path in killed.rglob("*") if path.is_file()]  # it was killed with work done
    assert len(cifar10([killed], DataSettings(dataset="cifar10")).read()[0].labels) == 50
    assert len(server.asked) == 2 - kept
    assert sorted(path.name for path in killed.iterdir()) == ["cifar-10-batches-py", "cifar-10-python.tar.gz"]


def test_an_archive_that_is_there_is_used_without_a_network(server: Server, official: Callable[..., bytes]) -> None:
    DATA.mkdir()
    (DATA / CIFAR10.filename).write_bytes(official())
    assert len(cifar10([DATA], DataSettings(dataset="cifar10")).read()[0].labels) == 50
    assert server.asked == []


def test_a_damaged_archive_that_is_there_is_replaced(server: Server, official: Callable[..., bytes]) -> None:
    DATA.mkdir()
    archive = official()
    (DATA / CIFAR10.filename).write_bytes(archive[:-1])
    assert len(cifar10([DATA], DataSettings(dataset="cifar10")).read()[0].labels) == 50
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
