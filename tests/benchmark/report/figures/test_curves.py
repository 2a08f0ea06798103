"""What the figures of curves and of cost show is what the records say."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from numpy.typing import ArrayLike
from pages.drawn import drawn, faint, lines, planted_study, points, strong, study_of, texts
from records import planted

from benchmark.analysis.study import Study
from benchmark.report.figures.curves import accuracy_figure, cost_figure, robustness_figure
from benchmark.report.figures.drawing import style

COUNTS = {"sba": [870, 874, 868], "standard": [858, 861, 857], "mixup": [864, 871]}
CURVES = {
    "sba": [(160, 130, 80, 20, 2), (162, 133, 77, 22, 0), (158, 128, 84, 25, 1)],
    "standard": [(158, 120, 60, 10, 0), (159, 124, 62, 12, 0), (155, 118, 57, 9, 1)],
    "mixup": [(161, 126, 70, 15, 0), (157, 124, 68, 16, 0)],
}


def study() -> Study:
    return planted_study(COUNTS, CURVES)


def panels(figure: Figure) -> dict[str, Axes]:
    """The panels by the arm that each is named after."""
    return {axes.get_title(loc="left").replace("\n", ""): axes for axes in figure.axes}


def mean_of(axes: Axes, look: int) -> Line2D:
    """The mean of the treatment (0) or of the panel's arm (1)."""
    (line,) = (line for line in lines(axes, look) if line.get_marker() != "x")
    return line


def band_of(axes: Axes, look: int) -> list[tuple[float, float, float]]:
    """The band of the treatment or of the panel's arm: x, its lowest and its highest y."""
    (band,) = (b for b in axes.collections if same_color(tuple(b.get_facecolor()[0])[:3], style(look).color))  # type: ignore[arg-type]
    vertices = band.get_paths()[0].vertices
    edges: dict[float, list[float]] = {}
    for x, y in np.asarray(vertices):
        edges.setdefault(float(x), []).append(float(y))
    return [(x, min(y), max(y)) for x, y in sorted(edges.items())]


def check_panels(figure: Figure, x: Sequence[float], of: Mapping[str, ArrayLike]) -> None:
    """Each panel has mean and range, over the runs of `of`, (run, point), of its arm and of the treatment."""
    found = panels(figure)
    assert list(found) == ["standard", "mixup"]
    for arm, axes in found.items():
        for look, name in enumerate(("sba", arm)):
            runs = np.array(of[name])
            assert np.array(mean_of(axes, look).get_data()) == pytest.approx(np.array([x, runs.mean(axis=0)]))
            ends = zip(x, runs.min(axis=0), runs.max(axis=0), strict=True)
            assert band_of(axes, look) == [pytest.approx(end) for end in ends]


class TestAccuracy:
    def test_each_panel_has_mean_and_range_of_its_arm_and_of_the_treatment_at_every_epoch(self) -> None:
        of = {
            name: [[100 * epoch["accuracy"] for epoch in planted.record(name, 0, count)["epochs"]] for count in counts]
            for name, counts in COUNTS.items()
        }
        check_panels(drawn(accuracy_figure, study()), [1, 2, 3, 4], of)

    def test_all_panels_have_the_same_frame_and_it_begins_after_a_fifth_of_the_training(self) -> None:
        records = planted.study({"sba": [870], "standard": [858], "mixup": [864]})
        for i, record in enumerate(records):
            curve = [0.2, 0.3, 0.6 + 0.1 * i, *[0.9] * 7]
            record["epochs"] = [{**record["epochs"][0], "epoch": at, "accuracy": a} for at, a in enumerate(curve, 1)]
        frames = [axes.get_ylim() for axes in drawn(accuracy_figure, study_of(records, seeds=[0])).axes]
        assert frames == [pytest.approx((60, 90))] * 2

    def test_in_compute_mode_a_line_ends_where_the_training_did_and_so_does_the_mean(self) -> None:
        records = planted.study({"sba": [870, 872], "standard": [858, 861]})
        for record, kept in zip(records, (3, 2), strict=False):  # of sba: 2.25 and 1.5 epochs of 39 batches
            record["epochs"] = record["epochs"][:kept]
            record["epochs"][-1]["images"] = (10 if kept == 3 else 20) * 128
        (axes,) = drawn(accuracy_figure, study_of(records, seeds=[0, 1], against=["standard"])).axes
        ends = [2 + 10 / 39, 1 + 20 / 39]
        last = [100 * records[i]["epochs"][-1]["accuracy"] for i in (0, 1)]
        first = np.mean([100 * records[i]["epochs"][0]["accuracy"] for i in (0, 1)])
        expected = [(1, first), (np.mean(ends), np.mean(last))]
        assert points(mean_of(axes, 0)) == [pytest.approx(point) for point in expected]
        assert points(mean_of(axes, 1))[-1][0] == 4

    def test_a_diverged_run_is_a_cross_at_its_last_epoch_and_in_no_mean(self) -> None:
        records = [*planted.study(COUNTS), planted.diverged("mixup", 2)]
        found = panels(drawn(accuracy_figure, study_of(records, seeds=[0, 1, 2])))
        crosses = {arm: [line for line in axes.lines if line.get_marker() == "x"] for arm, axes in found.items()}
        assert {arm: [points(cross) for cross in of] for arm, of in crosses.items()} == {
            "standard": [],
            "mixup": [[(1, 0)]],
        }
        [cross] = crosses["mixup"]
        assert to_hex(cross.get_color()) == style(1).color
        assert cross.get_transform() == found["mixup"].get_xaxis_transform()  # 0 is the height of the axis
        assert points(mean_of(found["mixup"], 1))[-1] == pytest.approx((4, np.mean([86.4, 87.1])))

    def test_the_positive_control_is_left_out(self) -> None:
        records = planted.study({**COUNTS, "adversarial": [500, 510]})
        shown = drawn(accuracy_figure, study_of(records, seeds=[0, 1, 2], positive_control="adversarial"))
        assert list(panels(shown)) == ["standard", "mixup"]
        assert shown.axes[0].get_ylim() == drawn(accuracy_figure, study()).axes[0].get_ylim()

    def test_the_treatment_is_wide_and_below_the_arm_and_the_legend_names_both(self) -> None:
        shown = drawn(accuracy_figure, study())
        for axes in shown.axes:
            treatment, arm = mean_of(axes, 0), mean_of(axes, 1)
            assert axes.lines.index(treatment) < axes.lines.index(arm)
            assert treatment.get_linewidth() > arm.get_linewidth()
        colours = {text.get_text(): to_hex(text.get_color()) for text in shown.texts}
        assert colours["sba"] == style(0).color
        assert colours["the arm named above"] == style(1).color


