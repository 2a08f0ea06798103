"""RESULTS.md of planted studies: each truth gets its verdict, in words and with numbers that SciPy gives as well."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import planted
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats

from benchmark.records.schema import Record
from benchmark.report import build as report
from benchmark.runtime.errors import UsageError

Counts = Mapping[str, Sequence[int]]
Floats = NDArray[np.float64]

AGAINST = ("erm", "standard", "mixup")
SBA = [870, 872, 868, 871, 869]
CLEAR: Counts = {
    "sba": SBA,
    "erm": [851, 850, 853, 855, 847],
    "standard": [858, 861, 857, 862, 857],
    "mixup": [862, 858, 855, 866, 859],
}
NONE: Counts = {
    "sba": [861, 853, 859, 849, 863],
    "erm": [858, 861, 857, 862, 857],
    "standard": [859, 853, 855, 857, 860],
    "mixup": [853, 860, 851, 859, 858],
}
NUMBER = r"([+-]?\d+\.\d\d)"


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing: figures take most of the time of a report, and no test here looks at one."""
    monkeypatch.setattr(report, "drawings", lambda _: {})


def study(counts: Counts, **analysis: Any) -> list[Record]:
    """Records of a study of SBA that names the arms of the paper's claims."""
    records = planted.study(counts, analysis.pop("curves", None))
    seeds = list(range(max(map(len, counts.values()))))
    for record in records:
        record["settings"]["arm"]["method"] = record["arm"] if record["arm"] in ("sba", "mixup") else "erm"
        record["settings"]["arm"]["augmentation"] = "none" if record["arm"] == "erm" else "standard"
        record["analysis"] |= {"against": list(AGAINST), "seeds": seeds, "level": 70.0, **analysis}
    return records


def results(folder: Path, records: list[Record]) -> str:
    """RESULTS.md of these records."""
    planted.write(folder / "results", records)
    output = folder / "RESULTS.md"
    return report.render(folder / "results", output)[output]


