"""The report of a finished study: written whole, the same every time, and checked against its records."""

from pathlib import Path
from typing import cast
from xml.etree import ElementTree

import numpy as np
import pytest
from tiny_study import ARMS, TEST_IMAGES, Study, path_of, read

from benchmark.cli import main
from benchmark.records.outcomes import pack_bits
from benchmark.records.schema import Record
from benchmark.records.store import write_record


@pytest.fixture
def report(study: Study, fresh: Path) -> Path:
    """A folder with the study's records and their report."""
    for (arm, seed), record in study.records.items():
        write_record(path_of(arm, seed), cast("Record", {k: v for k, v in record.items() if k != "sha256"}))
    assert main(["report"]) == 0
    return fresh


def test_report_writes_the_answer_a_page_of_the_study_and_four_svg_figures(report: Path) -> None:
    (page,) = (report / "results").glob("*/README.md")
    text = page.read_text(encoding="utf-8")
    assert page.relative_to(report).as_posix() in (report / "RESULTS.md").read_text(encoding="utf-8")
    figures = sorted((report / "results").rglob("*.svg"))
    assert len(figures) == 4
    for figure in figures:
        assert ElementTree.parse(figure).getroot().tag.endswith("svg")
        assert str(figure.relative_to(page.parent)) in text
    assert "Synthetic" not in text
    assert [arm for arm in ARMS if f"`{arm}`" not in text] == []


def test_report_is_the_same_every_time(report: Path) -> None:
    files = [report / "RESULTS.md", *(report / "results").rglob("*.md"), *(report / "results").rglob("*.svg")]
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
