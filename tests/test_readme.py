"""The README's commands parse and its script runs, as written."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from benchmark.cli import parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (?:python -m benchmark) (.+?)(?:\s+#.*)?$", README, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_is_understood(command: str) -> None:
    options = parser().parse_args(shlex.split(command))
    assert callable(options.command)


def test_the_readme_shows_commands() -> None:
    assert len(COMMANDS) >= 5


def test_the_script_of_the_readme_runs_as_written() -> None:
    script = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert script is not None
    names: dict[str, object] = {}
    with torch.random.fork_rng(devices=[]):
        exec(script.group(1), names)
    step = names["step"]
    assert getattr(step, "logits").shape == (16, 10)  # noqa: B009 (the script's names have no types)


def test_the_method_card_lists_every_setting_with_its_default() -> None:
    from dataclasses import MISSING, fields

    from sba import SBA

    card = (ROOT / "sba" / "README.md").read_text(encoding="utf-8")
    for field in fields(SBA):
        row = re.search(rf"^\| `{field.name}` \| (.*?) \|", card, re.MULTILINE)
        assert row is not None, field.name
        default = "none, required" if field.default is MISSING else f"{field.default:g}"
        assert row.group(1) == default
