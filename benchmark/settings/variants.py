"""Studies derived from a preset: smoke run, ablation, equal compute, the trials of a tuning and the study of the best.

How an ablation decides, fixed before its records were analysed (the model behind p while the first of them came in):
layers, noise and temperature (marked * in the method card) keep the default unless another reading has a higher
last-epoch accuracy at a Benjamini-Hochberg p below 0.05 (of the additive model of all rows and seeds,
`exploratory.block_t`) and no lower robust area at such a p; of several, the one with the highest mean accuracy. Every
other setting stays at its default in any case.
"""

import re
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from benchmark.runtime.errors import UsageError, shorten
from benchmark.settings.preset import Analysis, Arm, Attack, Evaluation, Preset
from benchmark.settings.tuning import Trial, search, tuning_of
from benchmark.settings.values import MAX_NAME, MAX_TITLE

SMOKE_FOLDER = Path("runs/smoke")  # records and report of smoke runs, apart from those of studies
SMOKE_SEEDS, SMOKE_PIXELS, SMOKE_STEPS = 2, 32, 3  # at most, as all of these
SMOKE_LIMITS = {
    "data.train_images": 600,
    "data.test_images": 200,
    "data.validation_images": 200,
    "recipe.epochs": 2,
    "recipe.batch_size": 48,
    "evaluation.images": 32,
    "evaluation.batch_size": 32,
    "evaluation.checks.images": 32,
    "evaluation.checks.square_queries": 20,
    "evaluation.checks.repeated": 4,
    "evaluation.checks.long_steps": 2 * SMOKE_STEPS,
    "evaluation.checks.reference_steps": SMOKE_STEPS,
    "evaluation.checks.reference_queries": 20,
    "ablation.train_images": 600,
    "ablation.validation_images": 200,
    "ablation.epochs": 2,
    "ablation.attacked_images": 32,
    "tuning.trials": 2,
    "tuning.validation_images": 200,
}
ZERO_MEANS_ALL = ("data.train_images", "data.test_images")
TITLE = MAX_TITLE - len("...")  # what `shorten` leaves of a title
DEFAULT, EQUAL_COMPUTE = "default", "erm_equal_compute"  # arms of an ablation
TRIAL_IMAGES = 20  # attacked images of a trial: attacks play no part in tuning, but a record has some


def shrink(preset: Preset, synthetic: bool = False) -> dict[str, object]:
    """Return the values, by their dotted keys, that make a study tiny: at most `SMOKE_LIMITS`, and two seeds.

    Its name ends in "-smoke", on made-up images in "-smoke-synthetic", so its records are never among those of the
    study or of each other.
    """
    data, evaluation = preset.data, preset.evaluation
    pixels, seeds = min(SMOKE_PIXELS, data.pixels), list(preset.seeds[:SMOKE_SEEDS])
    values: dict[str, object] = {
        "name": f"{preset.name}-smoke" + ("-synthetic" if synthetic else ""),
        "title": shorten(f"Smoke run, far too small to mean anything: {preset.title}", TITLE),
        "seeds": seeds,
        "data.pixels": pixels,
        "data.resize": data.resize * pixels // data.pixels,
        "recipe.padding": min(preset.recipe.padding, pixels - 1),
        "evaluation.attacks": [_with_few_steps(attack) for attack in evaluation.attacks],
        "evaluation.l2_attacks": [_with_few_steps(attack) for attack in evaluation.l2_attacks],
    }
    for key, limit in SMOKE_LIMITS.items():
        section, _, name = key.rpartition(".")
        settings = attrgetter(section)(preset)
        if settings is not None:  # a table that may be left out
            own = getattr(settings, name)
            values[key] = limit if own == 0 and key in ZERO_MEANS_ALL else min(own, limit)
    if synthetic:
        values["data.synthetic"] = True
    for name, arm in preset.arms.items():
        if arm.seeds:
            values[f"arms.{name}.seeds"] = [seed for seed in arm.seeds if seed in seeds] or seeds[:1]
    if evaluation.checks and evaluation.checks.seeds:
        values["evaluation.checks.seeds"] = seeds[:1]
    if preset.ablation:
        values["ablation.seeds"] = list(preset.ablation.seeds[:SMOKE_SEEDS])
    if preset.tuning:
        values["tuning.seeds"] = list(preset.tuning.seeds[:1])
    return values


def _with_few_steps(attack: Attack) -> dict[str, object]:
    return {"name": attack.name, "steps": min(attack.steps, SMOKE_STEPS)}


