"""Smoke runs: any study shrunk to minutes, on part of its data or on made-up images in its official format."""

import json
from pathlib import Path

from benchmark.settings.preset import Attack, Preset

FOLDER = Path("runs/smoke")  # records and report of smoke runs, apart from those of studies
TRAIN, TEST, ATTACKED, BATCH, EPOCHS, STEPS, SEEDS, TRIALS = 600, 200, 32, 48, 2, 3, 2, 2
PIXELS = 32  # at most
QUERIES, FEW = 20, 4  # of the sanity checks: Square's queries, images for the reference AutoAttack


def shrink(preset: Preset, synthetic: bool = False) -> tuple[str, ...]:
    """Return the overrides that make a study tiny: 600 + 200 images, 2 epochs, 32 attacked images, 2 seeds.

    Its name ends in "-smoke", on made-up images in "-smoke-synthetic", so that its records never stand among those of
    the study or of each other.
    """
    evaluation, pixels = preset.evaluation, min(PIXELS, preset.data.pixels)
    values: dict[str, object] = {
        "name": f"{preset.name}-smoke" + ("-synthetic" if synthetic else ""),
        "title": f"Smoke run, far too small to mean anything: {preset.title}",
        "seeds": preset.seeds[:SEEDS],
        "data.pixels": pixels,
        "data.resize": preset.data.resize * pixels // preset.data.pixels,
        "data.train_images": TRAIN,
        "data.test_images": TEST,
        "data.validation_images": min(TEST, preset.data.validation_images),
        "recipe.epochs": EPOCHS,
        "recipe.batch_size": BATCH,
        "evaluation.images": ATTACKED,
        "evaluation.batch_size": ATTACKED,
    }
    if synthetic:
        values["data.synthetic"] = True
    if evaluation.checks:
        values |= {
            "evaluation.checks.images": ATTACKED,
            "evaluation.checks.square_queries": QUERIES,
            "evaluation.checks.repeated": FEW,
            "evaluation.checks.long_steps": 2 * STEPS,
            "evaluation.checks.reference_steps": STEPS,
            "evaluation.checks.reference_queries": QUERIES,
        }
        if evaluation.checks.seeds:
            values["evaluation.checks.seeds"] = preset.seeds[:1]
    if preset.ablation:
        values |= {
            "ablation.train_images": TRAIN,
            "ablation.validation_images": TEST,
            "ablation.epochs": EPOCHS,
            "ablation.attacked_images": ATTACKED,
            "ablation.seeds": preset.ablation.seeds[:SEEDS],
        }
    if preset.tuning:
        values |= {"tuning.trials": TRIALS, "tuning.validation_images": TEST, "tuning.seeds": preset.tuning.seeds[:1]}
    shrunk = {"attacks": evaluation.attacks} | ({"l2_attacks": evaluation.l2_attacks} if evaluation.l2_attacks else {})
    return (
        *(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()),
        *(f"evaluation.{key}=[{', '.join(few_steps(attack) for attack in listed)}]" for key, listed in shrunk.items()),
    )


def few_steps(attack: Attack) -> str:
    """Write an attack as TOML with as many steps as a smoke run can spend."""
    return f'{{ name = "{attack.name}", steps = {min(attack.steps, STEPS)} }}'
