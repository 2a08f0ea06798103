"""RESULTS.md: what it says of planted studies, in which order, and that --check sees every edit."""

import re
from pathlib import Path
from xml.etree import ElementTree

import planted
import pytest

from benchmark.records.schema import Record
from benchmark.report.build import check_report, render, write_report
from benchmark.runtime.errors import UsageError

CLEAR = {
    "sba": [870, 872, 868, 871, 869],
    "standard": [858, 861, 857, 862, 857],
    "mixup": [860, 865, 858, 866, 859],
}


FIGURES = ("differences", "robustness", "accuracy", "cost")


def report(folder: Path, records: list[Record]) -> str:
    """RESULTS.md of these records."""
    planted.write(folder / "results", records)
    output = folder / "RESULTS.md"
    return render(folder / "results", output)[output]


def test_order(tmp_path: Path) -> None:
    text = report(tmp_path, planted.study(CLEAR))
    headings = re.findall(r"^#+ .*$", text, flags=re.MULTILINE)
    assert headings == [
        "# Results",
        "## What was asked",
        "## Verdicts",
        "## Study: A planted study (`planted`)",
        "### Accuracy of every seed",
        "### `sba` against each other arm: accuracy",
        "### Robustness",
        "### Convergence",
        "### Cost",
        "### Verdict of every comparison",
        "## Published against measured",
        "## Sanity flags",
        "## How to reproduce",
        "## Limits",
    ]
    primary, secondary = text.index("Primary: "), text.index("Secondary: ")
    assert primary < secondary


def test_clear_effect(tmp_path: Path) -> None:
    text = report(tmp_path, planted.study(CLEAR))
    assert re.search(
        r"^- `sba` \(87\.00\) against `standard` \(85\.90\): higher in 5/5 seeds, mean \+1\.10 points "
        r"\[95% CI \+\d\.\d\d to \+\d\.\d\d\], Holm p < \.0001; exact p = \.0625 "
        r"\(the exact test cannot go below \.0625\)\.$",
        text,
        flags=re.MULTILINE,
    )
    assert "SBA as read from its abstracts" in text
    assert "python -m benchmark run planted" in text
    assert "0123456789abcdef" in text
    assert "2026-01-01 to 2026-01-05" in text
    assert "1.50x" in text
    assert "no run raised a flag" in text


def test_words_that_are_never_written(tmp_path: Path) -> None:
    none = {"sba": [860, 850, 864, 855, 861], "standard": [855, 861, 853, 862, 860], "mixup": [860] * 5}
    for folder, counts in (("clear", CLEAR), ("none", none)):
        text = report(tmp_path / folder, planted.study(counts))
        assert "no difference" not in text
        assert not re.search(r"\bnan\b|\binf\b|None", text)
    assert "not resolved: mean" in text


def test_robust_accuracy_is_always_under_these_attacks(tmp_path: Path) -> None:
    text = report(tmp_path, planted.study(CLEAR))
    verdicts = text[text.index("### Verdict of every comparison") : text.index("## Sanity flags")]
    named = dict(part.split(".\n\n", 1) for part in verdicts.split("Secondary: ")[1:])
    attacked = {title: body for title, body in named.items() if "under these attacks" in title}
    assert len(attacked) == 2
    for title, body in named.items():
        lines = [line for line in body.splitlines() if line.startswith("- ")]
        assert len(lines) == 2
        assert all(("under these attacks" in line) == (title in attacked) for line in lines)


def test_equal_everywhere_is_constant_not_equivalent(tmp_path: Path) -> None:
    text = report(tmp_path, planted.study(CLEAR))
    assert "under these attacks: equal in 5/5 seeds: differences are constant" in text


def test_equivalent(tmp_path: Path) -> None:
    close = {"sba": [860, 862, 858, 861, 859], "standard": [861, 861, 859, 860, 859], "mixup": [850] * 5}
    assert "`standard` (86.00): equivalent within 0.5 points" in report(tmp_path, planted.study(close))


def test_too_few_seeds(tmp_path: Path) -> None:
    records = planted.study({arm: counts[:3] for arm, counts in CLEAR.items()})
    for record in records:
        record["analysis"]["seeds"] = [0, 1, 2]
    text = report(tmp_path, records)
    assert "3 paired seeds cannot carry a test: description only" in text
    assert "Interim" not in text


