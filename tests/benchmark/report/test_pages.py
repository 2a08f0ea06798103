"""Whole pages of planted studies, compared with golden files; their lengths, links and texts from outside.

`pytest tests/benchmark/report/test_pages.py --update-golden` writes the golden files anew: read their diff.
"""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from pages import planted_site
from records import planted

from benchmark.records.schema import Record
from benchmark.report.build import render

GOLDEN = Path(__file__).parents[2] / "golden"
SITES = {
    "whole": planted_site.whole,
    "troubled": planted_site.troubled,
    "doses": planted_site.doses,
    "empty": list[Record],
}


@pytest.fixture(scope="module", params=SITES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """The name of a site and its pages, path -> text."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.report.build.drawings", lambda _study: {})
        patch.setattr("benchmark.report.build.answer_figure", lambda _studies: "<svg/>")
        patch.setattr("benchmark.report.build._trend_drawings", lambda *_: {})
        planted.write(folder / "results", SITES[request.param]())
        if request.param == "whole":
            planted_site.write_extras(folder / "results" / "cifar10_10k_conv_cpu")
        files = render(folder / "results", folder / "RESULTS.md")
    return request.param, {path.relative_to(folder).as_posix(): text for path, text in files.items()}


def test_pages_are_the_golden_ones(site: tuple[str, dict[str, str]], request: pytest.FixtureRequest) -> None:
    name, files = site
    pages = {path: text for path, text in files.items() if path.endswith(".md")}
    folder = GOLDEN / name
    if request.config.getoption("--update-golden"):
        for old in folder.rglob("*.md"):
            old.unlink()
        for path, text in pages.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8", newline="\n")
    golden = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.md")}
    assert pages.keys() == golden.keys()
    for path, text in pages.items():
        assert text == golden[path], f"{name}/{path} differs; see --update-golden"


def test_pages_are_short(site: tuple[str, dict[str, str]]) -> None:
    """A screen or two: at most 80 lines of RESULTS.md, 250 of a study."""
    for path, text in site[1].items():
        lines = text.count("\n")
        assert lines <= (80 if path == "RESULTS.md" else 250), f"{path} has {lines} lines"


def test_every_link_has_its_end(site: tuple[str, dict[str, str]]) -> None:
    files = site[1]
    trends = {"training_size_1_clean", "training_size_1_area"}
    figures = {"accuracy", "robustness", "differences", "cost", *trends}
    for path, text in files.items():
        if not path.endswith(".md"):
            continue
        for token in MarkdownIt("commonmark").enable("table").parse(text):
            for child in token.children or []:
                link = child.attrs.get("src" if child.type == "image" else "href")
                if link is None or "://" in str(link):
                    continue
                target = Path("/", path).parent / unquote(str(link))
                found = Path(re.sub(r"[^/]+/\.\./", "", re.sub(r"[^/]+/\.\./", "", target.as_posix())))
                drawn = found.suffix == ".svg" and found.stem in figures
                assert drawn or found.as_posix()[1:] in files, f"{path} links to {link}"


def test_texts_from_outside_are_shown_as_they_are() -> None:
    page = (GOLDEN / "troubled" / "results" / "troubled" / "README.md").read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(page)
    heading = next(token for token, before in zip(tokens[1:], tokens, strict=False) if before.type == "heading_open")
    assert "".join(child.content for child in heading.children or []) == planted_site.HOSTILE
    images = [child for token in tokens for child in token.children or [] if child.type == "image"]
    assert [Path(str(image.attrs["src"])).stem for image in images] == ["differences", "robustness", "accuracy", "cost"]
    html = {token.content for token in tokens if token.type == "html_block"}
    assert all(block.startswith(("<details><summary>", "</details>")) for block in html)


def test_words_that_are_never_written(site: tuple[str, dict[str, str]]) -> None:
    for path, text in site[1].items():
        assert not re.search(r"\bnan\b|\binf\b|\bNone\b|Undefined", text.replace("loss is nan", "")), path
        if not path.endswith(("how_to_read.md", "RESULTS.md")):
            assert "no difference" not in text