def part(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of its level or above."""
    level = len(heading.split(" ")[0])
    return re.split(rf"^#{{1,{level}}} ", text.split(f"\n{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def primary(text: str, arm: str) -> str:
    """Return the verdict on the test accuracy of SBA against an arm."""
    verdicts = part(text, "### Verdict of every comparison").split("Primary: ", 1)[1].split("Secondary: ")[0]
    (line,) = (line for line in verdicts.splitlines() if line.startswith("- ") and f"against `{arm}`" in line)
    return line


def judgements(text: str) -> dict[str, tuple[str, str]]:
    """Return claim -> what the table of verdicts says, and what the list says of the study."""
    verdicts = part(text, "## Verdicts")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in verdicts.splitlines() if line[:1] == "|"]
    table = {row[0]: row[1] for row in rows[2:]}
    said = re.findall(r"^\*\*([^*]+)\.\*\*.*?^- (.*?)(?=^\*\*|\Z)", verdicts, flags=re.MULTILINE | re.DOTALL)
    assert len(said) == len(table) == 7
    return {name.lower(): (table[name.lower()], sentence) for name, sentence in said}


def differences(counts: Counts, arm: str) -> Floats:
    """Points of accuracy of SBA minus those of an arm, one a seed."""
    points: Floats = (np.array(counts["sba"]) - np.array(counts[arm])) * 100 / planted.TEST_IMAGES
    return points


def mean_and_interval(d: Floats) -> tuple[float, float, float]:
    """Mean and 95% interval: t quantile times standard error."""
    half = stats.t.ppf(0.975, len(d) - 1) * stats.sem(d)
    return float(d.mean()), float(d.mean() - half), float(d.mean() + half)


def holm(counts: Counts) -> dict[str, float]:
    """Holm's p of each arm: the k-th smallest of m, from 0, times m - k, never below the one before it."""
    raw = {arm: float(stats.ttest_rel(counts["sba"], counts[arm]).pvalue) for arm in AGAINST}
    ordered = sorted(raw, key=raw.__getitem__)
    steps = [min(1.0, (len(ordered) - k) * raw[arm]) for k, arm in enumerate(ordered)]
    return dict(zip(ordered, itertools.accumulate(steps, max), strict=True))


def exact(d: Floats) -> float:
    """Share of all sign flips whose sum is at least as far from 0."""
    sums = np.array(list(itertools.product((-1, 1), repeat=len(d)))) @ d
    return float((abs(sums) >= abs(d.sum()) - 1e-9).mean())


def detectable(d: Floats) -> float:
    """The difference found in 80% of studies of this spread, two-sided, at the strictest level of Holm.

    T = (Z + shift) / sqrt(V / f) with V of chi-squared with f degrees; the lower tail adds nothing.
    """
    f, error = len(d) - 1, float(stats.sem(d))
    critical = stats.t.ppf(1 - 0.05 / len(AGAINST) / 2, f)

    def power(size: float) -> float:
        return float(stats.chi2(f).expect(lambda v: stats.norm.sf(critical * np.sqrt(v / f) - size / error)))

    return float(optimize.brentq(lambda size: power(size) - 0.8, error, 20 * error))


def assert_p(name: str, p: float, line: str) -> None:
    """The line gives this p to four digits, or as below .0001."""
    if p < 0.0001:
        assert f"{name} p < .0001" in line
    else:
        found = re.search(rf"{name} p = (1|\.\d+)", line)
        assert found, line
        assert float(found[1]) == pytest.approx(p, abs=0.00006)


def test_clear_effect_has_the_numbers_of_scipy_and_supports_the_claim(tmp_path: Path) -> None:
    text = results(tmp_path, study(CLEAR))
    judgement, sentence = judgements(text)["generalization"]
    assert judgement == "supported"
    for arm, p in holm(CLEAR).items():
        d, line = differences(CLEAR, arm), primary(text, arm)
        mean, low, high = mean_and_interval(d)
        said = f"higher in 5/5 seeds, mean +{mean:.2f} points [95% CI +{low:.2f} to +{high:.2f}], Holm p "
        assert said in line
        assert said in sentence
        assert_p("Holm", p, line)
        assert_p("exact", exact(d), line)
        assert "the exact test cannot go below .0625" in line


def test_no_effect_is_not_resolved_and_names_what_could_be_seen(tmp_path: Path) -> None:
    text = results(tmp_path, study(NONE))
    assert judgements(text)["generalization"][0] == "not resolved"
    assert not [line for line in text.splitlines() if line.startswith("- ") and "no difference" in line]
    for arm in AGAINST:
        d, line = differences(NONE, arm), primary(text, arm)
        _, low, high = mean_and_interval(d)
        assert low < 0 < high
        assert f"[95% CI {low:+.2f} to {high:+.2f}]" in line
        mde = re.search(rf"not resolved: .*differences below MDE = {NUMBER} points cannot be seen with 5 seeds", line)
        assert mde, line
        assert float(mde[1]) == pytest.approx(detectable(d), abs=0.0051)
        assert not re.search(r"higher|lower|equivalent", line)


def test_holm_decides_not_the_single_p(tmp_path: Path) -> None:
    close = {"sba": SBA, "erm": [862, 871, 862, 862, 868], "standard": [857, 871, 864, 867, 861]}
    close["mixup"] = [866, 865, 867, 867, 857]
    assert max(stats.ttest_rel(SBA, close[arm]).pvalue for arm in AGAINST) < 0.05 < min(holm(close).values())
    text = results(tmp_path, study(close))
    assert judgements(text)["generalization"][0] == "not resolved"
    for arm, p in holm(close).items():
        line = primary(text, arm)
        assert "not resolved" in line
        assert f"(p = {f'{p:.4f}'.strip('0')})" in line


def test_equivalent_within_the_margin_only_where_both_one_sided_tests_pass(tmp_path: Path) -> None:
    near, wide = [871, 871, 869, 870, 869], [868, 880, 862, 877, 865]
    for other, passes in ((near, True), (wide, False)):
        d = differences({"sba": SBA, "other": other}, "other")
        above = stats.ttest_1samp(d, -0.5, alternative="greater").pvalue
        below = stats.ttest_1samp(d, 0.5, alternative="less").pvalue
        assert (3 * max(above, below) < 0.05) == passes
    text = results(tmp_path / "near", study({**CLEAR, "standard": near}))
    judgement, sentence = judgements(text)["generalization"]
    assert judgement == "equivalent"
    assert "equivalent within 0.5 points" in sentence
    assert "equivalent within 0.5 points" in primary(text, "standard")
    text = results(tmp_path / "wide", study({**CLEAR, "standard": near, "mixup": wide}))
    assert judgements(text)["generalization"][0] == "not resolved"
    assert "equivalent" not in primary(text, "mixup")


def test_one_arm_that_is_better_contradicts_the_claim(tmp_path: Path) -> None:
    counts = {**CLEAR, "mixup": [884, 882, 881, 886, 880]}
    text = results(tmp_path, study(counts))
    judgement, sentence = judgements(text)["generalization"]
    mean, low, high = mean_and_interval(differences(counts, "mixup"))
    assert judgement == "contradicted"
    assert high < 0
    for said in (sentence, primary(text, "mixup")):
        assert f"lower in 5/5 seeds, mean {mean:.2f} points [95% CI {low:.2f} to {high:.2f}]" in said


@pytest.mark.parametrize("seeds", [1, 3])
def test_too_few_seeds_are_described_and_never_tested(tmp_path: Path, seeds: int) -> None:
    text = results(tmp_path, study({arm: row[:seeds] for arm, row in CLEAR.items()}))
    judgement, sentence = judgements(text)["generalization"]
    assert judgement == "not tested"
    for said in (sentence, *(primary(text, arm) for arm in AGAINST)):
        assert "description only" in said
        assert not re.search(r"\bp [=<]|CI|Holm|equivalent|\bnan\b", said)


def test_a_diverged_run_stays_in_the_table_as_a_failure(tmp_path: Path) -> None:
    records = [record for record in study(CLEAR) if (record["arm"], record["seed"]) != ("sba", 2)]
    lost = planted.diverged("sba", 2)
    lost["settings"], lost["analysis"] = records[0]["settings"], records[0]["analysis"]
    text = results(tmp_path, [*records, lost])
    (row,) = (line for line in part(text, "### Accuracy of every seed").splitlines() if line.startswith("| `sba`"))
    assert "diverged" in row
    assert "loss is nan in epoch 2" in part(text, "## Sanity flags")
    judgement, sentence = judgements(text)["generalization"]
    assert judgement == "not resolved"
    assert "diverged" in sentence
    four = {arm: [*row[:2], *row[3:]] for arm, row in CLEAR.items()}
    for arm, p in holm(four).items():
        line = primary(text, arm)
        _, low, high = mean_and_interval(differences(four, arm))
        assert f"[95% CI +{low:.2f} to +{high:.2f}]" in line
        assert re.search(r"higher in 4/4 seeds.*the exact test cannot go below \.125.*seed 2 of `sba` diverged", line)
        assert_p("Holm", p, line)


def test_constant_differences_get_no_t_test(tmp_path: Path) -> None:
    text = results(tmp_path, study({arm: SBA if arm == "sba" else [n - 10 for n in SBA] for arm in CLEAR}))
    assert judgements(text)["generalization"][0] == "not resolved"
    for arm in AGAINST:
        assert re.search(r"higher in 5/5 seeds.*\+1\.00 points.*constant", primary(text, arm))
        assert not re.search(r"Holm p|CI|equivalent", primary(text, arm))


def test_ties_are_counted(tmp_path: Path) -> None:
    counts = {**CLEAR, "standard": [858, 861, 868, 859, 857]}
    line = primary(results(tmp_path, study(counts)), "standard")
    assert "higher in 4/5 seeds (1 tie)" in line
    assert exact(differences(counts, "standard")) == 0.125
    assert_p("exact", 0.125, line)
    assert_p("Holm", holm(counts)["standard"], line)


def test_missing_seeds_are_listed_and_nothing_is_decided(tmp_path: Path) -> None:
    absent = {("mixup", 3), ("mixup", 4), ("sba", 1)}
    text = results(tmp_path, [run for run in study(CLEAR) if (run["arm"], run["seed"]) not in absent])
    assert part(text, "### Accuracy of every seed").count("missing") == 3
    for judgement, sentence in judgements(text).values():
        assert judgement in ("not resolved", "not tested")
        assert judgement == "not tested" or "3 named runs" in sentence
        assert not re.search(r"\bp [=<]|higher in|lower in|equivalent within", sentence)
    assert all("Interim: seed 1 of `sba` not run yet" in primary(text, arm) for arm in AGAINST)
    assert "Interim: seeds 3, 4 of `mixup` not run yet" in primary(text, "mixup")


MIXED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "data set": ({"data": {"fingerprint": "e" * 64}}, ("fingerprint",)),
    "settings": ({"settings": {"recipe": {"epochs": 4, "batch_size": 64}}}, ("batch_size", "128", "64")),
    "environment": ({"environment": {"torch": "3.0.1"}}, ("torch", "3.0", "2.13")),
    "pairing": ({"weights_hash": "weights-x", "order_hash": "order-x"}, ("weights-x", "weights-3", "order-x")),
}


