"""Presets and plans: inheritance, overrides, identity."""

from pathlib import Path

import pytest

from benchmark.records.store import read_study
from benchmark.runtime.errors import UsageError
from benchmark.settings.load import PRESETS, load_preset, preset_names
from benchmark.settings.plan import make_plan
from benchmark.settings.smoke import shrink

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_of_the_package_is_a_plan(name: str) -> None:
    preset = load_preset(name)
    plan = make_plan(preset, None, None)
    assert len(plan) == sum(len(arm.seeds or preset.seeds) for arm in preset.arms.values())
    assert len({run.identity for run in plan}) == len(plan)
    assert [run.seed for run in plan] == sorted(run.seed for run in plan)
    tested = {preset.analysis.treatment, *preset.analysis.against, *preset.analysis.relatives}
    shown = {"adversarial", "always", "sba_similarity"}  # beside the others, for the attacks, the cost and a reading
    assert set(preset.arms) - shown <= tested <= set(preset.arms)


@pytest.mark.parametrize("name", preset_names())
def test_a_smoke_run_is_the_same_study_made_small(name: str) -> None:
    preset = load_preset(name)
    small = load_preset(name, (), shrink(preset))
    assert small.name == f"{name}-smoke"
    assert (small.recipe.epochs, small.data.train_images, small.seeds) == (2, 600, preset.seeds[:2])
    assert small.arms == preset.arms
    assert [a.name for a in small.evaluation.attacks] == [a.name for a in preset.evaluation.attacks]
    assert load_preset(name, ("recipe.epochs=1",), shrink(preset)).recipe.epochs == 1


