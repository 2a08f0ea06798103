"""The section of an exploratory study: planted differences with their signs, order, failures, and no verdict."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import planted
import pytest
from scipy import stats as scipy_stats

from benchmark.analysis.exploratory import block_t
from benchmark.analysis.paired import detectable_difference
from benchmark.analysis.study import load_study
from benchmark.analysis.verdicts import p_text, signed
from benchmark.records.schema import Record
from benchmark.report.ablation_report import section
from benchmark.report.build import check_report, render, write_report
from benchmark.report.figures import COLOURS, INK
from benchmark.report.forest import Row, differences_figure, frame
from benchmark.report.tables import comparison_table

COUNTS = {
    "default": [860, 862, 858],
    "noise_1": [880, 882, 879],
    "layers_input": [840, 843, 838],
    "similarity": [860, 865, 856],
    "erm": [850, 849, 852],
    "erm_equal_compute": [863, 865, 861],  # 0.3 points higher in every seed: no t test
}
CURVES = {row: [[160, 120, 60, 10 + i, 0]] * 3 for i, row in enumerate(COUNTS)}
CURVES["erm"] = [[160, 120, 60, 4, 0], [160, 120, 60, 5, 0], [160, 120, 60, 3, 0]]
VERDICTS = ("higher in", "lower in", "not resolved", "equivalent within", "description only", "Holm")


def ablation() -> list[Record]:
    return planted.ablation(COUNTS, CURVES)


def text_of(records: list[Record]) -> str:
    return "\n\n".join(map(str, section(load_study("planted_ablation", records), "results")))


def report(folder: Path, records: list[Record]) -> str:
    """RESULTS.md of these records."""
    planted.write(folder / "results", records)
    return render(folder / "results", folder / "RESULTS.md")[folder / "RESULTS.md"]


def rows(text: str, after: str) -> dict[str, list[str]]:
    """The first table after a heading: first cell -> the others."""
    table = text[text.index(after) :].split("\n| row ")[1].split("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in cells}


def expected(values: dict[str, Sequence[float]]) -> dict[str, list[str]]:
    """Seeds, mean, sd, difference to the default, interval, p, BH p and paired p, worked out anew."""
    rows, table = list(values), np.array(list(values.values()), dtype=np.float64)  # (row, seed)
    residual = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
    freedom = (len(rows) - 1) * 2
    error = np.sqrt((residual**2).sum() / freedom * 2 / 3)
    differences = table[1:].mean(1) - table[0].mean()
    p = 2 * scipy_stats.t.sf(np.abs(differences) / error, freedom)
    adjusted = scipy_stats.false_discovery_control(p)
    half = error * scipy_stats.t.ppf(0.975, freedom)
    found = {}
    for i, row in enumerate(rows):
        cells = [*(f"{value:.2f}" for value in table[i]), f"{table[i].mean():.2f}", f"{table[i].std(ddof=1):.2f}"]
        if i == 0:
            found[row] = cells + ["-"] * 5
            continue
        d, each = differences[i - 1], np.round(table[i] - table[0], 9)
        paired = p_text(float(scipy_stats.ttest_1samp(each, 0).pvalue)) if np.ptp(each) else "-"
        interval = f"{signed(d - half)} to {signed(d + half)}"
        found[row] = [*cells, signed(d), interval, p_text(float(p[i - 1])), p_text(float(adjusted[i - 1])), paired]
    return found


def test_accuracy_table_has_the_planted_values_in_the_order_named() -> None:
    found = rows(text_of(ablation()), "### Accuracy")
    assert list(found) == list(COUNTS)
    assert found == expected({row: [count / 10 for count in counts] for row, counts in COUNTS.items()})
    assert found["noise_1"][5] == "+2.03"
    assert found["layers_input"][5] == "-1.97"


def test_robustness_tables_have_the_planted_values() -> None:
    text = text_of(ablation())
    curves = {row: np.array(each) / 2 for row, each in CURVES.items()}
    at_eps = {row: curve[:, 3].tolist() for row, curve in curves.items()}
    assert rows(text, "Accuracy under these attacks at Linf eps = 1/255:\n") == expected(at_eps)
    # Over eps 0, .25, .5, 1, 2 the trapezoid rule weighs by .125, .25, .375, .75, .5, all over 2.
    weights = np.array([0.125, 0.25, 0.375, 0.75, 0.5]) / 2
    areas = {row: (curve @ weights).tolist() for row, curve in curves.items()}
    assert rows(text, "Area under the curve of accuracy under these attacks, Linf eps from 0 to 2/255:\n") == expected(
        areas
    )


def test_rows_table_says_what_differs_and_what_it_costs() -> None:
    found = rows(text_of(ablation()), "### The rows")
    assert found == {
        "default": ["-", "3.00 T (1.00x)", "50%"],
        "noise_1": ["noise = 1", "3.00 T (1.00x)", "50%"],
        "layers_input": ["layers = [input]", "3.00 T (1.00x)", "50%"],
        "similarity": ["noise_jitter = 1; similarity_tau = 0.5", "3.00 T (1.00x)", "50%"],
        "erm": ["method erm", "2.00 T (0.67x)", "0%"],
        "erm_equal_compute": ["method erm; 6 epochs", "3.00 T (1.00x)", "0%"],
    }


def test_findings_count_rows_name_them_and_say_what_could_be_seen() -> None:
    text = text_of(ablation())
    accuracy = next(line for line in text.splitlines() if line.startswith("- Accuracy on the validation images"))
    assert "BH p < .05 in 3 of 5 rows (`noise_1` +2.03, `layers_input` -1.97, `erm` -0.97); " in accuracy
    assert "; p < .05, but not BH p, in 0. " in accuracy
    tests, freedom = block_t(np.array(list(COUNTS.values())) / 10, 0)
    sd = tests[1].sd if tests[1] and tests[1].sd else 0.0
    alone, only = (detectable_difference(3, family, freedom) or 0.0 for family in (1, 5))
    assert f"{sd:.2f}: {alone * sd:.2f} points for one row by itself (p), {only * sd:.2f} points" in accuracy
    assert "**Nothing in this section is confirmatory.**" in text
    assert "10 degrees of freedom if no run is missing" in " ".join(text.split())
    assert "over 3 seeds has 2 degrees of freedom" in " ".join(text.split())


def decided(**changes: Sequence[int]) -> str:
    """The report's word on what the rows decide."""
    text = text_of(planted.ablation({**COUNTS, **changes}, CURVES))
    return text[text.index("What it decides") :].split("\n\n![")[0]


