"""The report as one page: everything is in it, and nothing is fetched or run that is not its own."""

import re
from html.parser import HTMLParser
from pathlib import Path

import planted
import pytest
from contrast import contrast

from benchmark.report.build import render
from benchmark.report.html import SCRIPT, STYLE, page, source_hash
from benchmark.runtime.errors import UsageError

ROOT = Path(__file__).parents[3]
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg"><defs><path id="a" d="M0 0"/></defs>'
    '<use href="#a" style="fill: #123456"/></svg>'
)
TEXT = """\
# Results

## Tables

| arm | value | p |
|:----|------:|--:|
| `b` | +0.52 | < .0001 |
| `a` | 12.3 T | .0625 (.0078) |
| `c` | 900 G | - |
| `d` | missing | 7/8 |

## Figures

### Two

![the first](one.svg) ![the second](one.svg)
"""


class Reader(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def small() -> str:
    return page(TEXT, {"one.svg": SVG})


def test_everything_is_in_the_page_and_nothing_is_fetched() -> None:
    tags = Reader(small())
    assert not tags.all("img")
    assert not tags.all("link")
    assert all("src" not in attributes for _, attributes in tags.found)
    assert [svg["aria-label"] for svg in tags.all("svg")] == ["the first", "the second"]
    assert all(svg["role"] == "img" for svg in tags.all("svg"))
    assert [use["fill"] for use in tags.all("use")] == ["#123456", "#123456"]
    assert len(tags.all("table")) == 1
    assert len(tags.all("tr")) == 5


def test_ids_are_unique_and_every_link_in_the_page_has_its_end() -> None:
    tags = Reader(small())
    ids = [str(attributes["id"]) for _, attributes in tags.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    ends = [str(a["href"])[1:] for _, a in tags.found if str(a.get("href", "")).startswith("#")]
    assert set(ends) <= set(ids)
    assert {"tables", "figures", "two"} <= set(ends)
    assert sum("figure" in end for end in ends) >= 2


def test_only_the_pages_own_script_and_style_may_run() -> None:
    text = small()
    policy = str(next(m["content"] for m in Reader(text).all("meta") if "http-equiv" in m))
    script = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    assert len(script) == 1
    assert f"script-src '{source_hash(script[0])}'" in policy
    assert script[0] == SCRIPT.read_text(encoding="utf-8")
    assert "default-src 'none'" in policy
    assert "style=" not in text.replace("<style>", "")


def test_texts_of_records_cannot_become_markup() -> None:
    text = page("## <script>alert(1)</script>\n\n| a |\n|---|\n| <img src=x onerror=alert(1)> |\n", {})
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    label = '"><script>alert(2)</script>'
    (svg,) = Reader(page(f"![{label}](one.svg)", {"one.svg": SVG})).all("svg")
    assert svg["aria-label"] == label


def test_a_figure_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"shows one\.svg, and there is no such figure"):
        page(TEXT, {})


def test_a_figure_is_found_under_the_path_that_the_link_has() -> None:
    assert len(Reader(page("![a](Ergebnisse/größe%20b.svg)", {"Ergebnisse/größe%20b.svg": SVG})).all("svg")) == 1


def test_every_style_of_a_committed_figure_is_one_that_svg_has_as_an_attribute() -> None:
    """Others would be lost: SVG 2, section 6.6, lists the presentation attributes."""
    figures = [path.read_text(encoding="utf-8") for path in (ROOT / "results").glob("*/figures/*.svg")]
    styles = [style for text in figures for style in re.findall(r'style="([^"]*)"', text)]
    names = {line.partition(":")[0].strip() for style in styles for line in style.split(";")} - {""}
    stroke = {"stroke-" + end for end in ("dasharray", "dashoffset", "linecap", "linejoin", "opacity", "width")}
    assert {"fill", "stroke"} <= names <= {"fill", "fill-opacity", "opacity", "stroke", *stroke}


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_both_of_its_backgrounds(scheme: int) -> None:
    colours = [dict(re.findall(r"--(\w+): (#\w+);", block)) for block in STYLE.read_text().split("@media screen")[:2]]
    assert colours[0].keys() == colours[1].keys()
    for ink in ("ink", "muted", "link"):
        for paper in ("paper", "shade"):
            assert contrast(colours[scheme][ink], colours[scheme][paper]) >= 4.5  # WCAG 2, level AA


def test_the_same_report_gives_the_same_bytes_with_every_table_and_figure(tmp_path: Path) -> None:
    planted.write(tmp_path / "results", planted.study({"sba": [870, 872], "standard": [860, 861]}))
    output = tmp_path / "RESULTS.md"
    files = render(tmp_path / "results", output, ["html"])
    assert files == render(tmp_path / "results", output, ["html"])
    tags, markdown = Reader(files[tmp_path / "RESULTS.html"]), files[output]
    assert len(tags.all("table")) == len(re.findall(r"^\|[:-]", markdown, flags=re.MULTILINE))
    assert len(tags.all("svg")) == len(re.findall(r"^!\[", markdown, flags=re.MULTILINE)) == 4
    assert len(tags.all("h2")) == len(re.findall(r"^## ", markdown, flags=re.MULTILINE))
