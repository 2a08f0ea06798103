"""What the figures of curves and of cost show is what the records say."""

import re

import numpy as np
import planted
import pytest
from drawn import drawn, faint, lines, planted_study, points, strong, study_of, texts
from matplotlib.colors import to_hex
from matplotlib.text import Annotation

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


class TestAccuracy:
    def test_every_run_is_faint_and_the_mean_strong_at_every_epoch(self) -> None:
        (axes,) = drawn(accuracy_figure, study()).axes
        for index, (arm, counts) in enumerate(COUNTS.items()):
            records = [planted.record(arm, seed, correct) for seed, correct in enumerate(counts)]
            curves = np.array([[100 * epoch["accuracy"] for epoch in record["epochs"]] for record in records])
            assert np.array([line.get_xdata() for line in faint(axes, index)]) == pytest.approx(
                np.tile([1, 2, 3, 4], (len(counts), 1))
            )
            assert np.array([line.get_ydata() for line in faint(axes, index)]) == pytest.approx(curves)
            assert np.array(strong(axes, index).get_data()) == pytest.approx(
                np.array([[1, 2, 3, 4], curves.mean(axis=0)])
            )

    def test_in_compute_mode_a_line_ends_where_the_training_did_and_so_does_the_mean(self) -> None:
        counts = {"sba": [870, 872], "standard": [858, 861]}
        records = planted.study(counts)
        for record, kept in zip(records, (3, 2), strict=False):  # of sba: 2.25 and 1.5 epochs of 39 batches
            record["epochs"] = record["epochs"][:kept]
            record["epochs"][-1]["images"] = (10 if kept == 3 else 20) * 128
        shown = drawn(accuracy_figure, study_of(records, seeds=[0, 1], against=["standard"]))
        ends = [2 + 10 / 39, 1 + 20 / 39]
        assert [line.get_xdata()[-1] for line in faint(shown.axes[0], 0)] == pytest.approx(ends)  # type: ignore[index]
        last = [100 * records[i]["epochs"][-1]["accuracy"] for i in (0, 1)]
        first = np.mean([100 * records[i]["epochs"][0]["accuracy"] for i in (0, 1)])
        expected = [(1, first), (np.mean(ends), np.mean(last))]
        assert points(strong(shown.axes[0], 0)) == [pytest.approx(point) for point in expected]
        assert points(strong(shown.axes[0], 1))[-1][0] == 4

    def test_each_name_leads_to_its_lines_end(self) -> None:
        (axes,) = drawn(accuracy_figure, study()).axes
        notes = [text for text in axes.texts if isinstance(text, Annotation)]
        leads = {to_hex(note.arrow_patch.get_edgecolor()): note.xy for note in notes if note.arrow_patch}
        ends = {style(index).color: points(strong(axes, index))[-1] for index in range(len(COUNTS))}
        assert leads == {colour: pytest.approx(end) for colour, end in ends.items()}

    def test_a_diverged_run_is_a_cross_at_its_last_epoch_and_in_no_mean(self) -> None:
        records = [*planted.study(COUNTS), planted.diverged("mixup", 2)]
        (axes,) = drawn(accuracy_figure, study_of(records, seeds=[0, 1, 2])).axes
        crosses = [line for line in axes.lines if line.get_marker() == "x"]
        assert [points(cross) for cross in crosses] == [[(1, 0)]]
        assert to_hex(crosses[0].get_color()) == style(2).color
        assert crosses[0].get_transform() == axes.get_xaxis_transform()  # 0 is the height of the axis
        assert len(faint(axes, 2)) == 2

    def test_the_positive_control_is_left_out(self) -> None:
        records = planted.study({**COUNTS, "adversarial": [500, 510]})
        shown = drawn(accuracy_figure, study_of(records, seeds=[0, 1, 2], positive_control="adversarial"))
        assert not lines(shown.axes[0], 3)
        assert "adversarial" not in {text.get_text() for text in texts(shown)}

    def test_the_treatment_lies_on_top_and_single_runs_below_all_means(self) -> None:
        (axes,) = drawn(accuracy_figure, study()).axes
        means = sorted(range(3), key=lambda index: axes.lines.index(strong(axes, index)))
        assert means == [2, 1, 0]
        below = max(line.get_zorder() for index in range(3) for line in faint(axes, index))
        assert below < min(strong(axes, index).get_zorder() for index in range(3))


class TestRobustness:
    def test_every_run_is_faint_and_the_mean_strong_at_every_eps(self) -> None:
        (axes,) = drawn(robustness_figure, study()).axes
        for index, curves in enumerate(CURVES.values()):
            shares = np.array(curves) * 100 / planted.ATTACKED
            assert np.array([line.get_ydata() for line in faint(axes, index)]) == pytest.approx(shares)
            assert np.array(strong(axes, index).get_data()) == pytest.approx(
                np.array([(0, *planted.EPS), shares.mean(axis=0)])
            )

    def test_a_run_that_was_not_attacked_is_in_no_curve(self) -> None:
        records = planted.study({"sba": [870, 874], "standard": [858, 861]}, CURVES)
        records[1]["robustness"] = None
        (axes,) = drawn(robustness_figure, study_of(records, seeds=[0, 1], against=["standard"])).axes
        assert len(faint(axes, 0)) == 1
        assert np.array(strong(axes, 0).get_ydata()) == pytest.approx(np.array(CURVES["sba"][0]) / 2)

    def test_names_stand_in_the_order_of_the_areas(self) -> None:
        (axes,) = drawn(robustness_figure, study()).axes
        eps = np.array([0, *planted.EPS])
        areas = {arm: float(np.trapezoid(np.mean(rows, axis=0), eps)) for arm, rows in CURVES.items()}
        names = sorted(axes.texts, key=lambda text: -text.get_position()[1])
        assert [text.get_text() for text in names] == sorted(areas, key=lambda arm: -areas[arm])


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
    (axes,) = figure.axes
    mean = axes.transData.transform(points(strong(axes, 1))) * 72 / figure.dpi
    mean[:, 1] = 72 * figure.get_figheight() - mean[:, 1]  # SVG counts from the top
    paths = re.findall(r' d="([^"]*)"', accuracy_figure(study()))
    assert not re.search(r"\.\d\d\d", "".join(paths))
    numbers = [np.array(re.findall(r"-?[\d.]+", path), dtype=float) for path in paths]
    assert any(len(n) == mean.size and np.abs(n - mean.ravel()).max() < 0.011 for n in numbers)