def test_a_row_that_is_higher_and_not_less_robust_replaces_the_default() -> None:
    text = decided()
    assert "- layers: the default stays; 0 of 1 row met the rule." in text
    assert "- noise: `noise_1` replaces the default; 1 of 1 row met the rule (`noise_1` +2.03)." in text
    assert "temperature" not in text  # it has no row
    assert "the default stays" in decided(noise_1=[861, 862, 858]).splitlines()[-1]


def test_a_row_that_is_higher_and_less_robust_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CURVES, "noise_1", [[160, 100, 40, 5 + i, 0] for i in range(3)])
    assert "- noise: the default stays; 0 of 1 row met the rule." in decided()


def test_nothing_is_decided_before_all_runs_are_done() -> None:
    text = text_of([record for record in ablation() if (record["arm"], record["seed"]) != ("erm", 2)])
    assert "What it decides is open until all runs are done." in text
    assert "the default stays" not in text


def test_what_it_is() -> None:
    text = text_of(ablation())
    assert text.startswith("## Exploratory study: Readings of a planted study (`planted_ablation`)")
    assert "5,000 training and 1,000 validation images" in text
    assert "- Default: `default` (sba, augmentation standard, layers = [stem], p = 0.5, noise = 0.5," in text
    assert "Named before the runs: 5 rows against `default`" in text
    assert "- Ran on cpu, 2026-01-01 to 2026-01-03." in text


