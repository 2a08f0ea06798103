"""Whatever a preset file holds, it becomes a plan or one readable message, and quickly."""

from pathlib import Path

import pytest
from preset_fuzz import fuzz, try_file

from benchmark.runtime.errors import UsageError
from benchmark.settings import load as preset_files
from benchmark.settings.plan import make_plan


def test_broken_files_are_plans_or_readable_messages(tmp_path: Path) -> None:
    kinds, _ = fuzz(500, 0, tmp_path)
    assert kinds["plan"] > 30
    assert kinds["refused"] > 260


def test_the_search_finds_what_it_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another exception, a long message, one that no terminal can show, and a file that never ends."""
    path = tmp_path / "mine.toml"
    path.write_text('extends = "smoke"\n')
    assert try_file(path).kind == "plan"
    for refusal, kind in (
        (KeyError("x"), "KeyError"),
        (UsageError("x" * 6000), "unreadable"),
        (UsageError("\x1b"), "unreadable"),
        (UsageError("Traceback"), "unreadable"),
        (UsageError("no"), "refused"),
        (TimeoutError("late"), "TimeoutError"),
    ):

        def refuse(*_: object, error: Exception = refusal) -> None:
            raise error

        monkeypatch.setattr(preset_files, "check_plain", refuse)
        assert try_file(path).kind.startswith(kind)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = " + "[" * 3000 + "]" * 3000, "recursion"),
        ("x = " + "9" * 4301, "digits"),
        ("a." * 20_000 + "a = 1", "line 1 has more than 200 dots"),
        ("a." * 30 + "a = 1", "nested more than 20 deep"),
        ("#" * 100_001, "more than 100,000 bytes"),
        ("x = 9223372036854775808", "x = 9223372036854775808: a whole number must fit into 64 bits"),
        ('title = "a\\u0000b"', r"title = 'a\x00b': a text must be one line"),
    ],
)
def test_a_file_too_large_for_its_reader_says_why(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        preset_files.load_preset(str(path))
    assert said in str(refused.value)


def test_a_path_with_a_null_character_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot read the preset"):
        preset_files.load_preset("a\0.toml")


@pytest.mark.parametrize("text", ["x" * 10_000, "[" * 5000, "1\nflip = 3", "9" * 5000, '"\udc80"'])
def test_any_text_after_set_is_a_value_or_a_short_message(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        preset_files.load_preset("smoke", (f"recipe.epochs={text}",))
    assert len(str(refused.value)) < 2000


def test_seeds_by_the_million_are_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmark.cli.options import parser

    with pytest.raises(SystemExit):
        parser().parse_args(["run", "smoke", "--seeds", "0-99999999999"])
    assert "at most 1000 seeds" in capsys.readouterr().err


def test_settings_of_a_method_are_refused_by_a_short_message() -> None:
    for value in ('"' + "x" * 5000 + '"', "[" + "1, " * 3000 + "]", "nan", "true"):
        preset = preset_files.load_preset("smoke", (f"arms.sba.settings.p={value}",))
        with pytest.raises(UsageError, match=r"arms\.sba\.settings") as refused:
            make_plan(preset, None, None)
        assert len(str(refused.value)) < 2000
