"""Preset files: inheritance, overrides, names that become folders, files that no reader takes, and mutated ones."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studies.preset_fuzz import fuzz, try_file
from studies.whole_presets import as_values, load, names

from benchmark.runtime.errors import UsageError
from benchmark.settings import load as preset_files
from benchmark.settings.load import family_member, load_preset
from benchmark.settings.names import dotted
from benchmark.settings.plan import make_plan
from benchmark.settings.values import DEVICES


def test_a_study_is_its_preset_for_the_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert family_member("cifar10", "cpu") == "cifar10_cpu"
    assert capsys.readouterr().out == "Preset cifar10_cpu, because the device is cpu.\n"
    assert family_member("cifar10", "cuda", quiet=True) == "cifar10_gpu"
    assert [family_member(name, "cpu") for name in ("smoke", "cifar10_gpu", "mine.toml")] == [
        "smoke", "cifar10_gpu", "mine.toml",
    ]  # fmt: skip
    assert not capsys.readouterr().out
    with pytest.raises(UsageError, match=r"for a GPU alone: use --device cuda, .* preset cifar10_30_epochs_gpu"):
        family_member("cifar10_30_epochs", "cpu")
    with pytest.raises(UsageError, match=r"for a CPU alone: use --device cpu, or name its preset cifar10_10k_cpu"):
        family_member("cifar10_10k", "cuda")


def test_a_preset_that_extends_another_replaces_single_values(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "smoke"\n[recipe]\nepochs = 3\n')
    mine, base = load_preset(str(path)), load_preset("smoke")
    assert mine.name == "mine"
    assert mine.recipe == base.recipe.model_copy(update={"epochs": 3})
    assert mine.arms == base.arms


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "smoke"\n', encoding="utf-8-sig")
    assert load_preset(str(path)).arms == load_preset("smoke").arms


@pytest.mark.parametrize("other", ["quick.toml", "./quick.toml", "presets/quick"])
def test_a_preset_extends_no_file(tmp_path: Path, other: str) -> None:
    path = tmp_path / "mine.toml"
    (tmp_path / "quick.toml").write_text('extends = "smoke"\n')
    path.write_text(f'extends = "{other}"\n')
    with pytest.raises(UsageError) as refused:
        load_preset(str(path))
    assert str(refused.value).startswith(f"{path}: extends: {other!r} is a file; only a preset of")
    assert "did you mean" not in str(refused.value)


def test_a_preset_leaves_out_arms_of_the_one_it_extends(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "smoke"\nwithout = ["erm"]\n[analysis]\nagainst = ["standard"]\n')
    assert list(load_preset(str(path)).arms) == [arm for arm in load_preset("smoke").arms if arm != "erm"]
    path.write_text('extends = "smoke"\nwithout = ["ern"]\n')
    with pytest.raises(UsageError, match=r"without: smoke has no arm 'ern'; did you mean 'erm'"):
        load_preset(str(path))
    path.write_text('without = ["erm"]\n')
    with pytest.raises(UsageError, match="leaves out arms of the preset that `extends` names"):
        load_preset(str(path))


def test_presets_that_extend_each_other_in_a_circle_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for here, there in (("a", "b"), ("b", "a")):
        (tmp_path / f"{here}.toml").write_text(f'extends = "{there}"\n')
    monkeypatch.setattr("benchmark.settings.load.PRESETS", tmp_path)
    with pytest.raises(UsageError, match="in a circle: a -> b -> a"):
        load_preset("a")


def test_overrides_are_toml_values_and_bare_words_are_texts() -> None:
    preset = load_preset("smoke", ("recipe.epochs=2", "recipe.precision=bfloat16", "seeds=[4, 5]"))
    assert (preset.recipe.epochs, preset.recipe.precision, preset.seeds) == (2, "bfloat16", (4, 5))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = " + "[" * 3000 + "]" * 3000, "recursion"),
        ("x = " + "9" * 4301, "digits"),
        ("a." * 20_000 + "a = 1", "line 1 has more than 200 dots"),
        ("a." * 30 + "a = 1", "nested more than 20 deep"),
        ("#" * 100_001, "more than 100,000 bytes"),
        ("x = 9223372036854775808", "x = 9223372036854775808: a whole number must fit into 64 bits"),
        ("x = 2026-01-01T12:00:00Z", "dates and times are not allowed"),
        ('title = "a\\u0000b"', r"title = 'a\x00b': a text must be one line"),
    ],
)
def test_a_file_that_no_reader_takes_says_why(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        load_preset(str(path))
    assert said in str(refused.value)


def test_a_path_with_a_null_character_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot read the preset"):
        load_preset("a\0.toml")


@pytest.mark.parametrize(
    "text", ["x" * 10_000, "[" * 5000, "1\nflip = 3", "9" * 5000, '"\udc80"', "[" + "1, " * 3000 + "]"]
)
def test_any_text_after_set_is_a_value_or_a_short_message(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_preset("smoke", (f"recipe.epochs={text}",))
    assert len(str(refused.value)) < 2000


def test_mutated_files_are_plans_or_readable_messages(tmp_path: Path) -> None:
    found = fuzz(60, 0, tmp_path)
    assert not found.defects
    assert found.kinds["plan"] > 2
    assert found.kinds["refused"] > 30


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


# Names of presets and arms become folders of results and checkpoints: none leaves them, on any system.

BASE = as_values(load_preset("smoke"))
OUTSIDE = [
    *("../x", "..", ".", "", "/abs", "a/b", "a\\b", "C:x", "~", "a.b", "-x", "_x", " a", "a ", "a\nb", "a\n", "a\0"),
]
DEVICE_LIKE = ["CON", "con", "nul", "com1", "lpt9", "NUL", "con.txt"]
LOOK_ALIKE = ["erм", "\uff45rm", "er\u200bm", "a\u2215b", "a\uff0fb", "٣", "ﬁ", "\u202eabc", "e\u0301"]
BAD_NAMES = [*OUTSIDE, *DEVICE_LIKE, *LOOK_ALIKE, "x" * 61, "x" * 5000]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_neither_an_arm_nor_a_preset_can_leave_the_results_folder(tmp_path: Path, name: str) -> None:
    for values, key in (
        (BASE | {"arms": BASE["arms"] | {name: BASE["arms"]["erm"]}}, dotted(("arms", name))),
        (BASE | {"name": name}, "name"),
    ):
        with pytest.raises(UsageError, match=rf"(mine\.toml: |not allowed:\n  ){re.escape(key)} "):
            load(values, tmp_path)


@pytest.mark.parametrize(
    "file", ["My Preset.toml", "..toml", ".toml", "con.toml", "a.b.toml", "\uff45rm.toml", "a\nb.toml"]
)
def test_a_file_name_that_is_no_name_is_refused(tmp_path: Path, file: str) -> None:
    (tmp_path / "below").mkdir()
    values = {key: value for key, value in BASE.items() if key != "name"}
    with pytest.raises(UsageError, match=r"(?m)^(  |.*: )name = "):
        load(values, tmp_path / "below", f"../{file}")
    assert load(BASE, tmp_path, file).name == BASE["name"]


@given(name=st.text(max_size=70) | names)
@settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_name_that_is_allowed_is_one_folder(tmp_path: Path, name: str) -> None:
    values = BASE | {"arms": BASE["arms"] | {name: BASE["arms"]["erm"]}}
    allowed = bool(re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,59}", name)) and name not in DEVICES
    if not allowed:
        with pytest.raises(UsageError, match=re.escape(dotted(("arms", name)))):
            load(values, tmp_path)
        return
    preset = load(values, tmp_path)
    (path,) = [run.path(Path("r"), "") for run in make_plan(preset, [name], [0])]
    assert path.parts == ("r", preset.name, name, "seed-0")