class TestRobustness:
    def test_each_panel_has_mean_and_range_of_its_arm_and_of_the_treatment_at_every_eps(self) -> None:
        figure = drawn(robustness_figure, study())
        of = {name: np.array(curves) * 100 / planted.ATTACKED for name, curves in CURVES.items()}
        check_panels(figure, [0, *planted.EPS], of)
        assert {axes.get_ylim() for axes in figure.axes} == {(0, 81)}

    def test_a_run_that_was_not_attacked_is_in_no_curve(self) -> None:
        records = planted.study({"sba": [870, 874], "standard": [858, 861]}, CURVES)
        records[1]["robustness"] = None
        (axes,) = drawn(robustness_figure, study_of(records, seeds=[0, 1], against=["standard"])).axes
        assert np.array(mean_of(axes, 0).get_ydata()) == pytest.approx(np.array(CURVES["sba"][0]) / 2)
        assert len(axes.collections) == 1  # one run has no range


class TestCost:
    def cost(self, spent: dict[str, list[int]], control: str | None = None) -> Study:
        records = planted.study({**COUNTS, **({control: [500, 510]} if control else {})})
        for record in records:
            if record["arm"] in spent:
                record["cost"]["train_flops"] = spent[record["arm"]][record["seed"]]
        return study_of(records, seeds=[0, 1, 2], positive_control=control)

    def test_every_run_is_faint_and_the_mean_strong_at_the_flops_relative_to_the_reference(self) -> None:
        spent = {"sba": [130, 134, 141], "standard": [99, 100, 101], "mixup": [200, 210]}
        (axes,) = drawn(cost_figure, self.cost(spent)).axes
        for index, (arm, counts) in enumerate(COUNTS.items()):
            runs = [(flops / 100, count / 10) for flops, count in zip(spent[arm], counts, strict=True)]
            (marks,) = faint(axes, index)
            assert [point for point in points(marks) if np.isfinite(point).all()] == [pytest.approx(r) for r in runs]
            assert points(strong(axes, index)) == [pytest.approx(tuple(np.mean(runs, axis=0)))]
        assert axes.get_xlabel() == "relative training FLOPs"

    def test_each_name_leads_to_its_arms_mean(self) -> None:
        (axes,) = drawn(cost_figure, self.cost({"sba": [130] * 3, "standard": [100] * 3, "mixup": [200] * 2})).axes
        notes = [text for text in axes.texts if isinstance(text, Annotation)]
        leads = {to_hex(note.arrow_patch.get_edgecolor()): note.xy for note in notes if note.arrow_patch}
        means = {style(index).color: points(strong(axes, index))[0] for index in range(len(COUNTS))}
        assert leads == {colour: pytest.approx(mean) for colour, mean in means.items()}

    def test_the_positive_control_is_left_out_and_the_frame_does_not_hold_it(self) -> None:
        shown = drawn(cost_figure, self.cost({"adversarial": [9 * 10**12] * 2}, "adversarial"))
        (axes,) = shown.axes
        assert not lines(axes, 3)
        assert axes.get_ylim()[0] > 80
        assert axes.get_xlim()[1] < 2
        assert "adversarial" not in {text.get_text() for text in texts(shown)}

    def test_arms_that_spend_the_same_up_to_rounding_are_not_drawn_apart(self) -> None:
        spent = {"sba": [999_900] * 3, "standard": [1_000_000] * 3, "mixup": [1_000_100] * 2}
        (axes,) = drawn(cost_figure, self.cost(spent)).axes
        assert axes.get_xlim() == pytest.approx((0.9, 1.1), abs=0.001)

    def test_without_the_reference_arm_nothing_is_drawn(self) -> None:
        records = [*planted.study({"sba": [870]}), planted.diverged("standard", 0)]
        (axes,) = drawn(cost_figure, study_of(records, seeds=[0])).axes
        assert not lines(axes)


def test_the_svg_holds_the_curves_to_a_hundredth_of_a_point() -> None:
    figure = drawn(accuracy_figure, study())
    figure.draw_without_rendering()  # limits are set when it is drawn
    axes = panels(figure)["standard"]
    mean = axes.transData.transform(points(mean_of(axes, 1))) * 72 / figure.dpi
    mean[:, 1] = 72 * figure.get_figheight() - mean[:, 1]  # SVG counts from the top
    paths = re.findall(r' d="([^"]*)"', accuracy_figure(study()))
    assert not re.search(r"\.\d\d\d", "".join(paths))
    numbers = [np.array(re.findall(r"-?[\d.]+", path), dtype=float) for path in paths]
    assert any(len(n) == mean.size and np.abs(n - mean.ravel()).max() < 0.011 for n in numbers)
