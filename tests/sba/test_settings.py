"""The settings of SBA: their ranges, and combinations that are refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from networks.sba_cases import batch, generator, make, network

from sba import SBA

CHOICES = {
    "scheduler": ("bernoulli", "every_nth"),
    "ramp": ("constant", "linear_up", "linear_down", "cosine_up", "cosine_down"),
    "noise_kind": ("gaussian", "uniform_ball", "interpolation"),
    "noise_unit": ("activation_std", "channel_std", "absolute"),
    "soft_label": ("softmax", "dark_knowledge"),
    "divergence": ("kl", "symmetric"),
    "batchnorm": ("joint", "originals"),
    "hard_labels": ("sum", "mean"),
}
NAN, INF = float("nan"), float("inf")
OUT_OF_RANGE: dict[str, tuple[object, ...]] = {
    "layers": ((), "layer1", ("2", 3), ("1", "1"), {"1"}, None),
    "p": (-0.1, 1.1, NAN, "0.5", None),
    "ramp_steps": (-1, 1.5, NAN, "1"),
    "warmup_steps": (-1, 1.5, NAN, "1"),
    "noise": (-0.1, NAN, INF, "0.5"),
    "noise_jitter": (-0.1, 1.1, NAN, "0.5"),
    "copies": (0, -1, 1001, 1.5, True, "2"),
    "alpha": (-0.1, NAN, INF, "1"),
    "kl_weight": (-0.1, NAN, INF, "1"),
    "kl_ramp_steps": (-1, 1.5, NAN, "1"),
    "temperature": (0.0, -1.0, NAN, INF, "2"),
    "label_mix": (-0.1, 1.1, NAN, "0.5"),
    "similarity_tau": (0.0, -1.0, NAN, "1"),
    "label_gradient": ("no", 2),
    "gradient_below": ("no", 2),
}
CONTRADICTIONS: list[tuple[str, dict[str, Any]]] = [
    ("ramp_steps", {"ramp": "linear_up"}),
    ("ramp_steps", {"ramp": "cosine_down", "warmup_steps": 5}),
    ("ramp_steps", {"ramp_steps": 5}),
    ("noise", {"noise_kind": "interpolation", "noise": 1.1}),
    ("noise_unit", {"noise_kind": "interpolation", "noise_unit": "absolute"}),
    ("noise_unit", {"noise_kind": "interpolation", "noise_unit": "channel_std"}),
    ("noise_jitter", {"noise_kind": "interpolation", "noise_jitter": 0.1}),
    ("label_mix", {"soft_label": "dark_knowledge", "label_mix": 0.1}),
    ("label_mix", {"divergence": "symmetric", "label_mix": 1.0}),
    ("hard_labels", {"hard_labels": "mean"}),
    ("hard_labels", {"hard_labels": "mean", "alpha": 0}),
]
VALID: list[dict[str, Any]] = [
    {"noise_kind": "interpolation", "noise": 1.0},
    {"noise_kind": "uniform_ball", "noise_unit": "channel_std", "noise_jitter": 1.0, "noise": 3.0},
    {"divergence": "symmetric", "label_mix": 0.99},
    {"ramp": "cosine_up", "ramp_steps": 1, "warmup_steps": 1},
    {"p": 1, "noise": 0, "alpha": 1, "kl_weight": 0, "temperature": 1, "label_mix": 1, "similarity_tau": 2},
    {"soft_label": "dark_knowledge", "divergence": "symmetric", "label_gradient": True},
    {"hard_labels": "mean", "alpha": 1e-6},
]


def test_every_choice_is_tried_below() -> None:
    assert {field.name for field in dataclasses.fields(SBA) if isinstance(field.default, str)} == set(CHOICES)


def test_settings_are_frozen_and_alone_decide_comparisons() -> None:
    sba, name = make(), "p"
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(sba, name, 0.1)
    sba(network(), *batch(), generator=generator())
    assert sba == make()
    assert sba != make(p=0.9)
    assert repr(sba) == repr(make())


def test_a_list_of_layers_becomes_a_tuple() -> None:
    assert make(layers=["1", "2"]).layers == ("1", "2")


def test_numbers_of_numpy_are_numbers() -> None:
    assert make(noise=np.float32(0.5), copies=np.int64(2)) == make(noise=0.5, copies=2)


@pytest.mark.parametrize(("setting", "value"), [(name, value) for name, bad in OUT_OF_RANGE.items() for value in bad])
def test_a_value_out_of_range_is_refused_by_the_settings_name(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{setting} must be "):
        make(**{setting: value})


@pytest.mark.parametrize(("setting", "value"), [(name, value) for name in CHOICES for value in ("gausian", None, 1)])
def test_an_unknown_choice_is_refused_with_those_that_exist(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{setting} must be one of ") as error:
        make(**{setting: value})
    assert all(repr(choice) in str(error.value) for choice in CHOICES[setting])


@pytest.mark.parametrize(("name", "settings"), CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_refused(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be ") as error:
        make(**settings)
    assert all(key in str(error.value) for key in settings if key != "warmup_steps")


@pytest.mark.parametrize("settings", [{name: value} for name, values in CHOICES.items() for value in values] + VALID)
def test_settings_at_the_edge_of_their_ranges_work(settings: dict[str, Any]) -> None:
    if settings.get("ramp", "constant") != "constant":
        settings = {"ramp_steps": 1} | settings
    if settings.get("hard_labels") == "mean":
        settings = {"alpha": 1.0} | settings
    sba = make(**settings)
    for _ in range(3):
        step = sba(network(norm=True), *batch(), generator=generator())
        step.loss.backward()
        assert bool(step.loss.isfinite())
