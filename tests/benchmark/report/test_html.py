"""The report as one page: everything is in it, and nothing is fetched or run."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pages.contrast import contrast

from benchmark.report.html import STYLE, page, source_hash
from benchmark.runtime.errors import UsageError

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg"><defs><path id="a" d="M0 0"/></defs>'
    '<use href="#a" style="fill: #123456"/></svg>'
)
PAGES = {
    Path("RESULTS.md"): """\
# Results

[a study](results/a%20b/README.md) and [one elsewhere](https://example.org/)

| arm | value |
|:----|------:|
| `b` | +0.52<br>[0, 1] |

<details><summary>Some more: words, of a_study-smoke</summary>

![the first](results/one.svg)

</details>
""",
    Path("results/a b/README.md"): "# A *study*\n\n[back](../../RESULTS.md)\n\n![the second](../one.svg)\n",
}
FIGURES = {Path("results/one.svg"): SVG}


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


def test_everything_is_in_the_page_and_nothing_is_fetched_or_run() -> None:
    tags = Reader(page(PAGES, FIGURES))
    assert not tags.all("img") + tags.all("link") + tags.all("script")
    assert all("src" not in attributes for _, attributes in tags.found)
    assert [svg["aria-label"] for svg in tags.all("svg")] == ["the first", "the second"]
    assert all(svg["role"] == "img" for svg in tags.all("svg"))
    assert [use["fill"] for use in tags.all("use")] == ["#123456", "#123456"]
    assert (len(tags.all("table")), len(tags.all("tr")), len(tags.all("br"))) == (1, 2, 1)
    assert (len(tags.all("details")), len(tags.all("summary")), len(tags.all("section"))) == (1, 1, 2)


def test_ids_are_unique_and_links_between_pages_stay_in_the_page() -> None:
    tags = Reader(page(PAGES, FIGURES))
    ids = [str(attributes["id"]) for _, attributes in tags.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(link["href"]) for link in tags.all("a")]
    assert links == ["#page1", "#page2", "#page2", "https://example.org/", "#page1"]  # the contents, then the pages'
    ends = {str(a["href"])[1:] for _, a in tags.found if str(a.get("href", "")).startswith("#")}
    assert ends <= set(ids)


def test_pages_named_relatively_and_absolutely_find_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # as `report --output /elsewhere/RESULTS.md` beside the default folder of records
    pages = {
        tmp_path / "elsewhere" / "RESULTS.md": "# R\n\n[a](../results/a/README.md) ![f](../results/one.svg)\n",
        Path("results/a/README.md"): "# A\n\n[back](../../elsewhere/RESULTS.md) [other](../../docs/other.md)\n",
    }
    tags = Reader(page(pages, FIGURES))
    assert [svg["aria-label"] for svg in tags.all("svg")] == ["f"]
    links = [link["href"] for link in tags.all("a")]
    assert {"#page1", "#page2", "../docs/other.md"} <= set(links)


def test_only_the_pages_own_style_may_apply_and_no_script_may_run() -> None:
    text = page(PAGES, FIGURES)
    policy = str(next(m["content"] for m in Reader(text).all("meta") if "http-equiv" in m))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert f"'{source_hash(STYLE.read_text(encoding='utf-8'))}'" in policy
    assert "script-src" not in policy
    assert "style=" not in text.replace("<style>", "")


def test_texts_of_records_cannot_become_markup() -> None:
    folds = "<details><summary><b>\n\n<details><summary><b></summary>"
    text = f"# <script>alert(1)</script>\n\n{folds}\n\n| a |\n|---|\n| <img src=x onerror=alert(1)><br> |\n"
    found = page({Path("x.md"): text}, {})
    tags = Reader(found)
    assert not tags.all("script") + tags.all("img") + tags.all("details") + tags.all("b")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in found
    label = '"><script>alert(2)</script>'
    (svg,) = Reader(page({Path("x.md"): f"# x\n\n![{label}](one.svg)"}, {Path("one.svg"): SVG})).all("svg")
    assert svg["aria-label"] == label


def test_a_figure_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"shows results.one\.svg, and there is no such figure"):
        page(PAGES, {})


def test_every_style_of_a_committed_figure_is_one_that_svg_has_as_an_attribute() -> None:
    """Others would be lost: SVG 2, section 6.6, lists the presentation attributes."""
    root = Path(__file__).parents[3]
    figures = [path.read_text(encoding="utf-8") for path in (root / "results").glob("*/figures/*.svg")]
    styles = [style for text in figures for style in re.findall(r'style="([^"]*)"', text)]
    names = {line.partition(":")[0].strip() for style in styles for line in style.split(";")} - {""}
    stroke = {"stroke-" + end for end in ("dasharray", "dashoffset", "linecap", "linejoin", "opacity", "width")}
    assert {"fill", "stroke"} <= names <= {"fill", "fill-opacity", "opacity", "stroke", *stroke}


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_both_of_its_backgrounds(scheme: int) -> None:
    colours = [dict(re.findall(r"--(\w+): (#\w+);", block)) for block in STYLE.read_text().split("@media screen")[:2]]
    assert colours[0].keys() == colours[1].keys()
    for ink in ("ink", "link"):
        for paper in ("paper", "shade"):
            assert contrast(colours[scheme][ink], colours[scheme][paper]) >= 4.5  # WCAG 2, level AA
