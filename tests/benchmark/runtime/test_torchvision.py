"""Both branches, on any machine: torchvision's compiled operators load, or they do not."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmark.runtime import torchvision as torchvision_ops
from benchmark.runtime.torchvision import ensure_importable

# In a fresh process where warnings are errors, a library that loads neither for us nor for torchvision.
IMPORT_WITHOUT_OPERATORS = """
import gc, torch
def refuse(path): raise OSError("libcudart.so: cannot open shared object file")
torch.ops.load_library = refuse

from benchmark.runtime.torchvision import ensure_importable
assert ensure_importable() == ensure_importable() == "libcudart.so: cannot open shared object file"
gc.collect()  # the schemas outlive the call

import torchvision, torchvision.datasets, torchvision.models, torchvision.transforms.v2, torchattacks
assert not torchvision.extension._has_ops()
assert torchvision.models.resnet18(num_classes=2)(torch.zeros(2, 3, 32, 32)).shape == (2, 2)
try:
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except RuntimeError as error:
    assert "Couldn't load custom C++ ops" in str(error)
else:
    raise AssertionError("an operator that is not there gave a result")
"""


@pytest.mark.slow
def test_torchvision_and_torchattacks_import_without_the_operators() -> None:
    command = [sys.executable, "-W", "error", "-c", IMPORT_WITHOUT_OPERATORS]
    root = Path(torchvision_ops.__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


def test_operators_that_load_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Path] = []
    monkeypatch.setattr(torch.ops, "load_library", lambda path: loaded.append(Path(path)))
    monkeypatch.setattr(torchvision_ops, "_define_missing_schemas", lambda: pytest.fail("defined a schema"))
    assert ensure_importable.__wrapped__() == ""
    assert [(path.parent.name, path.stem) for path in loaded] == [("torchvision", "_C")]


def test_what_it_says_is_what_torchvision_finds() -> None:
    reason = ensure_importable()
    import torchvision

    assert bool(reason) != torchvision.extension._has_ops()


@pytest.mark.parametrize(
    ("broken", "replacement", "reason"),
    [
        ("importlib.util.find_spec", lambda _: None, "torchvision is not installed"),
        ("importlib.machinery.EXTENSION_SUFFIXES", [], "torchvision's compiled library _C is not in"),
    ],
)
def test_a_missing_package_or_library_is_named(
    monkeypatch: pytest.MonkeyPatch, broken: str, replacement: object, reason: str
) -> None:
    monkeypatch.setattr(broken, replacement)
    assert torchvision_ops._loading_error().startswith(reason)
