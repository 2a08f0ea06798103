"""The whole path on real digits, tiny: what the records of a study hold and how its runs are paired."""

import copy
import hashlib
import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from studies.tiny_study import ARMS, ATTACKED, ATTACKS, EPOCHS, EPS, SEEDS, TEST_IMAGES, Study

from benchmark.evaluation.external_models import load_weights
from benchmark.evaluation.joint import suite
from benchmark.records.outcomes import pack_bits, unpack_bits
from benchmark.records.schema import Record
from benchmark.records.store import write_record
from benchmark.settings.load import load_preset, preset_names

EPOCH_KEYS = {"epoch", "learning_rate", "train_loss", "accuracy", "images_per_second", "seconds", "augmented"}

every_record = pytest.mark.parametrize(("arm", "seed"), [(arm, seed) for arm in ARMS for seed in SEEDS])


# Records


def test_run_ends_with_0_and_writes_one_record_for_each_arm_and_seed(study: Study) -> None:
    assert study.code == 0
    found = {str(path.relative_to(study.folder)) for path in (study.folder / "results").rglob("*.json")}
    assert found == {f"results/smoke/{arm}/seed-{seed}.json" for arm in ARMS for seed in SEEDS}


@every_record
def test_record_has_every_epoch_with_plausible_values(study: Study, arm: str, seed: int) -> None:
    epochs = study.records[arm, seed]["epochs"]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    for epoch in epochs:
        assert set(epoch) >= EPOCH_KEYS
        assert 0 <= epoch["learning_rate"] <= 0.05
        assert 0 < epoch["train_loss"] < 5
        assert epoch["seconds"] > 0
        assert epoch["images_per_second"] > 0
        assert (0 < epoch["augmented"] < 1) if arm == "sba" else (0 <= epoch["augmented"] <= 1)
    assert arm not in ("erm", "standard") or not any(epoch["augmented"] for epoch in epochs)
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]


@every_record
def test_accuracy_in_the_record_is_the_count_of_its_bits(study: Study, arm: str, seed: int) -> None:
    record = study.records[arm, seed]
    assert record["clean"]["n"] == record["data"]["test_images"] == TEST_IMAGES
    correct = unpack_bits(record["clean"]["correct"], TEST_IMAGES)
    assert record["last_epoch"] == {"epoch": EPOCHS, "accuracy": correct.sum() / TEST_IMAGES}
    assert record["epochs"][-1]["accuracy"] == record["last_epoch"]["accuracy"]


@every_record
def test_every_attack_is_made_on_the_same_images_and_makes_none_correct(study: Study, arm: str, seed: int) -> None:
    record = study.records[arm, seed]
    robustness = record["robustness"]
    attacked, clean = unpack_bits(robustness["images"], TEST_IMAGES), unpack_bits(robustness["clean"], ATTACKED)
    assert robustness["n"] == attacked.sum() == ATTACKED
    assert clean.tolist() == unpack_bits(record["clean"]["correct"], TEST_IMAGES)[attacked].tolist()
    assert [(a["eps"], a["attack"]) for a in robustness["attacks"]] == [(e, name) for e in EPS for name in ATTACKS]
    for attack in robustness["attacks"]:
        assert not (unpack_bits(attack["correct"], ATTACKED) & ~clean).any()


def test_attacks_fool_images_and_more_at_the_larger_eps(study: Study) -> None:
    left = dict.fromkeys(EPS, 0)
    clean = 0
    for record in study.records.values():
        clean += int(unpack_bits(record["robustness"]["clean"], ATTACKED).sum())
        last = {attack["eps"]: attack["correct"] for attack in record["robustness"]["attacks"]}
        for eps, bits in last.items():
            left[eps] += int(unpack_bits(bits, ATTACKED).sum())
    assert clean > left[4.0] > left[16.0]


def test_attacked_images_are_class_stratified_and_the_same_for_every_run(study: Study) -> None:
    from sklearn.datasets import load_digits

    chosen = {record["robustness"]["images"] for record in study.records.values()}
    assert len(chosen) == 1
    attacked = unpack_bits(chosen.pop(), TEST_IMAGES)
    counts = np.bincount(load_digits().target[-TEST_IMAGES:][attacked], minlength=10)
    assert counts.min() == ATTACKED // 10
    assert counts.max() == ATTACKED // 10 + 1


@pytest.mark.parametrize("name", preset_names())
def test_record_of_a_presets_full_size_is_small(study: Study, tmp_path: Path, name: str) -> None:
    preset, record = load_preset(name), copy.deepcopy(study.records["sba", 1])
    outcomes = np.random.default_rng(0)
    record["epochs"] = [record["epochs"][-1] | {"epoch": 1 + i} for i in range(preset.recipe.epochs)]
    record["clean"] = {"n": 10_000, "correct": pack_bits(outcomes.random(10_000) < 0.9)}
    images = preset.evaluation.images
    record["robustness"]["images"] = pack_bits(outcomes.random(10_000) < 0.5)
    record["robustness"]["attacks"] = [
        record["robustness"]["attacks"][0] | {"correct": pack_bits(outcomes.random(images) < 0.5)}
        for _ in suite(preset.evaluation)
    ]
    write_record(tmp_path / "record.json", cast("Record", record))
    # AutoAttack on all 10,000 test images at nine eps takes 61 kB for the outcomes alone.
    assert (tmp_path / "record.json").stat().st_size < (120_000 if name.endswith("_gpu") else 60_000)


@every_record
def test_record_names_the_weights_that_were_evaluated(study: Study, arm: str, seed: int) -> None:
    record = study.records[arm, seed]
    checkpoint = study.folder / "runs" / "smoke" / arm / f"seed-{seed}-{record['settings_hash']}.pt"
    weights, _ = load_weights(checkpoint)
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode() + value.numpy().tobytes())
    assert record["final_weights_hash"] == digest.hexdigest()[:16]
    assert record["final_weights_hash"] != record["weights_hash"]


# Pairing


def test_all_runs_share_the_data_and_those_of_a_seed_initial_weights_and_order(study: Study) -> None:
    assert len({record["data"]["fingerprint"] for record in study.records.values()}) == 1
    for key in ("weights_hash", "order_hash"):
        first, second = ({study.records[arm, seed][key] for arm in ARMS} for seed in SEEDS)
        assert len(first) == len(second) == 1
        assert first != second


def test_arms_train_differently_from_the_same_start(study: Study) -> None:
    losses = {json.dumps([e["train_loss"] for e in study.records[arm, 0]["epochs"]]) for arm in ARMS}
    assert len(losses) == len(ARMS)
