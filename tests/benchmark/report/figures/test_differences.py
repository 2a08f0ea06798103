"""The figure of differences: what it shows is what an independent computation gives."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.lines import Line2D
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.patches import Rectangle
from pages.drawn import drawn, planted_study, points, study_of, texts
from records import planted
from scipy import stats

from benchmark.analysis.endpoints import ENDPOINTS
from benchmark.analysis.study import Study, load_study
from benchmark.report.figures.differences import ABOVE, BELOW, PITCH, Row, alt, answer_figure, differences_figure, frame
from benchmark.report.figures.drawing import INK, ROW

COUNTS = {
    "sba": [870, 874, 868, 871, 869],
    "standard": [858, 861, 857, 862, 857],
    "mixup": [871, 868, 872, 866, 871],
    "above": [880, 882, 879, 880, 878],
}


def row_of(study: Study, axes: Axes, arm: str) -> dict[object, Line2D]:
    """The marks of one compared arm whose name has one line, by marker; its interval is under "None"."""
    place = -(study.against.index(arm) + 0.5) * PITCH * ROW
    drawn_there = [line for line in axes.lines if len(line.get_ydata()) and line.get_ydata()[0] == pytest.approx(place)]  # type: ignore[arg-type, index]
    return {line.get_marker(): line for line in drawn_there}


def panels(study: Study) -> tuple[Axes, Axes]:
    """The panels of accuracy and of robust area."""
    clean, area = drawn(differences_figure, study).axes
    return clean, area


def holm(p: list[float]) -> list[float]:
    """Holm's adjusted p, each by the definition: the largest of (m - rank) p over the p up to it."""
    ordered = sorted(p)
    return [min(1.0, max((len(p) - i) * q for i, q in enumerate(ordered) if q <= value)) for value in p]


def test_seeds_means_intervals_and_verdicts_are_those_of_the_records() -> None:
    study = planted_study(COUNTS)
    clean, _ = panels(study)
    differences = {arm: (np.array(COUNTS["sba"]) - COUNTS[arm]) / 10 for arm in study.against}
    tested = {arm: stats.ttest_1samp(each, 0) for arm, each in differences.items()}
    adjusted = dict(zip(tested, holm([float(t.pvalue) for t in tested.values()]), strict=True))
    assert {arm: p < 0.05 for arm, p in adjusted.items()} == {"standard": True, "mixup": False, "above": True}
    for arm, each in differences.items():
        marks = row_of(study, clean, arm)
        interval = tested[arm].confidence_interval(0.95)
        assert np.array(marks["|"].get_xdata()) == pytest.approx(each)
        assert np.array(marks["None"].get_xdata()) == pytest.approx(np.array([interval.low, interval.high]))
        assert np.array(marks["o"].get_xdata()) == pytest.approx(each.mean())
        assert (marks["o"].get_markerfacecolor() != "none") == (adjusted[arm] < 0.05)
    for arm, colour in (("standard", ABOVE), ("mixup", INK), ("above", BELOW)):
        assert all(same_color(line.get_color(), colour) for line in row_of(study, clean, arm).values())


def test_the_second_panel_shows_the_area_under_the_curves() -> None:
    curves = {"sba": [(160, 130, 80, 20, 2), (162, 133, 77, 22, 0)], "standard": [(158, 120, 60, 10, 0)] * 2}
    study = planted_study({"sba": [870, 874], "standard": [858, 861]}, curves)
    _, area = panels(study)
    eps = np.array([0, *planted.EPS])
    areas = {arm: np.trapezoid(np.array(rows) / 2, eps) / eps[-1] for arm, rows in curves.items()}
    assert np.array(row_of(study, area, "standard")["|"].get_xdata()) == pytest.approx(areas["sba"] - areas["standard"])