def test_missing_seeds_make_it_interim(tmp_path: Path) -> None:
    records = [record for record in planted.study(CLEAR) if record["seed"] != 4 or record["arm"] == "standard"]
    text = report(tmp_path, records)
    assert "Interim: seed 4 of `sba` not run yet." in text
    assert re.search(r"^\| `sba` .*missing", text, flags=re.MULTILINE)


def test_a_named_arm_that_never_ran(tmp_path: Path) -> None:
    text = report(tmp_path, planted.study({"sba": CLEAR["sba"], "standard": CLEAR["standard"]}))
    assert "- `sba` against `mixup`: no seed is finished in both." in text
    assert "`mixup` (no run yet)" in text


def test_diverged_run_is_a_failure_that_stays(tmp_path: Path) -> None:
    records = [record for record in planted.study(CLEAR) if (record["arm"], record["seed"]) != ("sba", 2)]
    text = report(tmp_path, [*records, planted.diverged("sba", 2)])
    assert re.search(r"^\| `sba` .*diverged", text, flags=re.MULTILINE)
    assert "But seed 2 of `sba` diverged: a failure of that arm" in text
    assert "- `sba` seed 2 diverged after 1 epoch: loss is nan in epoch 2" in text
    assert "higher in 4/4 seeds" in text


def test_only_diverged_runs(tmp_path: Path) -> None:
    assert "no seed is finished in both" in report(tmp_path, [planted.diverged("sba", 0)])


def test_flags_and_unnamed_seeds_are_listed(tmp_path: Path) -> None:
    records = [*planted.study(CLEAR), planted.record("sba", 9, 870)]
    records[0]["flags"] = ["accuracy rises with eps"]
    text = report(tmp_path, records)
    assert "- `sba` seed 0: accuracy rises with eps" in text
    assert "used in no number here: `sba` seed 9." in text


def test_arms_of_the_treatments_method_are_told_by_what_differs(tmp_path: Path) -> None:
    records = planted.study({**CLEAR, "sba_often": CLEAR["sba"], "sba_again": CLEAR["sba"]})
    for record in records:
        spec = record["settings"]["arm"]
        if record["arm"].startswith("sba"):
            spec |= {
                "method": "sba",
                "settings": {"layers": ["stem", "block1"], "p": 0.5, "tau": None, "jitter": False},
            }
        if record["arm"] == "sba_often":
            spec |= {"augmentation": "none", "epochs": 6, "settings": {**spec["settings"], "p": 1.0}}
        if record["arm"] == "mixup":
            spec["settings"] = {"alpha": 1.0}
    text = report(tmp_path, records)
    assert (
        "- Arms: `sba` (sba, augmentation standard, layers = [stem, block1], p = 0.5, tau = none, jitter = false); "
        "`standard` (standard, augmentation standard); `mixup` (mixup, augmentation standard, alpha = 1); "
        "`sba_again` (as `sba`); `sba_often` (as `sba`, but augmentation none, 6 epochs, p = 1)." in text
    )


def test_the_old_normalisation_is_said_where_it_was_used(tmp_path: Path) -> None:
    old, new, other = planted.study(CLEAR), planted.study(CLEAR), planted.study(CLEAR)
    for record in new:
        record["settings"]["numerics"] = 2
    for record in other:
        record["settings"]["numerics"] = 2
        record["preset"] = "newer"
    said = "- Normalisation and whitening come from the first 5,000 training images"
    assert said in report(tmp_path / "old", old)
    assert said not in report(tmp_path / "new", new)
    both = report(tmp_path / "both", [*old, *other])
    assert said in both
    assert "(Of `planted` alone.)" in both


def test_synthetic_data_is_said_at_the_top_of_its_study(tmp_path: Path) -> None:
    records = planted.study(CLEAR)
    for record in records:
        record["data"]["synthetic"] = True
    text = report(tmp_path, records)
    assert text.count("**Synthetic data") == 2  # above the verdicts and above the study
    assert text.index("## Study") < text.rindex("**Synthetic data") < text.index("- Data: ")


def test_jpeg_is_not_cifar10(tmp_path: Path) -> None:
    records = planted.study(CLEAR)
    for record in records:
        record["data"]["name"] = "cifar10_jpeg"
    assert "lossy, not the official CIFAR-10" in report(tmp_path, records)


