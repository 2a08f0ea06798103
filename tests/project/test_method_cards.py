"""baselines/README.md has a card for every baseline, with the settings and defaults that the code has."""

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

import baselines
from benchmark.settings.methods import METHODS
from benchmark.settings.names import look_up
from sba import SBA

CARDS = (Path(baselines.__file__).parent / "README.md").read_text(encoding="utf-8")
OURS = sorted(name for name, row in METHODS.items() if row.target.startswith("baselines."))


def card(name: str) -> str:
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", CARDS, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no card for {name}"
    return found.group(1)


def shown(default: Any) -> str:
    if default is MISSING:
        return "none, required"
    return f"{default:g}" if type(default) in (int, float) else str(default)


@pytest.mark.parametrize("name", OURS)
def test_the_cards_settings_are_those_of_the_code(name: str) -> None:
    kind = look_up(name, METHODS)
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .+ \|$", card(name), re.MULTILINE))
    inherited = {field.name for field in fields(SBA)} if issubclass(kind, SBA) else set()  # sba/README.md has these
    assert rows == {field.name: shown(field.default) for field in fields(kind) if field.name not in inherited}


@pytest.mark.parametrize("name", OURS)
def test_the_card_says_source_deviations_cost_and_preset(name: str) -> None:
    text = card(name)
    for part in ("Source: ", "Deviations: ", "Cost: ", f'Preset: `method = "{name}"`'):
        assert part in text
    source = METHODS[name].source
    for paper in re.findall(r"arXiv:[\d.]+\d", source):
        assert paper in text
        assert paper in str(look_up(name, METHODS).__doc__)


def test_there_is_a_card_for_each_baseline_and_for_nothing_else() -> None:
    assert sorted(re.findall(r"^## (\w+)$", CARDS, re.MULTILINE)) == OURS


@pytest.mark.parametrize("name", OURS)
def test_a_method_lies_in_a_file_of_its_own_name(name: str) -> None:
    assert METHODS[name].target.startswith(f"baselines.{name}:")
