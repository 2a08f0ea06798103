"""Names that do not exist: one message that says where and which is near, exit code 2, never a traceback."""

import os
import subprocess
import sys

import pytest
from saying import ONE_RUN, PROJECT, TINY, Say, in_a_process, preset_file

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_unknown_preset_names_the_nearest(say: Say) -> None:
    said = say("run", "smokee")
    assert said.code == 2
    assert said.has("'smokee'", "did you mean 'smoke'?", "cifar10_jpeg_cpu", ".toml")


def test_unknown_preset_in_a_process_ends_with_2_and_no_traceback() -> None:
    said = in_a_process("run", "smokee")
    assert said.code == 2
    assert said.has("error: ", "did you mean 'smoke'?")
    assert "Traceback" not in said.error


def test_unknown_arm_names_the_nearest(say: Say) -> None:
    said = say("run", "smoke", "--arms", "erm,standart")
    assert said.code == 2
    assert said.has("smoke", "'standart'", "did you mean 'standard'?", "erm, mixup, sba, standard")


def test_unknown_key_names_file_and_nearest_key(say: Say) -> None:
    mine = preset_file('extends = "smoke"\n[recipe]\nepoch = 3\n')
    said = say("run", mine)
    assert said.code == 2
    assert said.has("mine.toml", "recipe.epoch", "did you mean 'epochs'?", "batch_size")


def test_unknown_section_names_the_nearest(say: Say) -> None:
    said = say(*ONE_RUN, "--set", "recpie.epochs=3")
    assert said.code == 2
    assert said.has("recpie", "did you mean 'recipe'?", "evaluation")


def test_unknown_setting_of_a_method_names_the_nearest(say: Say) -> None:
    said = say("run", "smoke", "--set", "arms.sba.settings.copys=3")
    assert said.code == 2
    assert said.has("arms.sba.settings.copys", "'sba'", "did you mean 'copies'?", "noise")


NAMES = {
    "method": ("arms.sba.method", "sbaa", "'sba'"),
    "dataset": ("data.dataset", "digitz", "'digits'"),
    "model": ("model.name", "smal", "'small'"),
    "attack": ("evaluation.attacks", "apgd_dlrr", "'apgd_dlr'"),
}


def toml_with(kind: str, name: str) -> str:
    """A preset in which one name is wrong."""
    lines = {
        "method": f'[arms.sba]\nmethod = "{name}"',
        "dataset": f'[data]\ndataset = "{name}"',
        "model": f'[model]\nname = "{name}"',
        "attack": f'[evaluation]\nattacks = [{{ name = "{name}", steps = 2 }}]',
    }
    return f'extends = "smoke"\n{lines[kind]}\n'


@pytest.mark.parametrize("kind", NAMES)
def test_unknown_name_of_a_kind_names_file_key_and_nearest(say: Say, kind: str) -> None:
    key, wrong, near = NAMES[kind]
    said = say("run", preset_file(toml_with(kind, wrong)))
    assert said.code == 2
    assert said.has("mine.toml", key, f"'{wrong}'", f"did you mean {near}", "Allowed: ")


def test_preset_that_extends_an_unknown_one_names_file_and_nearest(say: Say) -> None:
    said = say("run", preset_file('extends = "smok"\ntitle = "mine"\n'))
    assert said.code == 2
    assert said.has("mine.toml", "extends", "'smok'", "did you mean 'smoke'?")


def test_comparison_with_an_arm_that_is_not_there_names_key_and_nearest(say: Say) -> None:
    said = say("run", preset_file('extends = "smoke"\n[analysis]\nagainst = ["standart"]\n'))
    assert said.code == 2
    assert said.has("mine.toml", "analysis.against", "'standart'", "did you mean 'standard'?")


def test_unknown_kind_of_list_names_the_kinds(say: Say) -> None:
    said = say("list", "preset")
    assert said.code == 2
    assert said.has("'preset'", "presets", "datasets", "attacks")


def test_unknown_option_is_named(say: Say) -> None:
    said = say("run", "smoke", "--sedes", "0")
    assert said.code == 2
    assert said.has("--sedes")


# Layers


def test_layer_that_is_not_there_is_named_with_those_there_are_before_any_arm_trains(say: Say) -> None:
    said = say("run", "smoke", *TINY, "--seeds", "0", "--set", 'arms.sba.settings.layers=["blok1"]')
    assert said.code == 2
    assert said.has("sba", "'blok1'", "small", "'block1'", "stem", "block2")
    assert "epoch 1" not in said.out


def test_a_reader_that_has_closed_the_pipe_sees_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "benchmark", "list", "attacks"]
    done = subprocess.run(command, cwd=PROJECT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
