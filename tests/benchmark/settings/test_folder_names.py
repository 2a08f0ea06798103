"""Names of presets and arms become folders of results and checkpoints: none leaves them, on any system."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studies.whole_presets import as_values, load, names

from benchmark.runtime.errors import UsageError
from benchmark.settings.load import load_preset
from benchmark.settings.names import dotted
from benchmark.settings.plan import make_plan
from benchmark.settings.values import DEVICES

SHARED = settings(
    deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
BASE = as_values(load_preset("cifar10_jpeg_cpu"))
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
@SHARED
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
