"""The report as files: written whole, compared with what is there, and placed in a README."""

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pages import planted_site
from records import planted
from records.attacked_records import rows

from benchmark.analysis.study import load_study
from benchmark.cli import main
from benchmark.report.build import BEGIN, END, all_tables, check_report, render, same_figure, write_report
from benchmark.report.tables import comparison_table, seeds_table
from benchmark.runtime.errors import UsageError

CLEAR = {
    "sba": [870, 872, 868, 871, 869],
    "standard": [858, 861, 857, 862, 857],
    "mixup": [860, 865, 858, 866, 859],
}
NAMED = {"sba": 870, "standard": 861, "erm": 830, "mixup": 856}
FIGURES = ("accuracy", "robustness", "differences", "cost")


def test_pages_and_figures_link_to_each_other_wherever_the_report_lies(tmp_path: Path) -> None:
    results = tmp_path / "some [results] 100%"
    planted.write(results, planted_site.study("planted", "Planted", NAMED))
    output = tmp_path / "docs" / "RESULTS.md"
    how_to_read = results / "how_to_read.md"
    write_report(results, output)
    assert "`docs/statistics.md`" in how_to_read.read_text()
    (tmp_path / "benchmark" / "analysis").mkdir(parents=True)
    (tmp_path / "benchmark" / "analysis" / "claims.toml").touch()
    written = write_report(results, output, ["html"])
    assert written[0] == output
    figures = [results / "planted" / "figures" / f"{name}.svg" for name in FIGURES]
    figures.append(results / "figures" / "differences.svg")
    assert {path for path in written if path.suffix == ".svg"} == set(figures)
    for figure in figures:
        ElementTree.parse(figure)
    links = re.findall(r"\]\((\S+?)\)", output.read_text())
    assert "../some%20%5Bresults%5D%20100%25/planted/README.md" in links
    assert "../some%20%5Bresults%5D%20100%25/figures/differences.svg" in links
    page = output.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count("<svg") == len(figures)
    assert "[docs/statistics.md](../docs/statistics.md)" in how_to_read.read_text()
    assert '<a href="statistics.md">docs/statistics.md</a>' in page
    assert check_report(results, output, ["html"]) == []


@pytest.mark.usefixtures("no_figures")
def test_the_gain_over_training_images_has_a_page_and_a_figure_for_each_endpoint(tmp_path: Path) -> None:
    planted.write(tmp_path / "results", planted_site.doses())
    files = render(tmp_path / "results", tmp_path / "RESULTS.md")
    assert tmp_path / "results" / "training_size.md" in files
    for endpoint in ("clean", "area"):
        text = files[tmp_path / "results" / "figures" / f"training_size_1_{endpoint}.svg"]
        assert ElementTree.fromstring(text).tag.endswith("svg")
        for label in ("standard", "mixup", "training images", "2.56k"):
            assert f"<!-- {label} -->" in text


@pytest.mark.usefixtures("no_figures")
def test_no_records(tmp_path: Path) -> None:
    files = render(tmp_path / "results", tmp_path / "RESULTS.md")
    assert list(files) == [tmp_path / "RESULTS.md"]
    assert "No study has been run" in files[tmp_path / "RESULTS.md"]


def test_check_passes_after_writing_and_sees_every_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = dict.fromkeys(FIGURES, '<svg xmlns="http://www.w3.org/2000/svg"/>\n')
    monkeypatch.setattr("benchmark.report.build.drawings", lambda _study: drawn)
    results, output = tmp_path / "results", tmp_path / "RESULTS.md"
    planted.write(results, planted.study(CLEAR))
    assert [Path(problem.split(" is missing")[0]) for problem in check_report(results, output)] == list(
        render(results, output)
    )
    assert not output.exists()
    assert write_report(results, output) == list(render(results, output))
    assert check_report(results, output) == []

    page = results / "planted" / "README.md"
    text = page.read_text()
    page.write_text(text.replace("87.00", "97.00", 1))
    (problem,) = check_report(results, output)
    assert "README.md differs from its records" in problem
    assert re.search(r"^-.* 97\.00", problem, flags=re.MULTILINE)
    assert re.search(r"^\+.* 87\.00", problem, flags=re.MULTILINE)
    assert "97.00" in page.read_text()  # a check changes nothing

    page.write_text(text)
    for path in (page, output, results / "planted" / "figures" / "cost.svg"):  # as a clone on Windows may have them
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert check_report(results, output) == []
    figure = results / "planted" / "figures" / "accuracy.svg"
    figure.write_text(figure.read_text() + " ")
    assert check_report(results, output) == [f"{figure} differs from its records"]
    write_report(results, output)
    old = results / "planted" / "figures" / "old.svg"
    old.write_text("<svg/>")
    assert check_report(results, output) == [f"{old} is no longer a file of the report; delete it"]
    old.unlink()
    shared, own = results / "training_size.md", results / "notes.md"
    shared.write_text("# When does it help?\n\nGenerated by `python -m benchmark report`.\n")
    own.write_text("# Mine\n")
    assert check_report(results, output) == [f"{shared} is no longer a file of the report; delete it"]
    shared.unlink()
    (results / ".#how_to_read.md").symlink_to("user@host.1:2")  # Emacs while that page is edited
    (results / "planted" / "folder.md").mkdir()
    assert check_report(results, output) == []


