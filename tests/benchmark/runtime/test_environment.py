"""`run --deterministic`: its settings, its field in the record, that it changes no number on a CPU; the device."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from pages.drawn import study_of
from records import planted
from studies.saying import ONE_RUN, TINY, Say
from studies.tiny_study import read, without_times

from benchmark.report.description import environment_table
from benchmark.runtime.environment import choose_device, describe_environment, deterministic
from benchmark.runtime.errors import UsageError


@pytest.fixture(autouse=True)
def _variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the environment as it was."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")


def settings() -> tuple[bool, str | None, str]:
    """The settings of torch and cuBLAS, and the field of the record."""
    said = describe_environment(torch.device("cpu"))["deterministic"]
    return torch.are_deterministic_algorithms_enabled(), os.environ.get("CUBLAS_WORKSPACE_CONFIG"), said


def test_the_block_sets_what_torch_offers_and_leaves_the_process_as_it_was() -> None:
    assert settings() == (False, None, "off")
    with deterministic(False):
        assert settings() == (False, None, "off")
    with deterministic(True):
        assert settings() == (True, ":4096:8", "on")
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_users_own_cublas_setting_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with deterministic(True):
        assert settings() == (True, ":16:8", "on")


def test_an_operation_without_deterministic_form_is_a_sentence_and_other_errors_pass() -> None:
    with pytest.raises(UsageError, match=r"--deterministic: .* deterministic"), deterministic(True):
        torch.ones(4).put_(torch.tensor([0, 0]), torch.ones(2))  # which of two writes wins is open
    with pytest.raises(RuntimeError, match="shape"), deterministic(True):
        torch.ones(3).reshape(2)


@pytest.mark.usefixtures("elsewhere")
def test_a_deterministic_run_gives_the_same_record_and_says_what_it_does_not_promise(say: Say) -> None:
    records: dict[str, dict[str, Any]] = {}
    for said, options in (("off", ()), ("on", ("--deterministic",))):
        run = say(*ONE_RUN[:2], "--arms", "sba", "--seeds", "0", *TINY, "--device", "cpu", "--results", said, *options,
                  "--runs", f"{said}-runs")  # fmt: skip
        assert run.code == 0
        assert ("does not promise" in run.out) == (said == "on")
        record = without_times(read(Path(said) / "smoke" / "sba" / "seed-0.json"))
        assert record["environment"].pop("deterministic") == said
        records[said] = record
    assert records["on"] == records["off"]


def test_a_record_without_the_key_is_a_dash_in_the_table() -> None:
    records = planted.study({"sba": [90, 91], "standard": [89, 90]})
    for record in records:
        record["environment"].pop("deterministic", None)
    records[0]["environment"]["deterministic"] = "on"
    table = environment_table([study_of(records, against=["standard"])])
    assert ["deterministic", "-, on"] in table.rows


# The device.


def test_processes_take_a_gpu_each_not_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.runtime.environment.launched", lambda: True)
    with pytest.raises(UsageError, match=r"--device cuda:1: several processes take one GPU each; write --device cuda"):
        choose_device("cuda:1")