def test_nothing_is_detectable_beyond_the_scale() -> None:
    records = planted.ablation({**COUNTS, "erm": [600, 900, 700]}, CURVES)
    two = [record for record in records if record["arm"] in ("default", "erm") and record["seed"] < 2]
    for record in two:
        record["analysis"]["seeds"] = [0, 1]
    text = text_of(two)
    assert "has 1 degree of freedom" in " ".join(text.split())
    accuracy = next(line for line in text.splitlines() if line.startswith("- Accuracy on the validation images"))
    assert "more than 100 points for the only one of 5 rows" in accuracy


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_never_a_verdict(tmp_path: Path, seeds: int) -> None:
    counts = {row: [*each, each[0] + 1, each[0] - 2][:seeds] for row, each in COUNTS.items()}
    records = planted.ablation(counts)
    for record in records:
        record["analysis"]["seeds"] = list(range(seeds))
    study = load_study("planted_ablation", records)
    table = str(comparison_table(study, "clean"))
    text = report(tmp_path, records)
    explored = text[text.index("## Verdicts") : text.index("## Sanity flags")]
    assert not [word for word in VERDICTS if word in table or word in explored]
    assert "verdict |" not in table
    assert not re.search(r"\bnan\b|\binf\b|None", text)


def test_missing_and_diverged_runs_stay_in_the_tables() -> None:
    gone = {("noise_1", 1), ("similarity", 2), ("erm", 0), ("erm", 1), ("erm", 2)}
    records = [record for record in ablation() if (record["arm"], record["seed"]) not in gone]
    like = next(record for record in records if record["arm"] == "noise_1")
    failed = planted.diverged("noise_1", 1)
    records.append({**failed, "preset": like["preset"], "settings": like["settings"], "analysis": like["analysis"]})
    text = text_of(records)
    found = rows(text, "### Accuracy")
    assert list(found) == list(COUNTS)
    assert found["noise_1"][:5] == ["88.00", "diverged", "87.90", "87.95", "0.07"]
    assert found["noise_1"][5] == "+2.08"  # the seed that it lost was a good one for the other rows
    assert found["similarity"][2] == "missing"
    assert found["erm"] == ["missing"] * 3 + ["-"] * 7
    assert rows(text, "### The rows")["erm"] == ["no run yet", "-", "-"]
    assert (
        "- Diverged, a failure of the row that its mean and tests leave out, which flatters it: `noise_1` seed 1."
        in text
    )
    assert "- Interim, not run yet: `similarity` seed 2, `erm`." in text


def test_a_row_that_was_not_named_is_shown_and_not_compared() -> None:
    records = ablation()
    for record in records:
        record["analysis"]["against"].remove("similarity")
    text = text_of(records)
    found = rows(text, "### Accuracy")
    assert list(found)[-1] == "similarity"
    assert found["similarity"][5:] == ["-"] * 5
    assert "shown and not compared: `similarity`" in text
    assert "of 4 rows" in text


def test_without_a_default_nothing_is_compared() -> None:
    text = text_of([record for record in ablation() if record["arm"] != "default"])
    assert rows(text, "### The rows")["noise_1"] == ["unknown", "3.00 T", "50%"]
    assert rows(text, "### Accuracy")["noise_1"][5:] == ["-"] * 5
    assert "No row could be tested" in text


