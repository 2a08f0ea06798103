"""Smoke runs: any study shrunk to minutes, on part of its data or on made-up images in its official format."""

from pathlib import Path
from typing import Any

from benchmark.errors import UsageError
from benchmark.settings import Preset
from benchmark.synthetic import write_cifar, write_image_folder

FOLDER = Path("runs/smoke")  # records and report of smoke runs, apart from those of studies
TRAIN, TEST, ATTACKED, BATCH, EPOCHS, STEPS, SEEDS = 600, 200, 32, 50, 2, 3, 2


def shrink(preset: Preset) -> Preset:
    """Return the same study on 600 training and 200 test images, 2 epochs, 32 attacked images and 2 seeds.

    Its name ends in "-smoke", so its records never stand among those of the study.
    """
    evaluation = preset.evaluation
    attacks = [attack.model_copy(update={"steps": min(attack.steps, STEPS)}) for attack in evaluation.attacks]
    parts: dict[str, Any] = {
        "name": f"{preset.name}-smoke",
        "title": f"Smoke run, far too small to mean anything: {preset.title}",
        "seeds": preset.seeds[:SEEDS],
        "data": preset.data.model_copy(
            update={
                "train_images": TRAIN,
                "test_images": TEST,
                "validation_images": min(TEST, preset.data.validation_images),
            }
        ),
        "recipe": preset.recipe.model_copy(update={"epochs": EPOCHS, "batch_size": BATCH}),
        "evaluation": evaluation.model_copy(
            update={"images": ATTACKED, "batch_size": ATTACKED, "attacks": tuple(attacks)}
        ),
    }
    return preset.model_copy(update=parts)


def write_synthetic(preset: Preset, root: Path) -> Path:
    """Write made-up images in the official format of the preset's data set and return the data root.

    Raises:
        UsageError: the data set is embedded, or any user's own folder, so there is no official format.
    """
    name, pixels = preset.data.dataset, preset.data.pixels
    train, test = TRAIN + TEST, TEST
    if name in ("cifar10", "cifar100"):
        write_cifar(root, 10 if name == "cifar10" else 100, train, test)
    elif name == "cifar10_jpeg":
        write_image_folder(root / "cifar10-jpeg", 10, train, test, pixels)
    elif name == "tiny_imagenet_100":
        write_image_folder(root / "tiny-imagenet-100", 100, train, test, pixels)
    else:
        raise UsageError(
            f"--synthetic: there is no official format to imitate for the data set {name!r}. Leave it out."
        )
    return root
