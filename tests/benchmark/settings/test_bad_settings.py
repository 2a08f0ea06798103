"""Bad values and options: one message with key, value and what is allowed, exit code 2, never a traceback."""

from pathlib import Path

import pytest
import torch
from saying import ONE_RUN, TINY, Say

pytestmark = pytest.mark.usefixtures("elsewhere")


# Values


@pytest.mark.parametrize(
    ("setting", "key", "value", "allowed"),
    [
        ("recipe.epochs=many", "recipe.epochs", "'many'", "integer"),
        ("recipe.flip=perhaps", "recipe.flip", "'perhaps'", "boolean"),
        ("recipe.epochs=0", "recipe.epochs", "0", "greater than or equal to 1"),
        ("recipe.momentum=1.5", "recipe.momentum", "1.5", "less than 1"),
        ("recipe.learning_rate=nan", "recipe.learning_rate", "nan", "finite"),
        ("recipe.precision=float16", "recipe.precision", "'float16'", "'float32' or 'bfloat16'"),
        ("evaluation.eps=[16.0, 0.0]", "evaluation.eps", "0.0", "greater than 0"),
    ],
)
def test_wrong_value_names_file_key_value_and_what_is_allowed(
    say: Say, setting: str, key: str, value: str, allowed: str
) -> None:
    said = say(*ONE_RUN, "--set", setting)
    assert said.code == 2
    assert said.has("smoke.toml", key, value, allowed)
    assert not list(Path().rglob("*.json"))


def test_wrong_value_of_a_method_names_key_value_and_range(say: Say) -> None:
    said = say("run", "smoke", "--set", "arms.sba.settings.p=1.5")
    assert said.code == 2
    assert said.has("arms.sba.settings", "p ", "1.5", "0 to 1")


def test_batch_larger_than_the_data_names_both_numbers_before_training(say: Say) -> None:
    said = say(*ONE_RUN, *TINY, "--set", "recipe.batch_size=500")
    assert said.code == 2
    assert said.has("recipe.batch_size", "500", "128", "digits")
    assert "epoch 1" not in said.out


def test_more_attacked_images_than_the_test_set_has_are_refused_before_training(say: Say) -> None:
    said = say(*ONE_RUN, "--set", "recipe.epochs=1", "--set", "evaluation.images=501")
    assert said.code == 2
    assert said.has("evaluation.images", "501", "500", "digits")
    assert "epoch 1" not in said.out


def test_more_training_images_than_there_are_names_both_numbers(say: Say) -> None:
    said = say(*ONE_RUN, "--set", "data.train_images=5000")
    assert said.code == 2
    assert said.has("data.train_images", "5000", "1297", "digits")


def test_image_size_that_the_data_set_does_not_have_names_the_one_it_has(say: Say) -> None:
    said = say(*ONE_RUN, "--set", "data.pixels=16")
    assert said.code == 2
    assert said.has("data.pixels", "16", "8")


def test_network_that_the_images_are_too_small_for_is_refused_by_name(say: Say) -> None:
    said = say(*ONE_RUN, *TINY, "--set", "model.name=fast")
    assert said.code == 2
    assert said.has("fast", "8")


def test_set_without_equals_sign_shows_how_to_write_it(say: Say) -> None:
    said = say(*ONE_RUN, "--set", "recipe.epochs")
    assert said.code == 2
    assert said.has("--set", "'recipe.epochs'", "recipe.epochs=5")


def test_set_below_a_list_is_refused(say: Say) -> None:
    said = say(*ONE_RUN, "--set", "seeds.0=5")
    assert said.code == 2
    assert said.has("--set", "seeds", "section")


@pytest.mark.parametrize("text", ["zero", "0,one", "5-1", "1.5", "-1"])
def test_seeds_that_are_no_numbers_show_how_to_write_them(say: Say, text: str) -> None:
    said = say("run", "smoke", f"--seeds={text}")
    assert said.code == 2
    assert said.has("--seeds", f"'{text}'", "0,1,2 or 0-9")


def test_seed_that_the_preset_does_not_name_is_refused(say: Say) -> None:
    said = say("run", "smoke", "--seeds", "7")
    assert said.code == 2
    assert said.has("smoke", "0, 1, 2", "7")


@pytest.mark.parametrize("option", ["--arms", "--seeds"])
def test_empty_selection_is_refused_by_the_options_name(say: Say, option: str) -> None:
    said = say("run", "smoke", option, ",")
    assert said.code == 2
    assert said.has(option)


# Devices, and options that do not go together


@pytest.mark.parametrize("name", ["coda", "cuda:x", "", "meta"])
def test_unknown_device_names_the_allowed_ones(say: Say, name: str) -> None:
    said = say(*ONE_RUN, "--device", name)
    assert said.code == 2
    assert said.has("--device", f"'{name}'", "auto, cpu, cuda")


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_device_where_there_is_none_says_so(say: Say, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    said = say(*ONE_RUN, "--device", name)
    assert said.code == 2
    assert said.has(f"--device {name}", "0 CUDA devices", "--device cpu")


def test_synthetic_without_smoke_is_refused(say: Say) -> None:
    said = say("run", "cifar10_cpu", "--synthetic")
    assert said.code == 2
    assert said.has("--synthetic", "--smoke")
    assert list(Path().iterdir()) == []
