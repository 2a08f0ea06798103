"""Planted studies for whole pages: a site with studies of every kind, and one in which everything went wrong."""

import json
from pathlib import Path
from typing import Any

from records import planted

from benchmark.records.schema import AutoAttackRow, Record

CLAIMS = ("standard", "erm", "mixup", "hard_labels_mean", "hard_labels")
RELATIVES = ("manifold_mixup", "cutmix", "label_smoothing", "batch_augmentation", "stability")
SBA = {"layers": ["stem", "block1"], "p": 0.5, "noise": 0.5}
METHODS: dict[str, dict[str, Any]] = {
    "sba": {"method": "sba", "settings": SBA},
    "standard": {"method": "erm"},
    "erm": {"method": "erm", "augmentation": "none"},
    "mixup": {"method": "mixup", "settings": {"alpha": 1.0}},
    "hard_labels_mean": {
        "method": "sba",
        "settings": SBA | {"alpha": 1.0, "kl_weight": 0.0, "hard_labels": "mean"},
    },
    "hard_labels": {"method": "sba", "settings": SBA | {"alpha": 1.0, "kl_weight": 0.0}},
    "adversarial": {"method": "adversarial", "settings": {"eps": 8.0}},
    "always": {"method": "sba", "settings": SBA | {"p": 1.0}},
    **{arm: {"method": arm} for arm in RELATIVES},
}
SPREAD = (0, 3, -2, 1, -3, 2, -1, 0)  # of the seeds of an arm, in images of 1,000
ARM_SPREAD = (1, -1, 0, 2, 0, -2, 1, -1)  # of an arm's own, so that differences vary


def of(correct: int, arm: str, seeds: int) -> list[int]:
    """Counts of correct images around `correct`, one a seed."""
    turn = sum(map(ord, arm))
    return [correct + SPREAD[seed] + ARM_SPREAD[(seed + turn) % 8] for seed in range(seeds)]


