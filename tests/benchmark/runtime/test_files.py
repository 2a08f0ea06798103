"""Files: whole or not at all, and never unpickled as code."""

import os
import pickle
import socket
import stat
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from studies.saying import Say

from benchmark.runtime.errors import UsageError
from benchmark.runtime.files import (
    DamagedFileError,
    cache_folder,
    check_writable,
    load_tensors,
    scratch_folder,
    write_text,
    write_whole,
    writing_to,
)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_whole(path, lambda file: file.write(b"old"))

    def fail(file: BinaryIO) -> None:
        file.write(b"half of the ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_write_removes_old_leftovers_of_killed_writers(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    old, new, other = (tmp_path / name for name in (".RESULTS.md.1.tmp", ".RESULTS.md.2.tmp", ".RESULTS.html.1.tmp"))
    for leftover in (old, new, other):
        leftover.touch()
    for leftover in (old, other):
        os.utime(leftover, (new.stat().st_mtime - 3700,) * 2)
    write_text(path, "page")
    assert sorted(tmp_path.iterdir()) == sorted([path, new, other])


@pytest.mark.parametrize("checks", [0, 1])
def test_a_writer_whose_temporary_file_was_removed_in_a_pause_reports_what_its_check_finds(
    checks: int, tmp_path: Path
) -> None:
    """Another worker takes over while the first is paused, in its writing or after its first look at the lock."""
    path, looks = tmp_path / "file", []
    write_text(path, "old")

    def taken_over() -> None:
        (temporary,) = tmp_path.glob(".file.*.tmp")
        temporary.unlink()

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        if not checks:
            taken_over()

    def check() -> None:
        looks.append("look")
        if len(looks) <= checks:
            taken_over()
        else:
            raise PermissionError("the lock is lost")

    with pytest.raises(PermissionError, match="the lock is lost"):
        write_whole(path, write, check=check)
    assert len(looks) == checks + 1
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "old")]


def test_tensors_come_back(tmp_path: Path) -> None:
    write_whole(tmp_path / "t", lambda file: torch.save({"a": torch.arange(3), "b": "text"}, file))
    values = load_tensors(tmp_path / "t")
    assert values["a"].tolist() == [0, 1, 2]
    assert values["b"] == "text"


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("content", [b"", b"rubbish", pickle.dumps({"a": 1})[:9]])
def test_a_damaged_file_is_one_error_of_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(DamagedFileError) as caught:
        load_tensors(tmp_path / "t")
    assert "\n" not in str(caught.value)


def test_whatever_byte_has_changed_a_file_is_read_or_is_one_error(tmp_path: Path) -> None:
    write_whole(tmp_path / "t", lambda file: torch.save({"a": (torch.arange(3), torch.ones(2)), "b": "text"}, file))
    whole = (tmp_path / "t").read_bytes()
    damaged, pickled = 0, 400  # bytes of the pickle, at the beginning, which says what is where
    for place in range(0, pickled, 3):
        (tmp_path / "t").write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
        try:
            load_tensors(tmp_path / "t")
        except DamagedFileError:
            damaged += 1
    assert 0 < damaged < pickled / 3


def test_pickled_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Payload()}, tmp_path / "t")
    with pytest.raises(DamagedFileError):
        load_tensors(tmp_path / "t")
    assert not (tmp_path / "pwned").exists()


def made(kind: str, folder: Path) -> Path:
    """Make a thing that is no regular file."""
    path = folder / "thing"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a pipe":
        os.mkfifo(folder / "pipe")
        path.symlink_to(folder / "pipe")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
    elif kind == "device":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # as /dev/null
    else:
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "socket", "device", "folder"])
def test_only_regular_files_are_replaced(kind: str, tmp_path: Path) -> None:
    if kind == "device" and os.geteuid() != 0:
        pytest.skip("only root makes devices")
    path = made(kind, tmp_path)
    before = path.lstat()
    reason = "Is a directory" if kind == "folder" else "only regular files are replaced"
    with pytest.raises(OSError, match=reason):
        write_text(path, "new")
    with pytest.raises(UsageError, match=f"cannot write to .*thing: .*{reason}"), writing_to(path):
        write_text(path, "new")
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert not list(tmp_path.glob(".*"))


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real = tmp_path / "there" / "real"
    real.write_text("old")
    (tmp_path / "link").symlink_to(Path("there") / "real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert real.read_text() == "new"
    (tmp_path / "dangling").symlink_to(Path("there") / "later")
    write_text(tmp_path / "dangling", "first")
    assert (tmp_path / "there" / "later").read_text() == "first"
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(OSError, match=r"[Ll]oop|symbolic links"):
        write_text(tmp_path / "circle", "never")
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("command", [["report"], ["evaluate", "x.pt"]])
@pytest.mark.parametrize("output", [".", "/dev/null"])
def test_an_output_that_is_no_file_is_wrong_usage(command: list[str], output: str, say: Say) -> None:
    said = say(*command, "--output", output)
    assert said.code == 2
    assert said.has("--output", repr(output), "name a file" if output != "/dev/null" else "only regular files")


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to .*file.below: Not a directory.*--results DIR"):
        check_writable(tmp_path / "file" / "below")


def test_a_scratch_folder_removes_those_of_killed_processes_and_no_other(tmp_path: Path) -> None:
    killed = tmp_path / ".a.tar.gz.killed"
    (killed / "below").mkdir(parents=True)
    (killed / "below" / "half a file").touch()
    (tmp_path / ".another.gz.x").mkdir()
    (tmp_path / ".a.tar.gz.file").touch()
    with scratch_folder(tmp_path, "a.tar.gz") as first:
        (first / "part").touch()
        with scratch_folder(tmp_path, "a.tar.gz") as second:
            assert first != second
            assert (first / "part").exists()
        assert not second.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.tar.gz.file", ".another.gz.x"]


def test_a_scratch_folder_goes_when_its_work_fails(tmp_path: Path) -> None:
    def work() -> None:
        with scratch_folder(tmp_path, "x") as own:
            (own / "y").mkdir()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
    assert not list(tmp_path.iterdir())


def test_without_a_home_the_cache_lies_among_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user has a number and no name."""

    def nobody(_number: int) -> None:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == Path("runs/cache")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert "somebody" in str(cache_folder())
