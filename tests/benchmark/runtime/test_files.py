"""Files: whole or not at all, and never unpickled as code."""

import os
import pickle
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from benchmark.runtime.files import DamagedFileError, load_tensors, write_whole


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
