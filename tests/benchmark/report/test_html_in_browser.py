"""The report's page in a real browser: an empty console, no scrolling sideways on a phone, tables that sort."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmark.report.html import page, source_hash

ROOT = Path(__file__).parents[3]
REPORT = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TABLE = """\
# Results

## A table

| arm  |              value |         share |
|:-----|-------------------:|--------------:|
| d    |              +0.52 |           7/8 |
| a_10 |             12.3 T |           1/2 |
| a_2  |              900 G |       missing |
| c    |            missing |    0.0 of 200 |
| b    |                  - |          1.2x |
| f    |    -4.66 to +24.56 | .0625 (.0078) |
| e    |           diverged |       < .0001 |
| g    | 1,304 MiB (0.98x)  |         .0001 |
| h    |                    |           3/4 |
| i    |                50% |           3/6 |
"""
# The columns that are pressed one after another, with aria-sort and the order of the arms afterwards.
PRESSED = [
    (1, "ascending", "f d i g a_2 a_10 e c b h"),
    (1, "descending", "a_10 a_2 g i d f c e b h"),
    (1, None, "d a_10 a_2 c b f e g h i"),
    (2, "ascending", "c e g f a_10 i h d b a_2"),
    (2, "descending", "b d h a_10 i f g e c a_2"),
    (0, "ascending", "a_2 a_10 b c d e f g h i"),
]
PLANTED = ('console.error("planted")', "null.broken", "let let = 1")  # an error each: said, thrown, of syntax
# A start takes seconds, so one browser shows three pages in frames. They are as `page` returns them: what presses and
# measures stands around them. A frame, unlike a window, can be as narrow as a phone.
HOST = """\
<!DOCTYPE html>
<iframe src="report.html" width="360" height="740"></iframe>
<iframe src="table.html" width="800" height="600"></iframe>
<iframe src="broken.html"></iframe>
<script>
function press(page, column) {
  const header = page.querySelectorAll("th")[column];
  header.querySelector("button").focus();
  page.activeElement.click();
  const arms = [...page.querySelectorAll("tbody tr")].map((row) => row.cells[0].textContent);
  return [column, header.getAttribute("aria-sort"), arms.join(" ")];
}
onload = () => {
  const [report, table] = [frames[0].document, frames[1].document];
  const boxes = [...report.querySelectorAll(".table")];
  document.body.dataset.said = JSON.stringify({
    window: frames[0].innerWidth,
    content: report.documentElement.scrollWidth,
    tables: Math.max(...boxes.map((box) => box.scrollWidth)),
    headers: report.querySelectorAll("th").length,
    buttons: report.querySelectorAll("th > button").length,
    pressed: COLUMNS.map((column) => press(table, column)),
    sorted: table.querySelectorAll("[aria-sort]").length,
  });
};
</script>
"""


class Seen(NamedTuple):
    """What the page around the frames measured, and the lines of the console."""

    said: dict[str, Any]
    console: list[str]


def browser() -> str:
    """The browser to test with; without one the tests are skipped."""
    names = filter(None, [os.environ.get("CHROME_PATH"), *BROWSERS])
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip(f"no Chromium here (looked for $CHROME_PATH, {', '.join(BROWSERS)})")
    return found


def with_script(text: str, script: str) -> str:
    """The page with one more script at its end, which its policy is told of."""
    allowed = text.replace("script-src ", f"script-src '{source_hash(script)}' ", 1)
    return allowed.replace("</body>", f"<script>{script}</script>\n</body>")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    folder = tmp_path_factory.mktemp("browser")
    links = re.findall(r"!\[.*\]\((.+)\)", REPORT)
    report = page(REPORT, {link: (ROOT / link).read_text(encoding="utf-8") for link in links})
    table = page(TABLE, {})
    broken = table.replace("</body>", "<script>1</script>\n</body>")  # and one that the policy does not allow
    for script in PLANTED:
        broken = with_script(broken, script)
    host = HOST.replace("COLUMNS", str([column for column, *_ in PRESSED]))
    for name, text in {"report": report, "table": table, "broken": broken, "host": host}.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    command += [f"--user-data-dir={folder / 'profile'}", "--allow-file-access-from-files"]  # host looks into frames
    command += ["--enable-logging=stderr", "--dump-dom", (folder / "host.html").as_uri()]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=120, check=True)
    said = re.search(r'data-said="([^"]+)"', done.stdout)
    assert said, done.stderr
    return Seen(json.loads(html.unescape(said[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line])


def test_the_console_has_nothing_but_the_planted_errors(seen: Seen) -> None:
    assert [line for line in seen.console if "broken.html" not in line] == []
    for error in ("planted", "TypeError", "SyntaxError", "Content Security Policy"):
        assert sum(error in line for line in seen.console) == 1


def test_on_a_phone_tables_scroll_and_the_page_does_not(seen: Seen) -> None:
    assert seen.said["window"] == 360
    assert seen.said["content"] <= 360
    assert seen.said["tables"] > 500


def test_every_header_of_the_report_is_a_button(seen: Seen) -> None:
    rules = re.findall(r"^\|(?::?-+:?\|)+$", REPORT, flags=re.MULTILINE)
    assert seen.said["buttons"] == seen.said["headers"] == sum(rule.count("|") - 1 for rule in rules)


def test_presses_sort_by_value_and_the_third_restores_the_order(seen: Seen) -> None:
    """Numbers by value, ties in the report's order; other texts after them, empty cells last, both ways."""
    assert [tuple(press) for press in seen.said["pressed"]] == PRESSED
    assert seen.said["sorted"] == 1
