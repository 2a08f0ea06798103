"""What the tests of published figures share: planted studies with a preset's settings, and planted files."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from records import planted

from benchmark.analysis import published
from benchmark.analysis.published import FILE, load_published
from benchmark.analysis.study import Study, load_study
from benchmark.records.schema import Record
from benchmark.report.published_table import published_table
from benchmark.settings.load import load_preset
from benchmark.settings.plan import make_plan

# The published errors and accuracies, typed a second time.
ERRORS = {
    "mixup": [5.53, 5.18, 4.24, 4.68],
    "manifold_mixup": [4.83, 24.01, 3.82, 22.11, 2.95, 20.34],
}
ACCURACIES = {
    "openmixup": [94.87, 95.70, 76.42, 78.52, 70.04, 69.98],
    "robustbench": [94.78, 0.0],
    "pytorch_cifar": [95.11],
    "airbench": [96.0, 94.01],
}
COUNTS = {"sba": [9500] * 5, "standard": [9440, 9450, 9461, 9447, 9452], "mixup": [9580, 9571, 9590, 9566, 9575]}
PLANTED = """
note = "How to read it."
paper = "Not quoted."
[sources]
ours = "a source"
[networks]
small = "SmallNet"
[datasets.digits]
title = "Digits"
train_images = 5000
test_images = 1000
[figures.one]
source = "ours"
dataset = "digits"
network = "small"
method = "standard"
augmentation = "standard"
quantity = "accuracy"
value = 12.5
protocol = { epochs = 4, batch_size = 128, weight_decay = 5e-4, reported = "last epoch" }
"""
ATTACK = """
[figures.one.attack]
name = "Two attacks"
eps = 2.0
suite = [{ name = "fgsm", steps = 1 }, { name = "apgd_dlr", steps = 20 }]
"""


def changed(records: Sequence[Record], **changes: Any) -> list[Record]:
    """Copy records with fields replaced, each named by its place in a record: data__name."""
    copies: Any = copy.deepcopy(list(records))
    for record in copies:
        for path, value in changes.items():
            *parents, last = path.split("__")
            target = record
            for key in parents:
                target = target[key]
            target[last] = value
    result: list[Record] = copies
    return result


def records(preset: str = "cifar10_gpu", **changes: Any) -> list[Record]:
    """Runs with the settings that a preset of the package has, with planted outcomes of 10,000 test images.

    Accuracy over the last ten epochs: four times 0.90, twice 0.94, three times 0.96, then the last epoch's, so that
    their median is 94.00.
    """
    found = []
    for run in make_plan(load_preset(preset), list(COUNTS), range(5)):
        correct = COUNTS[run.arm][run.seed]
        record = planted.record(
            run.arm, run.seed, 0, preset=preset, settings=run.settings, robustness=None, settings_hash=run.identity
        )
        record["clean"] = {"n": 10000, "correct": planted.bits(correct, 10000)}
        record["last_epoch"] = record["best_epoch"] = {"epoch": run.epochs, "accuracy": correct / 10000}
        curve = [0.5] * run.epochs
        curve[-10:] = [*[0.90] * 4, *[0.94] * 2, *[0.96] * 3, correct / 10000]
        first = record["epochs"][0]
        record["epochs"] = [{**first, "epoch": i, "accuracy": value} for i, value in enumerate(curve, 1)]
        record["data"] |= {"name": run.settings["data"]["dataset"], "train_images": 50000, "test_images": 10000}
        record["model"] |= {"name": run.settings["model"]["name"]}
        found.append(record)
    return changed(found, **changes)


def study(found: Sequence[Record]) -> Study:
    return load_study(found[0]["preset"], list(found))


def cells(studies: Sequence[Study]) -> dict[str, str]:
    """Our cell of every figure, by the figure's name."""
    rows = published_table(studies).rows
    return {name: row[-1] for name, row in zip(load_published(FILE).figures, rows, strict=True)}


def planted_cell(folder: Path, patch: pytest.MonkeyPatch, text: str, found: Sequence[Record]) -> str:
    """Our cell of the only figure of a planted file, beside a study of these records."""
    file = folder / "planted.toml"
    file.write_text(text)
    patch.setattr(published, "FILE", file)
    load_published.cache_clear()
    [row] = published_table([study(found)]).rows
    return row[-1]