def test_figures_may_differ_in_last_bits_alone() -> None:
    drawn = '<path d="M 1.23 4.00"/><g id="a1.5"/>'
    assert same_figure(drawn, drawn.replace("1.23", "1.24"))
    assert not same_figure(drawn, drawn.replace("1.23", "1.29"))
    assert not same_figure(drawn, drawn.replace("path", "line"))
    assert not same_figure(drawn, drawn + "<g/>")


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("name", ["results/checks.md", "results/planted/README.md", "page.html"])
def test_an_output_in_the_place_of_another_file_is_refused(tmp_path: Path, name: str) -> None:
    planted.write(tmp_path / "results", planted.study(CLEAR))
    with pytest.raises(UsageError, match=f"--output .*{name}"):
        render(tmp_path / "results", tmp_path / name, ["html"])


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("part", ["answer", "list"])
def test_a_readme_gets_its_part_between_the_markers(tmp_path: Path, part: str) -> None:
    results, output = tmp_path / "results", tmp_path / "RESULTS.md"
    readme = tmp_path / {"answer": "README.md", "list": "sba/README.md"}[part]
    begin, end = BEGIN.format(part), END.format(part)
    planted.write(results, planted_site.study("planted", "Planted", NAMED))
    readme.parent.mkdir(exist_ok=True)
    readme.write_text(f"# Mine\n\nBefore.\n\n{begin}\nold\n{end}\n\nAfter.\n")
    assert any("README.md differs" in problem for problem in check_report(results, output))
    write_report(results, output)
    before, inside, after = re.split(f"{re.escape(begin)}|{re.escape(end)}", readme.read_text())
    assert (before, after) == ("# Mine\n\nBefore.\n\n", "\n\nAfter.\n")
    if part == "list":
        assert inside.startswith("\n\n- **More accuracy on clean images**: **yes**, +")
    else:
        assert "| **generalization** | **supported**" in inside
        assert "(results/planted/README.md)" in inside
        assert inside.strip() in output.read_text()
    assert check_report(results, output) == []
    readme.write_text("# Without markers\n")
    assert readme not in render(results, output)
    for lone in (begin, end):
        readme.write_text(f"# Mine\n\n{lone}\n")
        with pytest.raises(UsageError, match=r"README\.md has one marker"):
            render(results, output)
    readme.write_bytes(b"# Mine \xff\n")  # not UTF-8, and no part of ours
    assert readme not in render(results, output)
    readme.write_bytes(f"# Mine \n{begin}\nold\n{end}\n".encode() + b"\xff")
    with pytest.raises(UsageError, match=r"README\.md, whose generated part .* cannot be read: 'utf-8' codec"):
        check_report(results, output)


def test_unwritable_output_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write_report(tmp_path / "results", tmp_path / "file" / "RESULTS.md")


# Tables as files for a paper or a spreadsheet.


@pytest.mark.usefixtures("no_figures")
def test_every_table_of_a_study_has_a_file_of_the_reports_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = planted.study(CLEAR)
    study = load_study("planted", records)
    planted.write(tmp_path / "results", records)
    command = ["report", "--results", str(tmp_path / "results"), "--csv", "--latex"]
    assert main(command) == 0
    names = all_tables([study], None).keys()
    shown = {"arms", "accuracy", "robustness", "attacks", "undisturbed", "cost", "checks"}
    shown |= {f"{endpoint}_differences" for endpoint in study.endpoints}
    assert names == {"published", *(f"planted-{name}" for name in shown)}  # nothing to show of other tables
    written = sorted(path.name for path in (tmp_path / "tables").iterdir())
    assert written == sorted(f"{name}{suffix}" for name in names for suffix in (".csv", ".tex"))
    assert f"{len(written)} tables under {tmp_path / 'tables'}." in capsys.readouterr().out

    texts = {path.stem: path.read_text() for path in (tmp_path / "tables").glob("*.csv")}
    accuracy, differences = (
        list(csv.reader(texts[f"planted-{name}"].splitlines())) for name in ("accuracy", "clean_differences")
    )
    assert accuracy[0] == list(seeds_table(study).headers)
    assert accuracy[1][:7] == ["sba", "87.00", "87.20", "86.80", "87.10", "86.90", "87.00"]
    assert {row[0]: row[1:] for row in differences[1:]} == {
        arm: list(cells.values()) for arm, cells in rows(comparison_table(study, "clean")).items()
    }
    assert all("`" not in text and "<br>" not in text and "**" not in text for text in texts.values())

    assert main([*command, "--check"]) == 0
    (tmp_path / "tables" / "planted-cost.csv").write_text("edited")
    assert main([*command, "--check"]) == 1
    assert "planted-cost.csv differs" in capsys.readouterr().out


def test_exploratory_studies_give_their_rows_and_no_verdicts() -> None:
    study = load_study("planted_ablation", planted.ablation({row: [860, 862, 858] for row in planted.ROWS}))
    found = all_tables([study], None)
    names = ("rows", "clean_differences", "area_differences", "eps_differences", "robustness")
    assert found.keys() - {"published"} == {f"planted_ablation-{name}" for name in names}
    assert "Holm" not in "".join(table.csv() for table in found.values())
