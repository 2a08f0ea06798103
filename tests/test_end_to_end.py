"""The whole path on real digits, tiny: runs, records, resuming, pairing, the report, and what must stay untouched."""

import contextlib
import copy
import io
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from benchmark import driver, train
from benchmark.cli import main
from benchmark.preset_files import load_preset, preset_names
from benchmark.records import Record, pack_bits, unpack_bits, write_record

ARMS, SEEDS = ("erm", "standard", "mixup", "sba"), (0, 1)
ATTACKS = ("fgsm", "pgd", "apgd_ce", "apgd_dlr")
EPS = (4.0, 16.0)
EPOCHS, BATCH, ATTACKED, TEST_IMAGES = 3, 64, 24, 500
TINY = (
    "--set=seeds=[0, 1]",
    "--set=data.train_images=400",
    f"--set=recipe.epochs={EPOCHS}",
    f"--set=evaluation.images={ATTACKED}",
    f"--set=evaluation.eps={list(EPS)}",
    "--set=evaluation.attacks=[" + ", ".join(f'{{name = "{name}", steps = 2}}' for name in ATTACKS) + "]",
)
KEYS = {
    "": "schema preset arm seed settings settings_hash weights_hash order_hash data model epochs last_epoch best_epoch "
    "clean robustness flags cost environment status reason",
    "data": "name fingerprint",
    "model": "name parameters flops",
    "cost": "train_seconds train_gradients train_flops attack_gradients peak_memory_bytes",
    "environment": "device torch torchvision torchattacks numpy scipy commit date",
}
EPOCH_KEYS = {"epoch", "learning_rate", "train_loss", "accuracy", "images_per_second", "seconds", "augmented"}
# Read before any test hides it.
DATA_ROOT = Path(os.environ.get("SBA_DATA_ROOT") or Path(__file__).resolve().parents[2] / "shared" / "data")
PHOTO_CLASSES = ("airplane", "automobile", "bird", "cat", "deer")


def run(*arguments: str) -> int:
    """Run the tiny study, or the part that the arguments select."""
    return main(["run", "smoke", *TINY, *arguments])


def path_of(arm: str, seed: int, results: Path = Path("results")) -> Path:
    """Where the contract puts a record of the preset smoke."""
    return results / "smoke" / arm / f"seed-{seed}.json"


def read(path: Path) -> dict[str, Any]:
    """A record as another program sees it."""
    return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    """The record without times, dates and memory."""
    kept = copy.deepcopy(record)
    for epoch in kept["epochs"]:
        del epoch["seconds"], epoch["images_per_second"]
    for key in ("train_seconds", "attack_seconds", "peak_memory_bytes"):
        del kept["cost"][key]
    del kept["environment"]["date"]
    return kept


class Study(NamedTuple):
    """A finished tiny study in a folder of its own."""

    folder: Path
    records: dict[tuple[str, int], dict[str, Any]]
    code: int
    random_states: tuple[bool, bool, bool]


def random_states() -> tuple[bytes, str, str]:
    """The states of the global generators of torch, NumPy and Python."""
    return torch.get_rng_state().numpy().tobytes(), str(np.random.get_state()), str(random.getstate())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Four arms x two seeds, recorded once for all tests that only read."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.delenv("SBA_DATA_ROOT", raising=False)
        before = random_states()
        code = run()
        same = tuple(a == b for a, b in zip(before, random_states(), strict=True))
        records = {(arm, seed): read(path_of(arm, seed)) for arm in ARMS for seed in SEEDS}
        yield Study(folder, records, code, cast("tuple[bool, bool, bool]", same))


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a cache folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SBA_DATA_ROOT", raising=False)
    return tmp_path


