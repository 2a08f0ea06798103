"""Records with a planted truth: the counts of correct images are chosen, everything else is plausible."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.evaluation.catalogue import SANITY_CHECKS
from benchmark.records.consistency import flags_of
from benchmark.records.outcomes import pack_bits
from benchmark.records.schema import AttackOutcome, Check, Epoch, Record, Robustness
from benchmark.records.store import record_path, write_record
from benchmark.settings.plan import identity

TEST_IMAGES, ATTACKED, EPOCHS = 1000, 200, 4
EPS = (0.25, 0.5, 1.0, 2.0)
ATTACKS = ({"name": "fgsm", "steps": 1}, {"name": "apgd_dlr", "steps": 20})
CURVE = (160, 120, 60, 10, 0)  # correct of the attacked images at eps 0 and at each of EPS
ENVIRONMENT = {
    "device": "cpu",
    "torch": "2.13.0",
    "torchvision": "0.28.0",
    "torchattacks": "3.5.1",
    "numpy": "2.4.6",
    "scipy": "1.17.1",
    "python": "3.11.9",
    "platform": "Linux-x86_64",
    "threads": "2",
    "commit": "0123456789abcdef",
}


def bits(correct: int, n: int) -> str:
    """Pack n outcomes of which the first `correct` are right."""
    return pack_bits(np.arange(n) < correct)


def settings(arm: str) -> dict[str, Any]:
    """The settings of a run of the planted study."""
    return {
        "data": {"dataset": "digits", "pixels": 32, "train_images": 5000, "validation_images": 0},
        "model": {"name": "small"},
        "recipe": {"epochs": EPOCHS, "batch_size": 128},
        "evaluation": {"images": ATTACKED, "batch_size": 100, "eps": list(EPS), "attacks": list(ATTACKS)},
        "arm": {"method": arm, "augmentation": "standard", "settings": {"p": 0.5} if arm == "sba" else {}},
    }


def attacks(curve: Sequence[int]) -> list[AttackOutcome]:
    """Outcomes whose joint robust counts follow `curve`; the first attack fools half as many."""
    outcomes: list[AttackOutcome] = []
    for eps, correct in zip(EPS, curve[1:], strict=True):
        for spec, left in zip(ATTACKS, ((curve[0] + correct) // 2, correct), strict=True):
            outcomes.append(
                {
                    "attack": str(spec["name"]),
                    "norm": "Linf",
                    "eps": eps,
                    "steps": int(str(spec["steps"])),
                    "correct": bits(left, ATTACKED),
                    "fooled": curve[0] - left,
                    "gradients": 20 * ATTACKED,
                }
            )
    return outcomes


def robustness(curve: Sequence[int]) -> Robustness:
    """Attacked images whose joint robust counts follow `curve`, and what else is measured on them."""
    return {
        "n": ATTACKED,
        "images": bits(ATTACKED, TEST_IMAGES),
        "clean": bits(curve[0], ATTACKED),
        "attacks": attacks(curve),
        "noise": {"eps": EPS[-1], "correct": curve[0] - 2},
        "corruptions": [
            {"kind": kind, "severity": severity, "correct": curve[0] - 10 * severity}
            for kind in ("gaussian_noise", "jpeg")
            for severity in (1, 2, 3, 4, 5)
        ],
        "zero_gradient_share": 0.0,
        "median_margin": 1.5,
    }


ANALYSIS: dict[str, Any] = {
    "title": "A planted study",
    "treatment": "sba",
    "against": ["standard", "mixup"],
    "eps": 1.0,
    "margin": 0.5,
    "endpoints": ["clean", "area", "eps", "learning", "images", "seconds"],
    "level": 70.0,
    "levels": [60.0, 70.0, 80.0],
    "seeds": [0, 1, 2, 3, 4],
}


def epoch(arm: str, number: int, last: float) -> Epoch:
    """An epoch of a learning curve that ends at the accuracy `last`."""
    return {
        "epoch": number,
        "learning_rate": 0.1,
        "train_loss": 2.0 / number,
        "accuracy": last * (1 - 0.3 / number**2 + 0.3 / EPOCHS**2),
        "images_per_second": 1000.0,
        "seconds": 5.0,
        "augmented": 0.5 if arm.startswith("sba") else 0.0,
    }


def record(arm: str, seed: int, correct: int, curve: Sequence[int] = CURVE, **changes: Any) -> Record:
    """One finished run with `correct` of 1,000 test images right; `changes` replace whole fields."""
    accuracy = correct / TEST_IMAGES
    done: Record = {
        "schema": 2,
        "preset": "planted",
        "arm": arm,
        "seed": seed,
        "settings": settings(arm),
        "settings_hash": identity(settings(arm), seed),
        "analysis": copy.deepcopy(ANALYSIS),
        "weights_hash": f"weights-{seed}",
        "order_hash": f"order-{seed}",
        "data": {
            "name": "digits",
            "fingerprint": "f" * 64,
            "classes": 10,
            "train_images": 5000,
            "test_images": TEST_IMAGES,
            "synthetic": False,
        },
        "model": {"name": "small", "parameters": 12345, "flops": 1000000},
        "epochs": [epoch(arm, number, accuracy) for number in range(1, EPOCHS + 1)],
        "last_epoch": {"epoch": EPOCHS, "accuracy": accuracy},
        "best_epoch": {"epoch": EPOCHS, "accuracy": accuracy},
        "clean": {"n": TEST_IMAGES, "correct": bits(correct, TEST_IMAGES)},
        "calibration": {"n": TEST_IMAGES, "bins": 15, "ece": 0.04, "nll": 0.6},
        "robustness": robustness(curve),
        "checks": [],
        "flags": [],
        "cost": {
            "train_seconds": 30.0 if arm.startswith("sba") else 20.0,
            "attack_seconds": 4.0,
            "train_gradients": 30000 if arm.startswith("sba") else 20000,
            "train_flops": 3 * 10**12 if arm.startswith("sba") else 2 * 10**12,
            "attack_gradients": 32000,
            "peak_memory_bytes": 300 * 2**20,
        },
        "environment": ENVIRONMENT | {"date": f"2026-01-0{seed % 9 + 1}T12:00:00+00:00"},
        "status": "done",
        "reason": None,
    }
    return {**done, **changes}  # type: ignore[typeddict-item]


def costly_checks(seed: int, flag: str | None = None) -> list[Check]:
    """All checks of a run, with figures that grow with the seed."""
    share = 0.01 * seed
    figures: dict[str, dict[str, float]] = {
        "state": {"training modules": 0},
        "monotone": {"largest rise": 0.0, "at 64/255": share},
        "order of attacks": {"noise": 0.7 + share, "FGSM": 0.5 + share, "PGD": 0.3 + share, "odd images": 0},
        "gradients": {"zero gradients": 0.0, "median margin": 1.5, "CE - DLR": 0.0},
        "logit scale": {"PGD, logits x0.1": 0.31 + share, "PGD, logits x1": 0.3, "PGD, logits x10": 0.32 + share},
        "black box": {"fooled": seed, "stood": 50, "images": 100},
        "more steps": {"fooled": 0, "stood": 30, "images": 64},
        "transfer": {"transfer": 0.6 + share, "white box": 0.2 + share, "odd images": 1},
        "reference AutoAttack": {"fooled": 2 * (seed == 4), "stood": 30, "images": 64},
    }
    numbers = {name: row.number for name, row in SANITY_CHECKS.items()}
    return [
        Check(number=numbers[name], name=name, figures=of, flag=flag if name == "black box" else None)
        for name, of in figures.items()
    ]


def diverged(arm: str, seed: int) -> Record:
    """A run whose loss became nan in its second epoch."""
    whole = record(arm, seed, 100)
    first = whole["epochs"][0]
    cost: Any = {**whole["cost"], "attack_seconds": 0.0, "attack_gradients": 0}
    return record(
        arm,
        seed,
        100,
        epochs=[first],
        last_epoch=None,
        best_epoch={"epoch": 1, "accuracy": first["accuracy"]},
        clean=None,
        calibration=None,
        robustness=None,
        cost=cost,
        status="diverged",
        reason="loss is nan in epoch 2",
    )


def study(
    counts: Mapping[str, Sequence[int]], curves: Mapping[str, Sequence[Sequence[int]]] | None = None
) -> list[Record]:
    """Records of arm -> counts of correct test images, one a seed from 0; `curves` likewise, (seed, eps) an arm."""
    return [
        record(arm, seed, correct, (curves or {}).get(arm, [CURVE] * len(row))[seed])
        for arm, row in counts.items()
        for seed, correct in enumerate(row)
    ]


ROWS: dict[str, dict[str, Any]] = {
    "default": {},
    "noise_1": {"noise": 1.0},
    "layers_input": {"layers": ["input"]},
    "similarity": {"noise_jitter": 1.0, "similarity_tau": 0.5},
    "erm": {"method": "erm"},
    "erm_equal_compute": {"method": "erm", "epochs": EPOCHS + 2},
}
READING = {"layers": ["stem"], "p": 0.5, "noise": 0.5, "noise_jitter": 0.0, "similarity_tau": None}


def row_settings(row: str) -> dict[str, Any]:
    """The settings of a run of the planted ablation; `ROWS` says what a row changes in the default."""
    changes = ROWS[row]
    method = changes.get("method", "sba")
    reading = READING | changes if method == "sba" else {}
    arm = {"method": method, "augmentation": "standard", "settings": reading, "epochs": changes.get("epochs")}
    whole = settings(row)
    return whole | {"arm": arm, "numerics": 2, "evaluation": whole["evaluation"] | {"split": "validation"}}


def ablation(
    counts: Mapping[str, Sequence[int]], curves: Mapping[str, Sequence[Sequence[int]]] | None = None
) -> list[Record]:
    """Records of an exploratory study of all `ROWS` over three seeds: row -> counts as in `study`."""
    records = study(counts, curves)
    for entry in records:
        row = entry["arm"]
        entry["preset"], entry["settings"] = "planted_ablation", row_settings(row)
        entry["analysis"] |= {
            "title": "Readings of a planted study",
            "treatment": "default",
            "against": [name for name in ROWS if name != "default"],
            "seeds": [0, 1, 2],
            "exploratory": True,
        }
        entry["cost"]["train_flops"] = (2 if ROWS[row].get("method") == "erm" else 3) * 10**12
        for epoch in entry["epochs"]:
            epoch["augmented"] = 0.0 if ROWS[row].get("method") == "erm" else 0.5
        if extra := ROWS[row].get("epochs", EPOCHS) - EPOCHS:
            entry["cost"]["train_flops"] = 2 * 10**12 * (EPOCHS + extra) // EPOCHS
            last = entry["epochs"][-1]
            entry["epochs"] += [{**last, "epoch": EPOCHS + 1 + i} for i in range(extra)]
    return records


def write(results: Path, records: Sequence[Record]) -> None:
    """Write records where a study keeps them, with what follows from their values."""
    for entry in records:
        write_record(record_path(results, entry["preset"], entry["arm"], entry["seed"]), completed(entry))


def completed(entry: Record) -> Record:
    """Return a record with the values that follow from its others: hash, summaries, flags, gradient samples."""
    done = copy.deepcopy(entry)
    done["settings_hash"] = identity(done["settings"], done["seed"])
    summaries: Any = [{"epoch": epoch["epoch"], "accuracy": epoch["accuracy"]} for epoch in done["epochs"]]
    done["best_epoch"] = max(summaries, key=lambda summary: float(summary["accuracy"]), default=None)
    done["last_epoch"] = summaries[-1] if done["status"] == "done" else None
    attacks = done["robustness"]["attacks"] if done["robustness"] else []
    done["cost"]["attack_gradients"] = sum(attack["gradients"] for attack in attacks)
    if done["checks"]:
        done["flags"] = flags_of(done["checks"])
    return done