def test_a_preset_that_extends_another_replaces_single_values(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "smoke"\n[recipe]\nepochs = 3\n')
    mine, base = load_preset(str(path)), load_preset("smoke")
    assert mine.name == "mine"
    assert mine.recipe == base.recipe.model_copy(update={"epochs": 3})
    assert mine.arms == base.arms


def test_a_preset_leaves_out_arms_of_the_one_it_extends(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "smoke"\nwithout = ["erm"]\n[analysis]\nagainst = ["standard"]\n')
    assert list(load_preset(str(path)).arms) == [arm for arm in load_preset("smoke").arms if arm != "erm"]
    path.write_text('extends = "smoke"\nwithout = ["ern"]\n')
    with pytest.raises(UsageError, match=r"without: smoke has no arm 'ern'; did you mean 'erm'"):
        load_preset(str(path))
    path.write_text('without = ["erm"]\n')
    with pytest.raises(UsageError, match="leaves out arms of the preset that `extends` names"):
        load_preset(str(path))


def test_an_arm_runs_at_its_own_seeds() -> None:
    preset = load_preset("cifar10_10k_cpu")
    seeds = {arm: [run.seed for run in make_plan(preset, [arm], None)] for arm in ("sba", "adversarial")}
    assert seeds == {"sba": [0, 1, 2, 3, 4, 5, 6, 7], "adversarial": [0]}
    with pytest.raises(UsageError, match=r"arms.adversarial.seeds = \[0\]: 0 is not among the study's seeds"):
        load_preset("cifar10_10k_cpu", ("seeds=[3, 4]",))
    with pytest.raises(UsageError, match=r"arms.erm.seeds = \[0\]: the arm is tested"):
        load_preset("cifar10_10k_cpu", ("arms.erm.seeds=[0]",))


@pytest.mark.parametrize(
    ("relatives", "problem"),
    [
        ('["nope"]', "no such arm"),
        ('["sba"]', "names the treatment"),
        ('["erm"]', "which analysis.against names too"),
        ('["cutmix", "cutmix"]', "each one once"),
    ],
)
def test_relatives_are_other_arms_than_those_of_the_claims(relatives: str, problem: str) -> None:
    with pytest.raises(UsageError, match=f"analysis.relatives.*{problem}"):
        load_preset("cifar10_cpu", (f"analysis.relatives={relatives}",))


@pytest.mark.parametrize("official", ["cifar10_cpu", "cifar10_10k_cpu", "cifar100_cpu"])
def test_on_the_official_data_nothing_is_chosen_that_was_not_frozen_on_jpeg_images(official: str) -> None:
    ours, frozen = load_preset(official), load_preset("cifar10_jpeg_cpu")
    assert ours.recipe.model_copy(update={"epochs": frozen.recipe.epochs}) == frozen.recipe
    assert all(ours.arms[name].settings == arm.settings for name, arm in frozen.arms.items() if name in ours.arms)
    assert "seconds" not in ours.analysis.endpoints


def test_presets_that_extend_each_other_in_a_circle_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for here, there in (("a", "b"), ("b", "a")):
        (tmp_path / f"{here}.toml").write_text(f'extends = "{there}"\n')
    monkeypatch.setattr("benchmark.settings.load.PRESETS", tmp_path)
    with pytest.raises(UsageError, match="in a circle: a -> b -> a"):
        load_preset("a")


def test_overrides_are_toml_values_and_bare_words_are_texts() -> None:
    preset = load_preset("smoke", ("recipe.epochs=2", "recipe.precision=bfloat16", "seeds=[4, 5]"))
    assert (preset.recipe.epochs, preset.recipe.precision, preset.seeds) == (2, "bfloat16", (4, 5))


def test_identity_changes_with_every_setting_and_the_seed_and_nothing_else() -> None:
    def identity(*overrides: str, seed: int = 0) -> str:
        return make_plan(load_preset("smoke", overrides), ["sba"], [seed])[0].identity

    base = identity()
    assert base == identity() == identity("title='another'") == identity("analysis.margin=2.0")
    changed = [
        identity("recipe.epochs=9"), identity("arms.sba.settings.p=0.4"), identity("data.split_seed=1"),
        identity("evaluation.images=65"), identity("model.name=fast"), identity(seed=1),
    ]  # fmt: skip
    assert len({base, *changed}) == 7


def test_settings_that_came_later_leave_the_identity_of_committed_records_as_it_is() -> None:
    records = read_study(ROOT / "results", "cifar10_jpeg_10k_cpu")
    assert len(records) > 10
    for record in records:
        (run,) = make_plan(load_preset("cifar10_jpeg_10k_cpu"), [record["arm"]], [record["seed"]])
        assert run.identity == record["settings_hash"]
        assert run.settings == record["settings"]


def test_identity_has_the_later_settings_where_they_are_used() -> None:
    base, streamed, resized = (
        make_plan(load_preset("cifar10_jpeg_cpu", overrides), ["erm"], [0])[0]
        for overrides in ((), ("data.streamed=true",), ("data.streamed=true", "data.resize=40"))
    )
    assert "streamed" not in base.settings["data"]
    assert streamed.settings["data"] == base.settings["data"] | {"streamed": True}
    assert resized.settings["data"] == streamed.settings["data"] | {"resize": 40}
    assert len({base.identity, streamed.identity, resized.identity}) == 3
    hard, stated, mean = (
        make_plan(load_preset("cifar10_jpeg_cpu", overrides), ["hard_labels"], [0])[0]
        for overrides in (
            (),
            ("arms.hard_labels.settings.hard_labels=sum",),
            ("arms.hard_labels.settings.hard_labels=mean",),
        )
    )
    assert "hard_labels" not in hard.settings["arm"]["settings"]
    assert hard.identity == stated.identity != mean.identity
    assert mean.settings["arm"]["settings"] == hard.settings["arm"]["settings"] | {"hard_labels": "mean"}
    (dropping,) = make_plan(
        load_preset("cifar10_jpeg_cpu", ("recipe.drops=[0.5]", "recipe.accumulate=2")), ["erm"], [0]
    )
    assert dropping.settings["recipe"] == base.settings["recipe"] | {"drops": [0.5], "accumulate": 2}


def test_the_seeds_that_are_checked_are_part_of_every_runs_settings_and_checking_all_is_as_before() -> None:
    plan = make_plan(load_preset("cifar10_jpeg_cpu"), ["erm"], [0, 1])
    some = make_plan(load_preset("cifar10_jpeg_cpu", ("evaluation.checks.seeds=[0]",)), ["erm"], [0, 1])
    for run, other in zip(plan, some, strict=True):
        checks = run.settings["evaluation"]["checks"]
        assert "seeds" not in checks
        assert other.settings["evaluation"]["checks"] == checks | {"seeds": [0]}
        assert run.identity != other.identity
        assert run.preset.evaluation.is_checked(run.seed)
        assert other.preset.evaluation.is_checked(run.seed) == (run.seed == 0)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[0, 9]", r"evaluation\.checks\.seeds = \[0, 9\]: seed 9 is not in seeds = \[0, 1, 2, 3, 4\]"),
        ("[1, 1]", r"evaluation\.checks\.seeds = \[1, 1\]: each one once"),
        ("[]", r"evaluation\.checks\.seeds = \[\]"),
        ("0", r"evaluation\.checks\.seeds = 0"),
    ],
)
def test_checked_seeds_that_the_study_does_not_have_are_refused(value: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_preset("cifar10_jpeg_cpu", (f"evaluation.checks.seeds={value}",))


def test_a_smoke_run_checks_one_of_its_two_seeds_where_the_study_checks_some() -> None:
    small = load_preset("cifar10_jpeg_cpu", ("evaluation.checks.seeds=[2, 3]",))
    shrunk = load_preset("cifar10_jpeg_cpu", shrink(small))
    assert shrunk.seeds == (0, 1)
    assert shrunk.evaluation.checks is not None
    assert shrunk.evaluation.checks.seeds == (0,)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("data.resize=40",), r"data\.resize = 40 needs data\.streamed = true"),
        (("data.streamed=true", "data.resize=31"), r"data\.resize = 31 must be 0 or at least data\.pixels = 32"),
        (("data.streamed=1",), r"data\.streamed = 1"),
    ],
)
def test_sizes_that_streamed_images_cannot_have_are_refused(overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_preset("cifar10_jpeg_cpu", overrides)


def test_identity_has_the_methods_defaults_in_it() -> None:
    base, same = (
        make_plan(load_preset("smoke", overrides), ["sba"], [0])[0]
        for overrides in ((), ("arms.sba.settings.temperature=2.0",))
    )
    assert base.settings["arm"]["settings"]["temperature"] == 2.0
    assert base.identity == same.identity


def test_presets_ship_with_the_package() -> None:
    assert {"smoke", "cifar10_cpu", "cifar10_gpu", "cifar10_jpeg_cpu"} <= {path.stem for path in PRESETS.iterdir()}


def test_tiny_imagenet_is_streamed_as_imagenet_or_a_study_in_memory_with_arms_at_all_seeds() -> None:
    streamed, study = load_preset("tiny_imagenet_100_cpu"), load_preset("tiny_imagenet_100_memory_cpu")
    assert streamed.data.streamed
    assert not study.data.streamed
    assert set(study.arms) == {"erm", "standard", "mixup", "sba", "hard_labels_mean"}
    assert len(make_plan(study, None, None)) == 5 * 5
    assert set(study.analysis.against) == set(study.arms) - {"sba"}