def test_no_records(tmp_path: Path) -> None:
    files = render(tmp_path / "results", tmp_path / "RESULTS.md")
    assert list(files) == [tmp_path / "RESULTS.md"]
    assert "No study has been run" in files[tmp_path / "RESULTS.md"]
    assert "python -m benchmark run" in files[tmp_path / "RESULTS.md"]


def test_figures_are_linked_from_where_the_report_lies(tmp_path: Path) -> None:
    planted.write(tmp_path / "results", planted.study(CLEAR))
    output = tmp_path / "docs" / "RESULTS.md"
    write_report(tmp_path / "results", output)
    links = re.findall(r"!\[.+\]\((.+)\)", output.read_text())
    assert links == [f"../results/planted/figures/{name}.svg" for name in FIGURES]
    for link in links:
        ElementTree.parse(output.parent / link)


@pytest.mark.parametrize("endpoints", [["clean"], ["area", "clean"], ["learning", "seconds"]])
def test_only_what_was_named_is_tested_and_the_first_is_primary(tmp_path: Path, endpoints: list[str]) -> None:
    records = planted.study(CLEAR)
    for record in records:
        record["analysis"]["endpoints"] = endpoints
    text = report(tmp_path, records)
    assert text.count("| against ") == len(endpoints)
    verdicts = text[text.index("### Verdict of every comparison") :]
    assert verdicts.count("Primary: ") == 1
    assert verdicts.count("Secondary: ") == len(endpoints) - 1
    assert (": the primary endpoint." in text) == (endpoints[0] == "clean")
    assert text.count("**not tested**") == 7  # no claim here has both its endpoint and all of its arms


def test_from_ten_seeds_on_a_bootstrap_interval_stands_beside_the_t_interval(tmp_path: Path) -> None:
    ten = {arm: [*counts, *(count + 1 for count in counts)] for arm, counts in CLEAR.items()}
    records = planted.study(ten)
    for record in records:
        record["analysis"]["seeds"] = list(range(10))
    text = report(tmp_path / "ten", records)
    row = next(line for line in text.splitlines() if line.startswith("| `standard`") and "higher" in line)
    headers = next(line for line in text.splitlines() if "bootstrap interval |" in line)
    cell = row.split("|")[[name.strip() for name in headers.split("|")].index("bootstrap interval")].strip()
    low, high = (float(end) for end in cell.split(" to "))
    assert low < 1.1 < high
    assert high - low < 2
    assert "bootstrap interval |" not in report(tmp_path / "five", planted.study(CLEAR))
    for record in records:
        record["analysis"]["against"] = ["standard", "mixup", "erm"]  # of which no seed was run
    assert "bootstrap interval |" in report(tmp_path / "one_missing", records)


def test_mixed_records_are_refused(tmp_path: Path) -> None:
    records = planted.study(CLEAR)
    records[0]["data"]["fingerprint"] = "other"
    with pytest.raises(UsageError, match=r"data\.fingerprint"):
        report(tmp_path, records)


def test_check_passes_after_writing_and_sees_every_edit(tmp_path: Path) -> None:
    results, output = tmp_path / "results", tmp_path / "RESULTS.md"
    planted.write(results, planted.study(CLEAR))
    assert [Path(problem.split(" is missing")[0]) for problem in check_report(results, output)] == list(
        render(results, output)
    )
    assert not output.exists()
    assert write_report(results, output) == list(render(results, output))
    assert check_report(results, output) == []

    text = output.read_text()
    output.write_text(text.replace("(87.00)", "(97.00)", 1))
    (problem,) = check_report(results, output)
    assert "RESULTS.md differs from its records" in problem
    assert re.search(r"^-- `sba` \(97\.00\)", problem, flags=re.MULTILINE)
    assert re.search(r"^\+- `sba` \(87\.00\)", problem, flags=re.MULTILINE)
    assert "(97.00)" in output.read_text()  # a check changes nothing

    output.write_bytes(text.replace("\n", "\r\n").encode())
    assert len(check_report(results, output)) == 1
    output.write_bytes(text.encode())
    figure = results / "planted" / "figures" / "accuracy.svg"
    figure.write_text(figure.read_text() + " ")
    assert check_report(results, output) == [f"{figure} differs from its records"]


def test_unwritable_output_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write_report(tmp_path / "results", tmp_path / "file" / "RESULTS.md")