def test_0_and_the_margin_around_it_are_marked_in_both_panels_of_accuracy() -> None:
    study = planted_study(COUNTS, endpoints=["clean", "learning", "area", "eps"], margin=3.0)
    for axes in drawn(differences_figure, study).axes:
        (band,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
        assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((-3, 3))
        (zero,) = (line for line in axes.lines if line.get_transform() != axes.transData)
        assert points(zero) == [(0, 0), (0, 1)]
        low, high = axes.get_xlim()
        assert low < -3 < 3 < high


def test_one_seed_and_constant_differences_have_no_interval_and_an_open_dot() -> None:
    study = planted_study({"sba": [870, 874, 868, 871], "standard": [865], "mixup": [858, 862, 856, 859]})
    clean, _ = panels(study)
    for arm, each in (("standard", [0.5]), ("mixup", [1.2] * 4)):
        marks = row_of(study, clean, arm)
        assert marks.keys() == {"|", "o"}
        assert np.array(marks["|"].get_xdata()) == pytest.approx(each)
        assert marks["o"].get_markerfacecolor() == "none"


def test_three_seeds_are_described_and_never_tested() -> None:
    study = planted_study({"sba": [870, 874, 868], "standard": [800, 803, 798]})
    clean, _ = panels(study)
    assert stats.ttest_rel([870, 874, 868], [800, 803, 798]).pvalue < 0.05
    assert row_of(study, clean, "standard")["o"].get_markerfacecolor() == "none"


def test_an_arm_without_a_shared_seed_says_so() -> None:
    records = [*planted.study({"sba": [870], "standard": [861]}), planted.record("mixup", 1, 860)]
    shown = drawn(differences_figure, study_of(records, seeds=[0, 1], against=["standard", "mixup", "erm"]))
    assert [text.get_text() for text in texts(shown)].count("no result") == 4  # of two arms, in two panels


def test_a_mean_far_out_is_a_dot_at_the_edge_with_its_number() -> None:
    near = {f"{arm}_again": counts for arm, counts in COUNTS.items() if arm != "sba"}
    study = planted_study({**COUNTS, **near, "far": [300, 310, 305, 320, 299]})
    shown = drawn(differences_figure, study)
    clean = shown.axes[0]
    (dot,) = (line for line in clean.lines if line.get_marker() == "o" and line.get_transform() != clean.transData)
    assert dot.get_markerfacecolor() == ABOVE  # sure of it
    edge = clean.transData.transform((clean.get_xlim()[1], 0))[0]
    inside = dot.get_transform().transform(dot.get_xydata())[0][0]
    assert edge - inside == pytest.approx(7 * shown.dpi / 72)
    assert "+56.4 \N{RIGHTWARDS ARROW}" in [text.get_text() for text in texts(shown)]
    assert clean.get_xlim()[1] < 5


def test_what_goes_on_beyond_the_frame_ends_in_a_triangle() -> None:
    study = planted_study({**COUNTS, "wide": [869, 873, 700, 870, 868]})
    clean, _ = panels(study)
    marks = row_of(study, clean, "wide")
    low, high = clean.get_xlim()
    assert high < 17.1  # the seed of +16.8 points is not in the frame
    assert points(marks[CARETRIGHT])[0][0] == high
    assert (CARETLEFT in marks) == (points(marks["None"])[0][0] < low)
    assert not {CARETLEFT, CARETRIGHT} & row_of(study, clean, "standard").keys()


def row(mean: float, half: float, *each: float) -> Row:
    return Row(mean, mean - half, mean + half, np.array(each or [mean]), False)


def test_the_frame_holds_seeds_and_the_margin() -> None:
    low, high = frame([row(1.0, 0.2, 0.4, 1.6), row(1.2, 0.2, 1.0, 1.4)], 0.5)
    assert (low, high) == pytest.approx((-0.5 - 0.06 * 2.1, 1.6 + 0.06 * 2.1))
    assert frame([]) == (-1.0, 1.0)
    low, high = frame([row(0.0, 0.0)])
    assert low < 0 < high


def test_a_value_far_out_widens_the_frame_only_up_to_twice_its_width() -> None:
    usual = [row(mean, 0.1) for mean in (0.8, 0.9, 1.0, 1.1)]
    assert frame([*usual, row(2.0, 0.1)])[1] > 2.1
    assert frame([*usual, row(3.0, 0.1)])[1] < 1.5
    assert frame([*usual, row(-60.0, 0.1)])[0] < 0 < frame([*usual, row(-60.0, 0.1)])[1] < 1.5


# An ablation.

ABLATED = {row: [860 + 3 * i, 862, 858 - i] for i, row in enumerate(planted.ROWS)}


def test_every_row_of_an_ablation_is_named_also_one_without_a_result() -> None:
    records = [record for record in planted.ablation(ABLATED) if record["arm"] != "erm"]
    text = differences_figure(load_study("planted_ablation", records))
    for label in ("similarity", "layers_input", "no result", "accuracy", "robust area"):
        assert f"<!-- {label} -->" in text  # a label's text, in front of its paths


def test_figure_shows_a_far_off_row_as_an_arrow_with_its_number() -> None:
    near = {row: [860 + i, 861 - i, 859] for i, row in enumerate(ABLATED)}
    text = differences_figure(
        load_study("planted_ablation", planted.ablation({**near, "layers_input": [300, 310, 305]}))
    )
    assert "<!-- \N{LEFTWARDS ARROW} -55.5 -->" in text
    high = differences_figure(load_study("planted_ablation", planted.ablation({**near, "default": [300, 310, 305]})))
    assert "ARROW" not in high  # where all rows are far from the default, the frame goes with them


def test_studies_of_the_answer_stand_below_one_another_on_one_scale() -> None:
    studies = [planted_study(COUNTS), planted_study({**COUNTS, "mixup": [850] * 5})]
    shown = drawn(lambda _study: answer_figure(studies), studies[0])
    titles = [text.get_text() for text in shown.texts]
    about = "Digits, 5,000 images, small, 5 seeds"
    assert titles == [about, about, "accuracy", "robust area", "sba minus row, points"]
    first, second, *area = shown.axes
    assert first.get_xlim() == second.get_xlim()
    assert first.get_position().y0 > second.get_position().y1
    assert len(area) == 2


@pytest.mark.parametrize(
    ("endpoints", "titles", "label"),
    [
        (["clean", "area", "eps"], ["accuracy", "robust area"], "sba minus row, points"),
        (["eps", "learning"], ["accuracy at 1/255", "learning curve"], "sba minus row, points"),
        (
            ["clean", "seconds"],
            ["accuracy, points", "seconds of training until\n70% accuracy, seconds,\nlower is better"],
            "sba minus row",
        ),
        (["area"], ["robust area"], "sba minus row, points"),
    ],
)
def test_the_panels_are_the_first_two_endpoints_that_the_study_names(
    endpoints: list[str], titles: list[str], label: str
) -> None:
    figure = drawn(differences_figure, planted_study(COUNTS, endpoints=endpoints, margin=3.0))
    assert [text.get_text() for text in figure.texts] == [*titles, label]
    margins = [ENDPOINTS[endpoint].margin for endpoint in endpoints[:2]]
    bands = [any(isinstance(patch, Rectangle) for patch in axes.patches) for axes in figure.axes]
    assert bands == margins  # the margin is one of accuracy


def test_the_alternative_text_lists_the_arms_that_the_figure_draws() -> None:
    study = planted_study({**COUNTS, "cutmix": [866] * 5}, against=["standard", "mixup"], relatives=["cutmix"])
    assert "standard +1.14, mixup +0.08, cutmix +0.44" in alt([study], claims_alone=False)
    assert "standard +1.14, mixup +0.08;" in alt([study], claims_alone=True)
    assert alt([study, study], claims_alone=True).startswith("sba minus each other arm")
    other = planted_study({"mixup": [1, 2], "standard": [1, 3]}, treatment="mixup", against=["standard"])
    assert alt([study, other], claims_alone=True).startswith("treatment minus each other arm")