@pytest.mark.parametrize("kind", MIXED)
def test_records_that_do_not_belong_together_are_refused_with_all_that_differs(tmp_path: Path, kind: str) -> None:
    changes, words = MIXED[kind]
    records: list[Any] = study(CLEAR)
    other = next(record for record in records if (record["arm"], record["seed"]) == ("mixup", 3))
    for key, value in changes.items():
        other[key] = other[key] | value if isinstance(value, dict) else value
    with pytest.raises(UsageError) as refused:
        results(tmp_path, records)
    assert all(word in str(refused.value) for word in ("mixup/seed-3", *words))


def test_robust_accuracy_is_always_under_these_attacks(tmp_path: Path) -> None:
    curves = {"sba": [[160, 140, 100 + seed % 2, 40 + seed, 0] for seed in range(5)]}
    text = results(tmp_path, study(CLEAR, curves=curves))
    judgement, sentence = judgements(text)["robustness"]
    assert judgement == "supported"
    attacked = "robust accuracy|accuracy under (?!each of ten draws of uniform noise)"
    lines = [line for line in text.splitlines() if re.search(attacked, line, re.IGNORECASE)]
    assert len(lines) > 6
    assert all("under these attacks" in line for line in (sentence, *lines))
    for endpoint in part(text, "### Verdict of every comparison").split("Secondary: ")[1:]:
        count = 1 + len(AGAINST) if "under these attacks" in endpoint else 0
        assert endpoint.count("under these attacks") == count  # the title's, then one in each comparison
