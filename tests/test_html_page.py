"""The report as one page: everything is in it, nothing is fetched, and a real browser has nothing to complain of."""

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import planted
import pytest

from benchmark.errors import UsageError
from benchmark.html_page import SCRIPT, page, source_hash
from benchmark.report import render

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
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


def test_a_figure_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"shows one\.svg, and there is no such figure"):
        page(TEXT, {})


def test_the_same_report_gives_the_same_bytes_with_every_table_and_figure(tmp_path: Path) -> None:
    planted.write(tmp_path / "results", planted.study({"sba": [870, 872], "standard": [860, 861]}))
    output = tmp_path / "RESULTS.md"
    files = render(tmp_path / "results", output, ["html"])
    assert files == render(tmp_path / "results", output, ["html"])
    tags, markdown = Reader(files[tmp_path / "RESULTS.html"]), files[output]
    assert len(tags.all("table")) == len(re.findall(r"^\|[:-]", markdown, flags=re.MULTILINE))
    assert len(tags.all("svg")) == len(re.findall(r"^!\[", markdown, flags=re.MULTILINE)) == 4
    assert len(tags.all("h2")) == len(re.findall(r"^## ", markdown, flags=re.MULTILINE))


def browser() -> str:
    """The browser to test with; without one the test is skipped."""
    found = os.environ.get("CHROME_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip("no Chromium here (looked for CHROME_PATH, " + ", ".join(BROWSERS) + ")")
    return found


def opened(text: str, folder: Path, width: int = 1200) -> tuple[str, list[str]]:
    """Open a page in headless Chromium: the document afterwards, and what the console said."""
    folder.mkdir(exist_ok=True)
    file = folder / "page.html"
    file.write_text(text, encoding="utf-8")
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
    command += ["--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900"]
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def with_script(text: str, script: str) -> str:
    """The page with one more script at its end, which its policy is told of."""
    own = re.search(r"script-src '([^']+)'", text)
    assert own
    allowed = text.replace(own.group(), f"{own.group()} '{source_hash(script)}'", 1)
    return allowed.replace("</body>", f"<script>{script}</script>\n</body>")


PROBE = """
const rows = () => [...document.querySelectorAll("tbody tr")];
const cells = (column) => rows().map((row) => row.cells[column].textContent).join("|");
const button = (column) => document.querySelectorAll("th button")[column];
const said = [cells(0)];
button(1).click(); said.push(cells(1)); button(1).click(); said.push(cells(1)); button(1).click(); said.push(cells(0));
button(2).click(); said.push(cells(2)); said.push(document.querySelectorAll("th")[2].getAttribute("aria-sort"));
button(0).click(); said.push(cells(0));
document.body.dataset.said = said.join(" / ");
"""


def test_a_press_on_a_header_sorts_by_value_and_the_third_restores_the_order(tmp_path: Path) -> None:
    document, console = opened(with_script(small(), PROBE), tmp_path / "sorted")
    assert console == []
    said = re.search(r'data-said="([^"]+)"', document)
    assert said
    assert said.group(1).replace("&lt;", "<").split(" / ") == [
        "b|a|c|d",
        "+0.52|900 G|12.3 T|missing",
        "12.3 T|900 G|+0.52|missing",
        "b|a|c|d",
        "< .0001|.0625 (.0078)|7/8|-",
        "ascending",
        "a|b|c|d",
    ]


def test_the_check_of_the_console_sees_an_error_and_a_script_that_is_not_allowed(tmp_path: Path) -> None:
    _, console = opened(with_script(small(), "null.broken"), tmp_path / "broken")
    assert any("TypeError" in line for line in console)
    refused = small().replace("</body>", "<script>1</script></body>")
    _, console = opened(refused, tmp_path / "refused")
    assert any("Content Security Policy" in line for line in console)


MEASURE = "document.body.dataset.size = document.documentElement.scrollWidth + ' in ' + innerWidth;"


def test_the_committed_report_opens_with_an_empty_console_and_fits_a_phone(tmp_path: Path) -> None:
    text = render(ROOT / "results", ROOT / "RESULTS.md", ["html"])[ROOT / "RESULTS.html"]
    document, console = opened(with_script(text, MEASURE), tmp_path / "phone", width=360)
    assert console == []
    size = re.search(r'data-size="(\d+) in (\d+)"', document)
    assert size
    content, window = map(int, size.groups())
    assert content <= window <= 500  # some versions open no window narrower than that
    assert document.count("<button") > 100