def test_it_follows_the_studies_with_claims_and_leaves_them_as_they_are(tmp_path: Path) -> None:
    confirmatory = planted.study({"sba": [870, 872, 868, 871, 869], "standard": [858, 861, 857, 862, 857]})
    alone = report(tmp_path / "alone", confirmatory)
    text = report(tmp_path / "both", [*confirmatory, *ablation()])
    verdicts, study, exploratory, flags = (
        text.index(heading) for heading in ("## Verdicts", "## Study: ", "## Exploratory study: ", "## Sanity flags")
    )
    assert verdicts < study < exploratory < flags
    assert text[study:exploratory] == alone[alone.index("## Study: ") : alone.index("## Sanity flags")]
    pointed = [line for line in text[verdicts:study].splitlines() if "planted_ablation" in line]
    assert pointed == [
        "No verdict is drawn from the exploratory study Readings of a planted study (`planted_ablation`); its section "
        "below says what it shows."
    ]
    assert "Few seeds (5 in the smallest study)" in text
    assert "an exploratory study chose on validation images" in text
    assert "an exploratory study chose" not in alone
    assert "    python -m benchmark run planted\n    python -m benchmark run planted --ablation\n" in text
    assert "Readings of a planted study (`planted_ablation`): no run raised a flag." in text


def test_an_exploratory_study_alone(tmp_path: Path) -> None:
    text = report(tmp_path, ablation())
    assert "Few seeds (3 in the smallest study)" in text
    assert "## Study: " not in text


def test_its_figure_is_written_linked_and_checked(tmp_path: Path) -> None:
    results, output = tmp_path / "results", tmp_path / "RESULTS.md"
    planted.write(results, ablation())
    written = write_report(results, output)
    figure = results / "planted_ablation" / "figures" / "differences.svg"
    assert written == [output, figure]
    assert re.findall(r"!\[.+\]\((.+)\)", output.read_text()) == [figure.relative_to(tmp_path).as_posix()]
    assert check_report(results, output) == []
    figure.write_text(figure.read_text() + " ")
    assert check_report(results, output) == [f"{figure} differs from its records"]


def test_figure_names_every_row_is_the_same_twice_and_has_the_figures_colours() -> None:
    study = load_study("planted_ablation", [record for record in ablation() if record["arm"] != "erm"])
    text = differences_figure(study)
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert text == differences_figure(study)
    for label in ("similarity", "layers_input", "no result", "accuracy", "robust area"):
        assert f"<!-- {label} -->" in text  # a label's text, in front of its paths
    assert set(re.findall(r"#[0-9a-f]{6}\b", text)) <= {INK, *COLOURS}


def test_figure_shows_a_far_off_row_as_an_arrow_with_its_number() -> None:
    near = {row: [860 + i, 861 - i, 859] for i, row in enumerate(COUNTS)}
    text = differences_figure(
        load_study("planted_ablation", planted.ablation({**near, "layers_input": [300, 310, 305]}))
    )
    assert "<!-- \N{LEFTWARDS ARROW} -55.5 -->" in text
    high = differences_figure(load_study("planted_ablation", planted.ablation({**near, "default": [300, 310, 305]})))
    assert "ARROW" not in high  # where all rows are far from the default, the frame goes with them


def test_figure_without_a_finished_run() -> None:
    study = load_study("planted_ablation", [record for record in ablation() if record["arm"] == "default"])
    assert "<!-- no result -->" in differences_figure(study)


def test_frame_holds_0_and_all_but_what_is_far_out() -> None:
    def contrast(low: float, mean: float, high: float) -> Row:
        return Row(mean, low, high, np.array([mean]), False)

    usual = [contrast(mean - 1, mean, mean + 1) for mean in (0.5, 1.0, 1.5, 2.0)]
    low, high = frame([*usual, contrast(-60.0, -50.0, -40.0)])
    assert -2 < low < -0.5
    assert 3.0 < high < 4.0
    assert frame([]) == (-1.0, 1.0)
    low, high = frame([contrast(0.0, 0.0, 0.0)])
    assert low < 0 < high


@pytest.mark.parametrize("module", ["report.ablation_report", "report.forest", "report.describe"])
def test_torch_is_not_loaded(module: str) -> None:
    code = f"import benchmark.{module}, sys; assert not {{'torch', 'matplotlib.pyplot'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
