"""Mistakes on the command line: one message that says what, where and what is allowed, exit code 2, and nothing run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from studies.saying import ONE_RUN, PROJECT, TINY, Say

pytestmark = pytest.mark.usefixtures("elsewhere")
EXCLUSIVE = [("--ablation", "--tuning"), ("--tuning", "--compute"), ("--compute", "--ablation")]
SMOKE, CUDA = ("run", "smoke"), ("cuda", "cuda:1")

MISTAKES: list[tuple[tuple[str, ...], tuple[str, ...]]] = [  # arguments, parts of the message
    (("run", "cifar10_30_epochs"), ("for a GPU alone", "--device cuda", "cifar10_30_epochs_gpu")),
    (("run", "smokee"), ("'smokee'", "did you mean 'smoke'?", "cifar10_jpeg_cpu", ".toml")),
    (("run", "folder/nothing.toml"), ("folder/nothing.toml", "No such file")),
    (("run", "mine.toml"), ("mine.toml", "extends", "'smok'", "did you mean 'smoke'?")),
    ((*SMOKE, "--arms", "erm,standart"), ("'standart'", "did you mean 'standard'?", "erm, mixup, sba, standard")),
    ((*SMOKE, "--sedes", "0"), ("--sedes",)),
    ((*SMOKE, "--arms", ","), ("--arms",)),
    ((*SMOKE, "--seeds", ","), ("--seeds",)),
    *[((*SMOKE, f"--seeds={text}"), ("--seeds", f"'{text}'", "0,1,2 or 0-9")) for text in ("0,one", "5-1", "-1", "0-")],
    ((*SMOKE, "--seeds", "0-99999999999"), ("at most 1000 seeds",)),
    ((*SMOKE, "--seeds", "7"), ("smoke", "0, 1, 2", "7")),
    ((*SMOKE, "--set", "arms.sba.settings.copys=3"), ("arms.sba.settings.copys", "'sba'", "'copies'?", "noise")),
    ((*SMOKE, "--set", "arms.sba.settings.p=1.5"), ("arms.sba.settings", "p ", "1.5", "0 to 1")),
    ((*SMOKE, "--set", "recipe.epochs"), ("--set", "'recipe.epochs'", "recipe.epochs=5")),
    ((*SMOKE, "--set", "seeds.0=5"), ("--set", "seeds", "section")),
    (("list", "preset"), ("'preset'", "presets", "datasets", "attacks")),
    (("run", "cifar10_cpu", "--synthetic"), ("--synthetic", "--smoke")),
    (("status", "cifar10_cpu", "--synthetic"), ("--synthetic", "--smoke")),
    *[((*SMOKE, *two), (two[1], "not allowed with", two[0])) for two in EXCLUSIVE],
    (("run", "cifar10_10k_cpu", "--arms", "adversarial", "--seeds", "1"), ("cifar10_10k_cpu", "adversarial at 0")),
    (("tune", "cifar10_10k"), ("96 of 96 trials of cifar10_10k_cpu",)),
    (("speed", "--parts", "trainin"), ("--parts", "did you mean 'training'")),
    *[(("autoattack", "smoke", f"--eps={text}"), ("--eps", "write")) for text in ("0", "-1", "nan", "inf", "a", ",")],
    ((*SMOKE, "--launcher", "slurm"), ("llowed: local, ray, torchrun",)),
    ((*SMOKE, "--processes", "2", "--jobs", "2"), ("leave one out",)),
    ((*SMOKE, "--processes", "2", "--launcher", "ray"), ("leave one out",)),
    ((*SMOKE, "--processes", "gpus", "--device", "cuda:0"), ("write --device cuda",)),
    ((*SMOKE, "--ray-address", "auto"), ("--ray-address is for --launcher ray only",)),
    *[((*SMOKE, "--processes", text), ("--processes", "whole number from 1 on")) for text in ("0", "many")],
    *[((*ONE_RUN, "--device", name), ("--device", f"'{name}'", "auto, cpu, cuda")) for name in ("cuda:x", "", "meta")],
    *[((*ONE_RUN, "--device", name), (f"--device {name}", "0 CUDA devices", "--device cpu")) for name in CUDA],
]  # fmt: skip
WITH_DATA = [  # refused when the data are known, before any arm trains
    ((*ONE_RUN, "--set", "data.train_images=5000"), ("data.train_images", "5,000", "1,297", "digits")),
    ((*ONE_RUN, "--set", "data.pixels=16"), ("data.pixels", "16", "8")),
    ((*ONE_RUN, *TINY, "--set", "model.name=fast"), ("fast", "8")),
    (
        (*SMOKE, *TINY, "--seeds", "0", "--set", 'arms.sba.settings.layers=["blok1"]'),
        ("sba", "'blok1'", "small", "'block1'", "stem", "block2"),
    ),
]


@pytest.mark.parametrize(("arguments", "parts"), [*MISTAKES, *WITH_DATA], ids=lambda words: " ".join(words)[-40:])
def test_a_mistake_is_one_message(
    say: Say, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    Path("mine.toml").write_text('extends = "smok"\n', encoding="utf-8")
    said = say(*arguments)
    assert said.code == 2
    assert said.has(*parts)
    assert "epoch 1" not in said.out
    folders = {"results", "runs"} if (arguments, parts) in WITH_DATA else set()
    assert {path.name for path in Path().iterdir()} == {"mine.toml", *folders}
    assert not list(Path().rglob("*.json"))


@pytest.mark.parametrize("arguments", [(*SMOKE, "--seeds", "0..2"), ("run",), (), ("trian",), (*SMOKE, "--smok", "x")])
def test_a_command_line_that_cannot_be_read_is_one_line(say: Say, arguments: tuple[str, ...]) -> None:
    said = say(*arguments)
    assert said.code == 2
    assert said.error.startswith("error: ")
    assert said.error.endswith(" --help\n")
    assert said.error.count("\n") == 1


def test_a_mistake_in_a_process_ends_with_2_and_no_traceback() -> None:
    line = [sys.executable, "-m", "benchmark", "report", "--results", "nowhere"]  # which needs no torch
    path = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(line, env=path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --results nowhere: ")
    assert done.stderr.count("\n") == 1
