"""The ablation: a study's SBA arm against every other reading of the method, one arm each, on the validation split.

How it decides, fixed before its records were analysed (the model behind p while the first of them came in): layers,
noise and temperature (marked * in the method card) keep the default unless another reading has a higher last-epoch
accuracy at a Benjamini-Hochberg p below 0.05 (of the additive model of all rows and seeds, `exploratory.block_t`) and
no lower robust area at such a p; of several, the one with the highest mean accuracy. Every other setting stays at its
default whatever the table says.
"""

from collections.abc import Sequence
from typing import Any

from benchmark.runtime.errors import UsageError
from benchmark.settings.preset import Analysis, Arm, Evaluation, Preset

DEFAULT = "default"


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
    arms = {DEFAULT: arm} | {
        name: arm.model_copy(update={"settings": arm.settings | changes}) for name, changes in rows.items()
    }
    arms["erm"] = Arm(method="erm", augmentation=arm.augmentation)
    arms["erm_equal_compute"] = arms["erm"].model_copy(update={"epochs": small.equal_compute_epochs})
    data = {"train_images": small.train_images, "validation_images": small.validation_images}
    return preset.model_copy(
        update={
            "name": f"{preset.name}_ablation",
            "title": f"Readings of SBA: {preset.title}",
            "seeds": small.seeds,
            "data": preset.data.model_copy(update=data),
            "recipe": preset.recipe.model_copy(update={"epochs": small.epochs}),
            "evaluation": Evaluation(
                split="validation",
                images=small.attacked_images,
                batch_size=min(preset.evaluation.batch_size, small.attacked_images),
                eps=small.eps,
                attacks=small.attacks,
            ),
            "arms": arms,
            "compute_arms": (),
            "analysis": Analysis(
                treatment=DEFAULT,
                against=tuple(name for name in arms if name != DEFAULT),
                eps=preset.analysis.eps if preset.analysis.eps in small.eps else small.eps[0],
                margin=preset.analysis.margin,
                exploratory=True,
            ),
        }
    )


def readings(steps: int, all_layers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what each reading changes in the default, for a training of so many steps and a network of such layers.

    Ramps reach over the whole training between p = 0 and p = 1, so that about half of all steps are augmented, as in
    the default. The similarity weight needs noise of different sizes, so its row is to be read beside that of the
    jitter alone; it also lowers the divergence's weight on average. An absolute noise of 0.3 is of the default's order
    behind normalised layers with a GELU or ReLU, and of another one elsewhere.
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