def _derived(preset: Preset, name: str, title: str, **changes: object) -> Preset:
    """Return the preset with another name, its title with a prefix, and other changes.

    Raises:
        UsageError: the name is too long for a folder of results.
    """
    if len(name) > MAX_NAME:
        raise UsageError(
            f"preset {preset.name}: the name {name} would have more than {MAX_NAME} characters; shorten it."
        )
    title = shorten(f"{title}: {preset.title}", TITLE)
    return preset.model_copy(update={"name": name, "title": title, **changes})


def ablate(preset: Preset) -> Preset:
    """Return the ablation of a study: `default` (its treatment) and an arm for each reading and control.

    Arms differ from the default in the reading that they are named after, and in what it needs (`readings`). Data,
    epochs, attacks and seeds are those of the preset's `ablation` table, the evaluated images those of the validation
    split.

    Raises:
        UsageError: the preset has no `ablation` table, or its treatment is not SBA.
    """
    small, arm = preset.ablation, preset.arms[preset.analysis.treatment]
    if small is None:
        raise UsageError(f"preset {preset.name} has no [ablation] table; see the preset cifar10_jpeg_cpu for one.")
    if arm.method != "sba":
        raise UsageError(f"preset {preset.name}: its treatment is method {arm.method!r}; only 'sba' has readings.")
    steps = small.train_images // preset.recipe.batch_size * small.epochs
    rows = readings(steps, small.all_layers) | {"always": {"p": 1.0}, "hard_labels": {"alpha": 1.0, "kl_weight": 0.0}}
    default = arm.model_copy(update={"seeds": None})
    arms = {DEFAULT: default} | {
        name: default.model_copy(update={"settings": arm.settings | changes}) for name, changes in rows.items()
    }
    arms["erm"] = Arm(method="erm", augmentation=arm.augmentation)
    arms[EQUAL_COMPUTE] = arms["erm"].model_copy(update={"epochs": small.equal_compute_epochs})
    data = {"train_images": small.train_images, "validation_images": small.validation_images}
    evaluation = Evaluation(
        split="validation",
        images=small.attacked_images,
        batch_size=min(preset.evaluation.batch_size, small.attacked_images),
        eps=small.eps,
        attacks=small.attacks,
    )
    return _derived(
        preset,
        f"{preset.name}_ablation",
        "Readings of SBA",
        seeds=small.seeds,
        data=preset.data.model_copy(update=data),
        recipe=preset.recipe.model_copy(update={"epochs": small.epochs}),
        **_exploring(preset, arms, evaluation),
    )


def _exploring(preset: Preset, arms: dict[str, Arm], evaluation: Evaluation) -> dict[str, Any]:
    """Return the changes that make a study compare these arms with the first of them, and test nothing."""
    treatment, *others = arms
    eps = preset.analysis.eps
    analysis = Analysis(
        treatment=treatment,
        against=tuple(others),
        eps=eps if eps in evaluation.eps else evaluation.eps[0],
        margin=preset.analysis.margin,
        exploratory=True,
    )
    return {"arms": arms, "compute_arms": (), "evaluation": evaluation, "analysis": analysis}


