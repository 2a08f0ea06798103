"""The journal of an evaluation: finished parts are not computed again, and nothing damaged is used."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.evaluation.journal import Journal
from benchmark.runtime.errors import UsageError


def counted(value: object, calls: list[object]) -> Callable[[], object]:
    """A computation that counts how often it is made."""

    def compute() -> object:
        calls.append(value)
        return value

    return compute


def test_a_part_is_computed_once_and_kept_without_loss(tmp_path: Path) -> None:
    path, calls, value = tmp_path / "j.json", list[object](), {"share": 0.1 + 0.2, "bits": "gA==", "n": [1, 2]}
    assert Journal(path, "weights")("a", counted(value, calls)) == value
    again = Journal(path, "weights")
    assert again("a", counted(value, calls)) == value
    assert again("b", counted(None, calls)) is None
    assert calls == [value, None]
    assert again.resumed >= 0
    assert Journal(path, "weights").resumed == sum(p["seconds"] for p in again.parts.values())


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _text: "",
        lambda _text: "[]",
        lambda text: text.replace("41", "42"),
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "sha256"}),
    ],
)
def test_a_damaged_journal_is_not_used(damage: Callable[[str], str], tmp_path: Path) -> None:
    path, calls = tmp_path / "j.json", list[object]()
    Journal(path, "weights")("a", counted(41, calls))
    path.write_text(damage(path.read_text()))
    assert Journal(path, "weights")("a", counted(41, calls)) == 41
    assert calls == [41, 41]


def test_the_journal_of_another_network_is_not_used(tmp_path: Path) -> None:
    path, calls = tmp_path / "j.json", list[object]()
    Journal(path, "weights")("a", counted(1, calls))
    assert Journal(path, "other weights")("a", counted(2, calls)) == 2


def test_without_a_path_nothing_is_kept(tmp_path: Path) -> None:
    assert Journal()("a", lambda: 3) == 3
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write to"):
        Journal(tmp_path / "file" / "j.json", "k")("a", lambda: 1)