@pytest.fixture
def in_study(study: Study, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The working folder of the finished study."""
    monkeypatch.chdir(study.folder)
    return study


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The (arm, seed) of every epoch that is trained from now on."""
    seen: list[tuple[str, int]] = []

    def counted(plan: Any, *arguments: Any, **named: Any) -> Any:
        seen.append((plan.arm, plan.seed))
        return train.train_epoch(plan, *arguments, **named)

    monkeypatch.setattr(driver, "train_epoch", counted)
    return seen


every_record = pytest.mark.parametrize(("arm", "seed"), [(arm, seed) for arm in ARMS for seed in SEEDS])


# Records


def test_run_ends_with_0_and_writes_one_record_for_each_arm_and_seed(study: Study) -> None:
    assert study.code == 0
    found = {str(path.relative_to(study.folder)) for path in (study.folder / "results").rglob("*.json")}
    assert found == {f"results/smoke/{arm}/seed-{seed}.json" for arm in ARMS for seed in SEEDS}


@every_record
def test_record_has_every_field_of_the_contract(study: Study, arm: str, seed: int) -> None:
    record = study.records[arm, seed]
    for part, keys in KEYS.items():
        assert set(keys.split()) <= set(record[part] if part else record)
    assert (record["preset"], record["arm"], record["seed"]) == ("smoke", arm, seed)
    assert (record["status"], record["reason"]) == ("done", None)
    assert record["settings"]["recipe"]["epochs"] == EPOCHS
    assert len(record["environment"]["date"]) >= len("2000-01-01")


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
def test_best_epoch_is_the_first_with_the_highest_accuracy(study: Study, arm: str, seed: int) -> None:
    record = study.records[arm, seed]
    accuracies = [epoch["accuracy"] for epoch in record["epochs"]]
    assert record["best_epoch"] == {"epoch": 1 + accuracies.index(max(accuracies)), "accuracy": max(accuracies)}


@every_record
def test_every_attack_has_the_outcome_of_every_attacked_image(study: Study, arm: str, seed: int) -> None:
    robustness = study.records[arm, seed]["robustness"]
    assert robustness["n"] == ATTACKED
    assert unpack_bits(robustness["images"], TEST_IMAGES).sum() == ATTACKED
    assert [(a["eps"], a["attack"]) for a in robustness["attacks"]] == [(e, name) for e in EPS for name in ATTACKS]
    for attack in robustness["attacks"]:
        assert unpack_bits(attack["correct"], ATTACKED).shape == (ATTACKED,)


@every_record
def test_image_that_is_robust_is_correct_without_attack_too(study: Study, arm: str, seed: int) -> None:
    record = study.records[arm, seed]
    robustness = record["robustness"]
    clean = unpack_bits(robustness["clean"], ATTACKED)
    everywhere = unpack_bits(record["clean"]["correct"], TEST_IMAGES)
    assert clean.tolist() == everywhere[unpack_bits(robustness["images"], TEST_IMAGES)].tolist()
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


def test_record_is_under_60_kb(study: Study) -> None:
    sizes = [path.stat().st_size for path in (study.folder / "results").rglob("*.json")]
    assert max(sizes) < 60_000


@pytest.mark.parametrize("name", preset_names())
def test_record_of_a_presets_full_size_is_under_60_kb(study: Study, tmp_path: Path, name: str) -> None:
    preset, record = load_preset(name), copy.deepcopy(study.records["sba", 1])
    outcomes = np.random.default_rng(0)
    record["epochs"] = [record["epochs"][-1] | {"epoch": 1 + i} for i in range(preset.recipe.epochs)]
    record["clean"] = {"n": 10_000, "correct": pack_bits(outcomes.random(10_000) < 0.9)}
    images = preset.evaluation.images
    record["robustness"]["images"] = pack_bits(outcomes.random(10_000) < 0.5)
    record["robustness"]["attacks"] = [
        record["robustness"]["attacks"][0] | {"correct": pack_bits(outcomes.random(images) < 0.5)}
        for _ in range(len(preset.evaluation.eps) * len(preset.evaluation.attacks))
    ]
    write_record(tmp_path / "record.json", cast("Record", record))
    assert (tmp_path / "record.json").stat().st_size < 60_000


# Pairing


def test_arms_of_a_seed_share_initial_weights_and_data_order(study: Study) -> None:
    for seed in SEEDS:
        for key in ("weights_hash", "order_hash"):
            assert len({study.records[arm, seed][key] for arm in ARMS}) == 1


def test_seeds_do_not_share_initial_weights_nor_data_order(study: Study) -> None:
    for key in ("weights_hash", "order_hash"):
        assert study.records["erm", 0][key] != study.records["erm", 1][key]


def test_all_runs_share_the_data(study: Study) -> None:
    assert len({record["data"]["fingerprint"] for record in study.records.values()}) == 1


def test_arms_train_differently_from_the_same_start(study: Study) -> None:
    losses = {json.dumps([e["train_loss"] for e in study.records[arm, 0]["epochs"]]) for arm in ARMS}
    assert len(losses) == len(ARMS)


def test_settings_hash_differs_between_arms(study: Study) -> None:
    assert len({study.records[arm, 0]["settings_hash"] for arm in ARMS}) == len(ARMS)


# The same again


def test_same_command_again_trains_nothing(in_study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*_arguments: object, **_named: object) -> NoReturn:
        raise AssertionError("a finished run was started again")

    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path("results").rglob("*.json")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "execute_run", refuse)
        assert run() == 0
    assert "8 done, 0 to do" in capsys.readouterr().out
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert len(before) == len(in_study.records)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("arm", ["mixup", "sba"])
def test_same_seed_again_gives_the_same_record_whatever_ran_before_and_however_global_generators_stand(
    study: Study, arm: str
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(12345)
        assert run("--arms", arm, "--seeds", "1") == 0
    assert without_times(read(path_of(arm, 1))) == without_times(study.records[arm, 1])


@pytest.mark.usefixtures("fresh")
def test_sba_that_never_augments_is_erm_to_the_last_bit(study: Study) -> None:
    settings = ("--set=arms.sba.settings.p=0.0", "--set=arms.sba.augmentation=none")
    assert run("--arms", "sba", "--seeds", "0", *settings) == 0
    same = ("epochs", "clean", "robustness", "weights_hash", "order_hash", "last_epoch", "best_epoch")
    sba, erm = without_times(read(path_of("sba", 0))), without_times(study.records["erm", 0])
    assert {key: sba[key] for key in same} == {key: erm[key] for key in same}


def test_run_leaves_the_global_generators_of_torch_numpy_and_python_alone(study: Study) -> None:
    assert study.random_states == (True, True, True)


@pytest.mark.usefixtures("fresh")
def test_force_repeats_what_is_done_and_nothing_else(study: Study, trained: list[tuple[str, int]]) -> None:
    for arm in ("erm", "standard"):
        assert run("--arms", arm, "--seeds", "0") == 0
    kept = path_of("standard", 0).read_bytes()
    trained.clear()
    assert run("--arms", "erm", "--seeds", "0", "--force") == 0
    assert trained == [("erm", 0)] * EPOCHS
    assert without_times(read(path_of("erm", 0))) == without_times(study.records["erm", 0])
    assert path_of("standard", 0).read_bytes() == kept


@pytest.mark.usefixtures("fresh")
def test_arms_and_seeds_select_runs(trained: list[tuple[str, int]]) -> None:
    settings = (
        "--set=recipe.epochs=1",
        "--set=seeds=[0, 1, 2, 3]",
        '--set=evaluation.attacks=[{name="fgsm", steps=1}]',
    )
    assert run(*settings, "--arms", "mixup,erm", "--seeds", "0,2-3", "--results", "elsewhere") == 0
    expected = {(arm, seed) for arm in ("mixup", "erm") for seed in (0, 2, 3)}
    assert set(trained) == expected
    assert set(Path().rglob("*.json")) == {path_of(arm, seed, Path("elsewhere")) for arm, seed in expected}


# Interruption


def interrupted_at_step(steps: int) -> Callable[..., Any]:
    """The training step, until someone presses Ctrl-C."""
    original = train.train_step
    taken: list[None] = []

    def step(*arguments: Any, **named: Any) -> Any:
        taken.append(None)
        if len(taken) > steps:
            raise KeyboardInterrupt
        return original(*arguments, **named)

    return step


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("arm", ["standard", "mixup", "sba"])
def test_run_interrupted_in_its_second_epoch_resumes_and_gives_the_uninterrupted_record(
    study: Study, trained: list[tuple[str, int]], capsys: pytest.CaptureFixture[str], arm: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "train_step", interrupted_at_step(400 // BATCH + 2))
        assert run("--arms", arm, "--seeds", "0") == 130
    said = capsys.readouterr().err
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not list(Path("results").rglob("*.json"))
    trained.clear()
    assert run("--arms", arm, "--seeds", "0") == 0
    assert trained == [(arm, 0)] * (EPOCHS - 1)
    assert without_times(read(path_of(arm, 0))) == without_times(study.records[arm, 0])


@pytest.mark.usefixtures("fresh")
def test_run_interrupted_while_attacked_resumes_without_training(
    study: Study, trained: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_arguments: object, **_named: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(driver, "evaluate", interrupt)
        assert run("--arms", "sba", "--seeds", "1") == 130
    trained.clear()
    assert run("--arms", "sba", "--seeds", "1") == 0
    assert trained == []
    assert without_times(read(path_of("sba", 1))) == without_times(study.records["sba", 1])


@pytest.mark.usefixtures("fresh")
def test_checkpoint_of_other_settings_is_not_continued(trained: list[tuple[str, int]]) -> None:
    one = ("--arms", "erm", "--seeds", "0")
    assert run(*one, "--results", "first") == 0
    trained.clear()
    assert run(*one, "--results", "second", "--set=recipe.learning_rate=0.02") == 0
    assert trained == [("erm", 0)] * EPOCHS


# Divergence


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A study whose first arm diverges: its folder, exit code and the message."""
    folder = tmp_path_factory.mktemp("diverged")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("SBA_DATA_ROOT", raising=False)
        with contextlib.redirect_stderr(io.StringIO()) as printed:
            code = run("--arms", "sba,erm", "--seeds", "0", "--set=arms.sba.settings.kl_weight=1e38")
    return folder, code, printed.getvalue()


def test_diverged_run_is_recorded_with_its_reason_and_ends_with_1(diverged: tuple[Path, int, str]) -> None:
    folder, code, message = diverged
    record = read(path_of("sba", 0, folder / "results"))
    assert code == 1
    assert record["status"] == "diverged"
    assert "loss" in record["reason"]
    assert "diverged" in message
    assert "sba seed 0" in message
    assert record["reason"] in message


def test_other_runs_go_on_after_one_diverged(diverged: tuple[Path, int, str], study: Study) -> None:
    record = read(path_of("erm", 0, diverged[0] / "results"))
    assert record["status"] == "done"
    assert record["clean"] == study.records["erm", 0]["clean"]


def test_diverged_run_stays_in_the_report(diverged: tuple[Path, int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(diverged[0])
    assert main(["report"]) == 0
    assert "diverged" in Path("RESULTS.md").read_text(encoding="utf-8")


def test_diverged_run_is_not_repeated_and_still_ends_with_1(
    diverged: tuple[Path, int, str], monkeypatch: pytest.MonkeyPatch, trained: list[tuple[str, int]]
) -> None:
    monkeypatch.chdir(diverged[0])
    assert run("--arms", "sba,erm", "--seeds", "0", "--set=arms.sba.settings.kl_weight=1e38") == 1
    assert trained == []


@pytest.mark.usefixtures("fresh")
def test_absurd_learning_rate_is_recorded_as_diverged() -> None:
    assert run("--arms", "erm,standard", "--seeds", "0", "--set=recipe.learning_rate=1e30") == 1
    for arm in ("erm", "standard"):
        record = read(path_of(arm, 0))
        assert record["status"] == "diverged"
        assert record["reason"]


@pytest.mark.usefixtures("fresh")
def test_run_that_fails_is_named_without_a_traceback_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_arguments: object, **_named: object) -> NoReturn:
        raise RuntimeError("attack pgd left the ball")

    monkeypatch.setattr(driver, "evaluate", fail)
    assert run("--arms", "erm", "--seeds", "1") == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "erm seed 1" in said
    assert "attack pgd left the ball" in said
    assert not list(Path("results").rglob("*.json"))


# The report


@pytest.fixture
def report(study: Study, fresh: Path) -> Path:
    """A folder with the study's records and their report."""
    for (arm, seed), record in study.records.items():
        write_record(path_of(arm, seed), cast("Record", record))
    assert main(["report"]) == 0
    return fresh


def test_report_writes_results_md_and_two_svg_figures(report: Path) -> None:
    text = (report / "RESULTS.md").read_text(encoding="utf-8")
    figures = sorted((report / "results").rglob("*.svg"))
    assert len(figures) == 2
    for figure in figures:
        assert ElementTree.parse(figure).getroot().tag.endswith("svg")
        assert str(figure.relative_to(report)) in text
    assert "Synthetic" not in text
    assert [arm for arm in ARMS if f"`{arm}`" not in text] == []


def test_report_is_the_same_every_time(report: Path) -> None:
    files = [report / "RESULTS.md", *(report / "results").rglob("*.svg")]
    before = [path.read_bytes() for path in files]
    assert main(["report"]) == 0
    assert [path.read_bytes() for path in files] == before


@pytest.mark.usefixtures("report")
def test_check_of_an_untouched_report_ends_with_0_and_changes_nothing() -> None:
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    assert main(["report", "--check"]) == 0
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("report")
def test_check_after_an_edit_of_the_report_ends_with_1_and_keeps_the_edit(capsys: pytest.CaptureFixture[str]) -> None:
    edited = Path("RESULTS.md").read_text(encoding="utf-8") + "One more word.\n"
    Path("RESULTS.md").write_text(edited, encoding="utf-8")
    capsys.readouterr()
    assert main(["report", "--check"]) == 1
    assert "RESULTS.md" in "".join(capsys.readouterr())
    assert Path("RESULTS.md").read_text(encoding="utf-8") == edited


@pytest.mark.usefixtures("report")
@pytest.mark.parametrize("number", [0, 1])
def test_check_after_an_edit_of_a_figure_ends_with_1_and_names_it(
    capsys: pytest.CaptureFixture[str], number: int
) -> None:
    figure = sorted(Path("results").rglob("*.svg"))[number]
    figure.write_text(figure.read_text(encoding="utf-8").replace("<svg ", "<svg id='x' ", 1), encoding="utf-8")
    capsys.readouterr()
    assert main(["report", "--check"]) == 1
    assert figure.name in "".join(capsys.readouterr())


@pytest.mark.usefixtures("report")
def test_check_without_a_report_ends_with_1_and_writes_none() -> None:
    Path("RESULTS.md").unlink()
    assert main(["report", "--check"]) == 1
    assert not Path("RESULTS.md").exists()


@pytest.mark.usefixtures("report")
def test_check_after_a_record_changed_ends_with_1() -> None:
    record = read(path_of("sba", 0))
    record["clean"]["correct"] = pack_bits(np.arange(TEST_IMAGES) < 250)
    record["last_epoch"]["accuracy"] = record["epochs"][-1]["accuracy"] = 0.5
    write_record(path_of("sba", 0), cast("Record", record))
    assert main(["report", "--check"]) == 1


# Smoke runs on made-up images, and images of one's own


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar10_jpeg", "tiny_imagenet_100"])
def test_synthetic_smoke_run_needs_no_data_and_says_so_in_its_report(fresh: Path, name: str) -> None:
    arm = "sba" if name == "cifar10" else "erm"
    one = ("--arms", arm, "--seeds", "0", "--set", "evaluation.eps=[1.0]")
    assert main(["run", f"{name}_cpu", "--smoke", "--synthetic", *one]) == 0
    (path,) = (fresh / "runs").rglob("seed-0.json")
    record = read(path)
    assert record["data"]["synthetic"] is True
    assert record["data"]["name"] == name
    assert record["data"]["classes"] == (100 if name.endswith("100") else 10)
    (report,) = fresh.rglob("RESULTS.md")
    assert "synthetic" in report.read_text(encoding="utf-8").lower()
    assert not (fresh / "results").exists()
    assert not (fresh / "RESULTS.md").exists()


@pytest.mark.usefixtures("fresh")
def test_smoke_run_of_a_named_study_takes_the_cpu_preset_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    one = ("--arms", "erm", "--seeds", "0", "--device", "cpu", "--set", "evaluation.eps=[1.0]")
    assert main(["run", "cifar10", "--smoke", "--synthetic", *one]) == 0
    assert "cifar10_cpu" in capsys.readouterr().out.splitlines()[0]


@pytest.fixture
def photos(fresh: Path) -> Path:
    """An image folder of one's own: links to 20 + 5 real photos of each of five classes."""
    source = DATA_ROOT / "cifar10-jpeg"
    if not source.is_dir():
        pytest.skip(f"no real photos: {source} is no folder; set SBA_DATA_ROOT to the folder that holds cifar10-jpeg")
    for split, count in (("train", 20), ("test", 5)):
        for name in PHOTO_CLASSES:
            (fresh / "photos" / split / name).mkdir(parents=True)
            for image in sorted((source / split / name).iterdir())[:count]:
                (fresh / "photos" / split / name / image.name).symlink_to(image)
    return fresh / "photos"


def test_any_image_folder_by_path_is_a_data_set(photos: Path) -> None:
    settings = ["recipe.epochs=1", "recipe.batch_size=50", "evaluation.images=10", "evaluation.eps=[1.0]"]
    settings += [f"data.dataset={photos}", 'evaluation.attacks=[{name="fgsm", steps=1}]']
    options = [part for setting in settings for part in ("--set", setting)]
    assert main(["run", "cifar10_jpeg_cpu", "--arms", "sba", "--seeds", "0", *options]) == 0
    record = read(Path("results/cifar10_jpeg_cpu/sba/seed-0.json"))
    assert record["status"] == "done"
    assert record["data"]["classes"] == len(PHOTO_CLASSES)
    assert (record["data"]["train_images"], record["data"]["test_images"]) == (100, 25)
    assert record["data"]["synthetic"] is False