def readings(steps: int, all_layers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the settings that each reading changes in the default, for a training of `steps` steps.

    Ramps go from p = 0 to p = 1, or back, over the whole training, so about half of all steps are augmented, as in the
    default. The similarity weight needs noise of different sizes, so its row is to be read beside that of the
    jitter alone; it also lowers the weight of the divergence on average. An absolute noise of 0.3 is of the default's
    order behind normalised layers with a GELU or ReLU, and of another one elsewhere.
    """
    whole = {"p": 1.0, "ramp_steps": steps}
    return {
        "every_nth": {"scheduler": "every_nth"},
        "ramp_linear_up": {"ramp": "linear_up", **whole},
        "ramp_linear_down": {"ramp": "linear_down", **whole},
        "ramp_cosine_up": {"ramp": "cosine_up", **whole},
        "ramp_cosine_down": {"ramp": "cosine_down", **whole},
        "warmup": {"warmup_steps": steps // 4},
        "layers_input": {"layers": ["input"]},
        "layers_blocks": {"layers": ["block1", "block2"]},
        "layers_all": {"layers": list(all_layers)},
        "layers_stem": {"layers": ["stem"]},
        "layers_block1": {"layers": ["block1"]},
        "layers_block2": {"layers": ["block2"]},
        "noise_0_1": {"noise": 0.1},
        "noise_0_25": {"noise": 0.25},
        "noise_1": {"noise": 1.0},
        "noise_absolute": {"noise": 0.3, "noise_unit": "absolute"},
        "noise_channel": {"noise_unit": "channel_std"},
        "noise_ball": {"noise_kind": "uniform_ball"},
        "noise_interpolation": {"noise_kind": "interpolation"},
        "noise_jitter": {"noise_jitter": 1.0},
        "similarity": {"noise_jitter": 1.0, "similarity_tau": 0.5},
        "copies_2": {"copies": 2},
        "copies_4": {"copies": 4},
        "alpha_1": {"alpha": 1.0},
        "lambda_ramp": {"kl_ramp_steps": steps // 2},
        "temperature_1": {"temperature": 1.0},
        "temperature_4": {"temperature": 4.0},
        "dark_knowledge": {"soft_label": "dark_knowledge"},
        "label_mix": {"label_mix": 0.5},
        "label_gradient": {"label_gradient": True},
        "symmetric": {"divergence": "symmetric"},
        "batchnorm_originals": {"batchnorm": "originals"},
        "gradient_stopped": {"gradient_below": False},
    }


def at_equal_compute(preset: Preset) -> Preset:
    """Return the study in compute mode, where each arm spends the FLOPs of plain training; its records lie apart.

    It has the arms that the preset names for this mode, and compares the treatment with those among them.
    """
    chosen, analysis = preset.compute_arms or tuple(preset.arms), preset.analysis
    roles = {
        "against": tuple(arm for arm in analysis.against if arm in chosen),
        "relatives": tuple(arm for arm in analysis.relatives if arm in chosen),
        "positive_control": analysis.positive_control if analysis.positive_control in chosen else None,
    }
    return _derived(
        preset,
        f"{preset.name}_compute",
        "At equal compute",
        compute=True,
        arms={name: arm for name, arm in preset.arms.items() if name in chosen},
        analysis=analysis.model_copy(update=roles),
        tuning=None,
    )


def trials_preset(preset: Preset) -> Preset:
    """Return the study of the trials: an arm for each, on the validation split, exploratory, hardly attacked.

    Raises:
        UsageError: the preset has no `tuning` table.
    """
    tuning = tuning_of(preset)
    evaluation = Evaluation(
        split="validation",
        images=min(TRIAL_IMAGES, tuning.validation_images),
        batch_size=preset.evaluation.batch_size,
        eps=(preset.analysis.eps,),
        attacks=(Attack(name="fgsm", steps=1),),
    )
    arms = {trial.name: trial.tuned(preset.arms[trial.arm]) for trial in search(preset)}
    return _derived(
        preset,
        renamed(preset.name, "tuning"),
        "Trials of the tuning",
        seeds=tuning.seeds,
        data=preset.data.model_copy(update={"validation_images": tuning.validation_images}),
        **_exploring(preset, arms, evaluation),
    )


def tuned_preset(preset: Preset, best: Sequence[Trial]) -> Preset:
    """Return the study of the best trial of each arm, at seeds that neither the preset nor its trials name."""
    tuning, evaluation, treatment = tuning_of(preset), preset.evaluation, preset.analysis.treatment
    if evaluation.checks and evaluation.checks.seeds:
        checked = {"seeds": tuning.fresh_seeds[: len(evaluation.checks.seeds)]}
        evaluation = evaluation.model_copy(update={"checks": evaluation.checks.model_copy(update=checked)})
    arms = {trial.arm: trial.tuned(preset.arms[trial.arm]) for trial in best}
    roles = {
        "against": tuple(arm for arm in arms if arm != treatment),
        "relatives": (),
        "positive_control": None,
    }
    return _derived(
        preset,
        renamed(preset.name, "tuned"),
        "Every method tuned alike",
        seeds=tuning.fresh_seeds,
        evaluation=evaluation,
        arms=arms,
        analysis=preset.analysis.model_copy(update=roles),
        ablation=None,
        tuning=None,
        compute_arms=(),
    )


def renamed(name: str, word: str) -> str:
    """Return a preset's name with a word before its device: cifar10_cpu, "tuned" -> cifar10_tuned_cpu."""
    for device in ("_cpu", "_gpu"):
        if name.endswith(device):
            return f"{name.removesuffix(device)}_{word}{device}"
    return f"{name}_{word}"


def study_of(name: str) -> str:
    """Return the preset of which a preset of this name is a variant: "mine" for "mine_compute"; others as they are."""
    study = re.sub(r"_(ablation|compute|tuning)(?=(_cpu|_gpu)?$)|-smoke(-synthetic)?$", "", name)
    return study if study == name else study_of(study)
