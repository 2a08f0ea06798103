"""The command `report` on a finished study: written whole, the same every time, and checked against its records."""

import contextlib
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from studies.tiny_study import ARMS, TINY, Study

from benchmark.cli import main
from benchmark.records.store import refuse_other_depth
from benchmark.runtime.errors import UsageError


@pytest.fixture(scope="module")
def written(study: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The study's records and their report: path -> content."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copytree(study.folder / "results", "results")
        assert main(["report"]) == 0
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def report(written: dict[str, bytes], fresh: Path) -> Path:
    """A folder with the records and their report, which a test may change."""
    for name, content in written.items():
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        (fresh / name).write_bytes(content)
    return fresh


def test_it_writes_the_answer_a_page_of_the_study_and_four_svg_figures(report: Path) -> None:
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


def test_it_is_the_same_every_time_and_a_check_changes_nothing(report: Path, written: dict[str, bytes]) -> None:
    assert main(["report"]) == 0
    assert {name: (report / name).read_bytes() for name in written} == written
    before = {path: path.stat().st_mtime_ns for path in report.rglob("*") if path.is_file()}
    assert main(["report", "--check"]) == 0
    assert {path: path.stat().st_mtime_ns for path in report.rglob("*") if path.is_file()} == before
    Path("RESULTS.md").write_text("edited", encoding="utf-8")
    assert main(["report", "--check"]) == 1


@pytest.mark.parametrize("folder", [".", "results/smoke", "results/smoke/sba"])
def test_a_folder_above_or_below_the_records_is_refused_and_the_right_one_named(
    report: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    assert main(["report", "--results", folder]) == 2
    named = Path("results").resolve()
    message = "holds records of the preset smoke, but not in <preset>/<arm>/; give the folder that holds those of all "
    assert f"error: {Path(folder)} {message}presets: --results {named}\n" == capsys.readouterr().err
    with contextlib.chdir(Path(folder).parent):  # by a name alone it has no parents to count
        assert main(["report", "--results", Path(folder).name or "."]) == 2
    assert f"{message}presets: --results {named}\n" in capsys.readouterr().err
    for command in ("status", "run") if folder != "." else ():
        assert main([command, "smoke", *TINY, "--results", folder]) == 2
        assert f"{message}presets: --results {named}\n" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in report.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("name", ["smoke/erm/seed-0-0123456789abcdef.evaluation.json", "notes.json"])
def test_a_folder_with_other_files_than_records_is_none_of_a_preset(name: str) -> None:
    path = Path("folder") / name
    path.parent.mkdir(parents=True)
    path.write_text("{}", encoding="utf-8")
    for folder in (path.parents[1], path.parent):
        refuse_other_depth(folder, depths=(0, 1, 3, 4))
        (folder / "seed-0.json").touch()  # the name of a record beside it is enough
        with pytest.raises(UsageError, match="holds records of the preset"):
            refuse_other_depth(folder, depths=(0, 1, 3, 4))
        (folder / "seed-0.json").unlink()