def curve(correct: int, arm: str, seed: int) -> list[int]:
    """Counts of attacked images over eps of a network that has `correct` of 1,000."""
    strength = (correct - 800) // 4
    own = ARM_SPREAD[(seed + sum(map(ord, arm))) % 8]
    return [160 + seed % 3, 110 + strength + own, 50 + strength + seed % 2, 6 + strength // 2, 0]


def study(preset: str, title: str, means: dict[str, int], seeds: int = 8, **changes: Any) -> list[Record]:
    """Records of a study whose arms have about these counts of correct images.

    `changes`: of `analysis`, `data` (name, train_images), `model`; families and positive control follow from the arms.
    """
    records: list[Record] = []
    for arm, mean in means.items():
        for seed, correct in enumerate(of(mean, arm, 1 if arm == "adversarial" else seeds)):
            left = [150, 148, 145, 140, 90] if arm == "adversarial" else curve(mean, arm, seed)
            record = planted.record(arm, seed, correct, left)
            record["preset"] = preset
            spec: dict[str, Any] = {"method": arm, "augmentation": "standard", "settings": {}}
            record["settings"]["arm"] = spec | METHODS.get(arm, {})
            record["settings"]["recipe"] |= {"learning_rate": 0.1, "weight_decay": 1e-3, "padding": 2}
            record["settings"]["numerics"] = 3
            record["settings"]["evaluation"]["checks"] = {"seeds": [0, 1]}
            if seed < 2:
                record["checks"] = planted.costly_checks(seed)
            elif record["robustness"]:
                record["robustness"] |= {"noise": None, "corruptions": []}
            record["data"] |= {"name": "cifar10", "train_images": 10_000} | changes.get("data", {})
            record["settings"]["data"] |= {"dataset": record["data"]["name"]}
            copied = record["data"]["name"] == "cifar10_jpeg"  # such studies ran before those of the official images
            record["settings"]["recipe"] |= {"precision": "bfloat16" if copied else "float32"}
            record["model"] |= {"name": changes.get("model", "fast")}
            record["settings"]["model"] = {"name": record["model"]["name"]}
            if arm == "always":
                record["cost"] |= {"train_flops": 4 * 10**12, "train_gradients": 40_000}
            record["analysis"] |= {
                "title": title,
                "against": [name for name in CLAIMS if name in means],
                "relatives": [name for name in RELATIVES if name in means],
                "seeds": list(range(seeds)),
                "endpoints": ["clean", "area", "eps", "learning", "images"],
                **({"positive_control": "adversarial"} if "adversarial" in means else {}),
                **changes.get("analysis", {}),
            }
            records.append(record)
    return records


ALL = {"sba": 870, "standard": 861, "erm": 830, "mixup": 856, "hard_labels_mean": 866, "hard_labels": 862}
FULL = ALL | {
    "manifold_mixup": 858,
    "cutmix": 851,
    "label_smoothing": 862,
    "batch_augmentation": 864,
    "stability": 860,
    "adversarial": 700,
    "always": 871,
    "sba_similarity": 868,
}


def whole() -> list[Record]:
    """Records of studies of two networks, at equal compute, interim, of a copy, of one seed, and an ablation."""
    compute = study("cifar10_10k_cpu_compute", "CIFAR-10, 10,000 images, equal compute", {"sba": 858, "standard": 861})
    for record in compute:
        record["settings"]["compute"] = True
        record["cost"]["train_flops"] = 2 * 10**12
    interim = study("cifar100_cpu", "CIFAR-100", ALL, data={"name": "cifar100", "train_images": 50_000})
    alone = study("tiny_cpu", "One seed", {"sba": 840, "standard": 842}, seeds=1, data={"name": "tiny_imagenet_100"})
    conv = {arm: ALL[arm] for arm in ("standard", "erm", "mixup", "hard_labels_mean")} | {"sba": 869}
    copies = study(
        "cifar10_jpeg_10k_cpu",
        "10,000 images saved as JPEG",
        {"sba": 855, "standard": 852, "erm": 820, "mixup": 850},
        data={"name": "cifar10_jpeg"},
    )
    return [
        *study("cifar10_10k_cpu", "10,000 images of CIFAR-10", FULL),
        *study("cifar10_10k_conv_cpu", "10,000 images of CIFAR-10, learned stem", conv, model="fast_conv"),
        *compute,
        *[record for record in interim if record["seed"] < 1],
        *copies,
        *alone,
        *chosen(),
    ]


def chosen() -> list[Record]:
    """An ablation on held-out images saved as JPEG, which chose the settings of the others."""
    records = planted.ablation({row: [860 + 2 * i, 862, 858 - i] for i, row in enumerate(planted.ROWS)})
    for record in records:
        record["preset"] = "cifar10_jpeg_cpu_ablation"
        record["data"] |= {"name": "cifar10_jpeg"}
        record["settings"]["recipe"] |= {"learning_rate": 0.1, "weight_decay": 1e-3, "padding": 2}
        spec = record["settings"]["arm"]
        spec["settings"] = {key: value for key, value in spec["settings"].items() if value is not None and value != 0.0}
        if record["arm"] == "default":
            spec["settings"] = dict(SBA)
    return records


HOSTILE = "A | title `with` ![an image](x.png) <script> [a](b) \\ *stars*"


def troubled() -> list[Record]:
    """Records of one study with a hostile title, made-up data, diverged and unnamed runs, flags and mixed devices."""
    records = study("troubled", HOSTILE, ALL, seeds=5, data={"name": "mine | ours", "synthetic": True})
    lost = [planted.diverged(arm, seed) for arm, seed in (("sba", 2), ("mixup", 4))]
    for failed in lost:
        like = next(record for record in records if record["arm"] == failed["arm"])
        failed |= {"preset": like["preset"], "analysis": like["analysis"], "settings": like["settings"]}
        failed["data"], failed["model"] = like["data"], like["model"]
        failed["reason"] = "loss is nan | <b>in</b> epoch 2"
    gone = {(record["arm"], record["seed"]) for record in lost}
    kept = [record for record in records if (record["arm"], record["seed"]) not in gone]
    for record in kept:
        if record["seed"] == 1 and record["arm"] == "standard":
            record["environment"] = record["environment"] | {"device": "cuda:0 A | B", "device_name": "A | B"}
        if (record["arm"], record["seed"]) == ("sba", 0):
            record["checks"] = planted.costly_checks(0, "odd | flag")
    extra = study("troubled", HOSTILE, {"sba": 860}, seeds=8, data={"name": "mine | ours", "synthetic": True})[-1]
    extra["analysis"] = kept[0]["analysis"]
    return [*kept, *lost, extra]


def doses() -> list[Record]:
    """Records of exploratory studies of three sizes with as many steps, and of one that trains longer."""
    records: list[Record] = []
    for images, epochs, gain in ((2_560, 16, 12), (5_120, 8, 9), (10_240, 4, 5), (10_240, 12, 6)):
        counts = {"sba": 850 + gain, "standard": 850, "mixup": 852}
        sized = study(f"size_{images}_{epochs}", f"{images} images", counts, seeds=5, data={"train_images": images})
        for record in sized:
            first, last = record["epochs"][0], record["epochs"][-1]["accuracy"]
            accuracies = [last * (1 - 0.3 / number**2) for number in range(1, epochs)] + [last]
            record["epochs"] = [{**first, "epoch": i, "accuracy": a} for i, a in enumerate(accuracies, 1)]
            record["settings"]["recipe"]["epochs"] = epochs
            record["settings"]["data"]["train_images"] = images
            record["analysis"] |= {"exploratory": True, "endpoints": ["clean", "area"]}
        records += sized
    return records


def autoattack_row(arm: str, seed: int, suite: int, robust: int, eps: float = 1.0) -> AutoAttackRow:
    """AutoAttack on 200 images, 180 of which are right without attack."""
    return AutoAttackRow(
        arm=arm,
        seed=seed,
        eps=eps,
        images=200,
        clean=180,
        suite=suite,
        robust=robust,
        correct="",
        weights="",  # as planted records have
        package="pyautoattack 0.2.0",
        device="cpu",
    )


def write_extras(folder: Path) -> None:
    """Write a search, AutoAttack and a crosscheck beside a study's records.

    One difference keeps its sign under AutoAttack, one does not; one arm has a trial that diverged.
    """
    attacked = [
        *(autoattack_row("sba", seed, 120, 100) for seed in (0, 1)),
        *(autoattack_row("standard", seed, 110, 98) for seed in (0, 1)),
        *(autoattack_row("mixup", seed, 100, 104) for seed in (0, 1, 2)),
        autoattack_row("sba", 0, 150, 140, eps=0.5),
    ]
    log = {"min": 0.02, "max": 0.5, "scaling": "log"}
    own = {"p": {"min": 0.1, "max": 1.0}, "layers": {"feasible_points": [["stem"], ["stem", "block1"]]}}
    scores: dict[str, list[float | None]] = {"standard": [0.5, 0.7, 0.6], "sba": [0.71, None, 0.65]}
    trials = [
        {
            "arm": arm,
            "trial": number,
            "seed": 1000,
            "recipe": {"learning_rate": 0.1 + number, "weight_decay": 5e-4},
            "settings": {"layers": ["stem", "block1"]} if arm == "sba" else {},
            "accuracy": accuracy,
            "settings_hash": "0" * 16,
            "weights": None,
        }
        for arm, of_arm in scores.items()
        for number, accuracy in enumerate(of_arm)
    ]
    search = {
        "preset": "p",
        "budget": {"trials": 3, "seeds": [1000], "epochs": 35, "train_images": 10000, "validation_images": 5000},
        "recipe": {"learning_rate": log, "weight_decay": log},
        "arms": {"standard": {}, "sba": own},
        "environment": {},
        "rows": trials,
    }
    one = {"seed": 0, "norm": "Linf", "eps": 1.0, "steps": 20, "package": "foolbox", "images": 100}
    compared = [
        one | {"arm": arm, "attack": attack, "ours": ours, "theirs": theirs, "disagreements": abs(ours - theirs)}
        for arm, attack, ours, theirs in (("sba", "pgd", 40, 41), ("erm", "pgd", 30, 30), ("sba", "fgsm", 9, 9))
    ]
    for name, content in (("autoattack", {"rows": attacked}), ("trials", search), ("crosscheck", {"rows": compared})):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
