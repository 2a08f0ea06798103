"""The gain over training images: which studies belong together, and a planted slope with SciPy's test."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from pages import planted_site
from records import planted
from scipy import stats

from benchmark.analysis.study import Study, load_study
from benchmark.analysis.trend import doses, longer, trends

SIZES = {2_560: 16, 5_120: 8, 10_240: 4, 40_960: 1}  # images -> epochs, for as many steps


def sized(images: int, gain: int, seeds: int = 5, epochs: int | None = None, **changes: str) -> Study:
    """A study of so many images in which SBA is about so many images of 1,000 better."""
    preset = f"size_{images}_{epochs}_{len(changes)}"
    counts = {"sba": 850 + gain, "standard": 850, "mixup": 852}
    records = planted_site.study(preset, "X", counts, seeds=seeds, data={"train_images": images}, **changes)
    for record in records:
        record["settings"]["recipe"]["epochs"] = epochs or SIZES[images]
        record["settings"]["data"]["train_images"] = images
        record["analysis"] |= {"exploratory": True}
        if record["arm"] == "sba":  # seeds that follow the size in ways of their own
            own = (7 * record["seed"] + images // 2_560) % 5
            record["clean"] = {"n": 1000, "correct": planted.bits(850 + gain + own, 1000)}
    return load_study(preset, records)


GROUP = [sized(images, gain) for images, gain in zip(SIZES, (12, 9, 7, 1), strict=True)]


def changed(study: Study, part: str, key: str, value: object, arm: str | None = None) -> Study:
    """The study with another setting in the records of an arm (None: of all)."""
    records = copy.deepcopy([*study.records.values()])
    for record in records:
        if arm in (None, record["arm"]):
            record["settings"][part][key] = value
    return replace(study, records={(record["arm"], record["seed"]): record for record in records})


def slopes(group: Sequence[Study], arm: str) -> list[float]:
    """The least-squares slope of each seed against log2 of the images."""
    x = [np.log2(images) for images in SIZES]
    gains = [study.clean[0] - study.clean[study.arms.index(arm)] for study in group]
    return [float(stats.linregress(x, [gain[seed] for gain in gains]).slope) for seed in range(5)]


def test_studies_of_as_many_steps_and_another_size_are_a_group() -> None:
    long, other = sized(40_960, 2, epochs=3), sized(10_240, 2, model="another")
    assert doses([other, *reversed(GROUP), long]) == [GROUP]
    assert longer(GROUP, [other, *GROUP, long]) == [long]
    assert doses(GROUP[:2]) == []
    assert doses([*GROUP[:2], changed(GROUP[2], "evaluation", "eps", [1.0, 2.0, 3.0])]) == []  # another area
    assert doses([*GROUP[:2], changed(GROUP[2], "evaluation", "checks", {"seeds": [0]})]) != []


def test_an_arm_with_other_settings_in_one_size_has_no_trend() -> None:
    other = changed(GROUP[2], "arm", "settings", {"alpha": 0.3}, arm="mixup")
    assert {trend.arm for trend in trends(GROUP, "clean")} == {"standard", "mixup"}
    assert {trend.arm for trend in trends([*GROUP[:2], other, GROUP[3]], "clean")} == {"standard"}


@pytest.mark.parametrize("arm", ["standard", "mixup"])
def test_the_slope_is_tested_over_seeds(arm: str) -> None:
    found = next(trend for trend in trends(GROUP, "clean") if trend.arm == arm)
    expected = slopes(GROUP, arm)
    assert found.slopes == pytest.approx(expected)
    assert found.slope.difference == pytest.approx(np.mean(expected))
    assert found.slope.p == pytest.approx(stats.ttest_1samp(expected, 0).pvalue)
    assert found.exact == 0.0625  # every seed falls
    assert [gain.images for gain in found.gains] == list(SIZES)
    assert found.gains[0].test.difference == pytest.approx(
        np.mean(GROUP[0].clean[0] - GROUP[0].clean[GROUP[0].arms.index(arm)])
    )


def test_only_seeds_that_every_size_finished_count() -> None:
    shorter = [*GROUP[:3], sized(40_960, 1, seeds=3)]
    assert trends(shorter, "clean")[0].seeds == (0, 1, 2)
    assert trends([*GROUP[:3], sized(40_960, 1, seeds=1)], "clean") == []
