"""The GPU's part of the speed command, as far as a CPU can carry it: its sums, its profile, its jobs, its watch."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.data.load import Data
from benchmark.settings.load import load_preset
from benchmark.settings.methods import METHODS
from benchmark.settings.plan import Run
from benchmark.speed import gpu, throughput
from benchmark.speed.gpu import KINDS, kernel_seconds, kind, limiting, shares
from benchmark.training.state import start

CPU = torch.device("cpu")
MakeRun = Callable[..., Run]
SMALL = ("recipe.batch_size=8", "recipe.epochs=999", "recipe.precision='float32'")


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_TNT", "convolution"),
        ("void cudnn::bn_fw_tr_1C11_kernel_NCHW<float, float, int, 512, true, 1>", "elementwise"),
        ("void at::native::(anonymous namespace)::multi_tensor_apply_kernel<FusedSgdMathFunctor>", "optimizer"),
        ("void splitKreduce_kernel<32, 16, int, float>", "convolution"),
        ("Memcpy HtoD (Pageable -> Device)", "elementwise"),
        ("something nobody has heard of", "elementwise"),
    ],
)
def test_kernels_are_known_by_their_names(kernel: str, expected: str) -> None:
    assert kind(kernel) == expected


def test_shares_add_up_and_the_largest_limits() -> None:
    seconds = {"xmma_fprop": 3.0, "triton_poi_fused_relu": 2.0, "multi_tensor_apply": 1.0}
    found = shares(seconds, wall=10.0)
    assert found == {"convolution": 0.3, "elementwise": 0.2, "optimizer": 0.1, "idle": 0.4}
    assert limiting(found).startswith("the host")
    assert limiting(shares(seconds, wall=6.5)).startswith("arithmetic")
    assert limiting(shares({"relu": 2.0, "conv": 1.0}, wall=2.5)).startswith("memory bandwidth")
    assert shares(seconds, wall=1.0)["idle"] == 0.0


def test_a_profile_finds_where_the_time_goes() -> None:
    matrix = torch.ones(400, 400)
    seconds = kernel_seconds(lambda: [matrix @ matrix for _ in range(50)], CPU)
    assert max(seconds, key=lambda name: seconds[name]) == "aten::mm"
    assert set(shares(seconds, 10.0)) == {*KINDS, "idle"}
    assert kind("aten::mm") == "convolution"


def test_without_a_gpu_its_targets_stand_there_unjudged() -> None:
    lines = list(gpu.gpu_lines(CPU))
    assert [line["part"] for line in lines] == [
        "epoch on a GPU", "epoch on a GPU", "waiting for the GPU", "recipe of 30 epochs"
    ]  # fmt: skip
    assert {line["verdict"] for line in lines} == {"not judged here"}


def test_the_profile_of_a_run_names_shares_and_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "PROFILED", 2)
    run = throughput.run_of(load_preset("cifar10_cpu", SMALL), "erm")
    state = start(run, throughput.as_data(throughput.random_images(8, CPU)), CPU)
    *found, limit = gpu.profile_lines(run, state, CPU)
    assert sum(line["ratio"] or 0 for line in found) == pytest.approx(1)
    assert " is limited by " in limit["what"]
    assert 1 <= len(limit["figures"]) <= 5


def test_an_epoch_is_watched_between_its_first_and_last_step(
    make_run: MakeRun, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    run = make_run("erm", 0, "recipe.batch_size=64")
    gpu.epoch_without_waiting(run, start(run, digits, CPU), digits.train, CPU)
    assert modes == ["error", "error", "error", "default", "default"]


def test_methods_that_wait_are_counted_and_named_and_another_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    error = "called a synchronizing CUDA operation"

    def watched(run: Run, *_: object) -> None:
        if run.arm == "cutmix":
            raise RuntimeError(error)

    monkeypatch.setattr(gpu, "studies", lambda _device: [None, load_preset("cifar10_cpu", SMALL)])
    monkeypatch.setattr(gpu, "begin", lambda *_: (None, 0.0))
    monkeypatch.setattr(gpu, "train_epoch", lambda *_: None)
    monkeypatch.setattr(gpu, "epoch_without_waiting", watched)
    line = gpu.waiting_line(CPU)
    assert [name for name in line["figures"] if name != "methods"] == ["cutmix waits"]
    assert line["ratio"] == 1 - 1 / len(METHODS)
    assert line["verdict"] == "missed"
    error = "CUDA out of memory"
    with pytest.raises(RuntimeError, match="out of memory"):
        gpu.waiting_line(CPU)


def test_jobs_are_compared_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "rate_of", lambda jobs, _device: 100.0 * jobs**0.5)
    lines = list(gpu.jobs_lines(CPU))
    assert [line["ratio"] for line in lines] == pytest.approx([2.0, 4.0])


@pytest.mark.slow
def test_two_processes_train_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "SECONDS", 0.1)
    monkeypatch.setattr(gpu, "STEPS", 1)
    monkeypatch.setattr(gpu, "studies", lambda _device: [load_preset("cifar10_cpu", SMALL)])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert gpu.rate_of(2, CPU) > 0


@pytest.mark.parametrize(("short", "verdict"), [(0.9444, "met"), (0.9436, "missed")])
def test_the_short_recipe_is_judged_by_the_records_of_both(
    short: float, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = {"cifar10_gpu": [0.95, 0.952], "cifar10_30_epochs_gpu": [short, short]}

    def read_study(folder: Path, name: str) -> list[dict[str, Any]]:
        assert folder == tmp_path
        of_seeds = [{"arm": "standard", "last_epoch": {"accuracy": value}} for value in accuracies[name]]
        return [*of_seeds, {"arm": "standard", "last_epoch": None}, {"arm": "erm", "last_epoch": {"accuracy": 0.5}}]

    monkeypatch.setattr(gpu, "read_study", read_study)
    line = gpu.recipe_line(tmp_path)
    assert line["ratio"] == pytest.approx((95.1 - 100 * short) / 0.7)
    assert line["verdict"] == verdict
    assert line["figures"]["cifar10_gpu, seeds"] == 2


def test_without_records_the_short_recipe_is_not_judged(tmp_path: Path) -> None:
    assert gpu.recipe_line(tmp_path)["verdict"] == "not judged here"
