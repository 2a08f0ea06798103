"""The report as one HTML page that needs no other file and no network: text, tables that can be sorted, and figures."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin

from benchmark.runtime.errors import UsageError

STYLE = Path(__file__).with_name("page.css")
SCRIPT = Path(__file__).with_name("page.js")
# The policy stands before all that it governs. It names the one style and the one script by their hashes: no other
# script, style attribute, image or connection works, whatever the texts of the records say.
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src '{style_hash}'; \
script-src '{script_hash}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Results of the SBA benchmark</title>
<style>{style}</style>
</head>
<body>
<nav aria-label="Contents">
<details open>
<summary>Contents</summary>
{contents}
</details>
</nav>
<main>
{body}</main>
<script>{script}</script>
</body>
</html>
"""


def page(markdown: str, figures: Mapping[str, str]) -> str:
    """Return a report as one self-contained HTML page; the same arguments give the same text.

    Args:
        markdown: the text of RESULTS.md; HTML in it is shown as text.
        figures: a figure's path, as it stands in the image's link -> its SVG text.

    Raises:
        UsageError: the text shows an image that is not among the figures.
    """
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").use(anchors_plugin, max_level=3)
    writer = RendererHTML(reader)
    tokens = reader.parse(markdown)
    inline_figures(reader, writer, tokens, figures)
    prepare_tables(tokens)
    style, script = (path.read_text(encoding="utf-8") for path in (STYLE, SCRIPT))
    return PAGE.format(
        style_hash=source_hash(style),
        script_hash=source_hash(script),
        style=style,
        contents=contents(reader, writer, tokens),
        body=writer.render(tokens, reader.options, {}),
        script=script,
    )


def source_hash(text: str) -> str:
    """Return the text's SHA-256 as a Content-Security-Policy names it (W3C, CSP Level 3)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def contents(reader: MarkdownIt, writer: RendererHTML, tokens: Sequence[Token]) -> str:
    """Return the list of links to the headings of level 2, and below each to those of level 3."""
    sections: list[tuple[str, list[str]]] = []
    for opened, title in pairwise(tokens):
        if opened.type == "heading_open" and opened.tag in ("h2", "h3"):
            text = writer.renderInline(title.children or [], reader.options, {})
            link = f'<a href="#{opened.attrs["id"]}">{text}</a>'
            if opened.tag == "h2" or not sections:
                sections.append((link, []))
            else:
                sections[-1][1].append(link)
    return listed(link + (f"\n{listed(below)}\n" if below else "") for link, below in sections)


def listed(items: Sequence[str] | Iterator[str]) -> str:
    """Return the items, which are HTML, as a list."""
    return "<ul>\n" + "".join(f"<li>{item}</li>\n" for item in items) + "</ul>"


def prepare_tables(tokens: Sequence[Token]) -> None:
    """Put every table into a box of its own, which scrolls, and turn the cells' style attributes into classes."""
    for token in tokens:
        if token.type == "table_open":
            token.type, token.content = "html_block", '<div class="table">\n<table>\n'
        elif token.type == "table_close":
            token.type, token.content = "html_block", "</table>\n</div>\n"
        elif token.type in ("th_open", "td_open"):
            if token.tag == "th":
                token.attrSet("scope", "col")
            if align := token.attrs.pop("style", ""):
                token.attrSet("class", str(align).removeprefix("text-align:"))


def inline_figures(
    reader: MarkdownIt, writer: RendererHTML, tokens: Sequence[Token], figures: Mapping[str, str]
) -> None:
    """Put the SVG element of its figure, path -> SVG text, in the place of every image.

    Raises:
        UsageError: an image is not among the figures.
    """
    named = {reader.normalizeLink(path): svg for path, svg in figures.items()}  # as the reader writes links
    images = (child for token in tokens for child in token.children or [] if child.type == "image")
    for number, image in enumerate(images, 1):
        path = str(image.attrs["src"])
        if path not in named:
            raise UsageError(f"the report shows {path}, and there is no such figure. Write the report again.")
        label = writer.renderInlineAsText(image.children, reader.options, {})
        image.type, image.content = "html_inline", svg_element(named[path], label, f"figure{number}.")


def svg_element(svg: str, label: str, prefix: str) -> str:
    """Return an SVG file's text as an element for an HTML page, with `label` for those who do not see it.

    Every id gets the prefix, because all files number theirs alike. The page's policy allows no style attributes:
    they become presentation attributes (SVG 2, section 6.6), and the file's style element is the page's matter.
    """
    root = ElementTree.fromstring(svg)
    for element in list(root.iter()):
        element.tag = local(element.tag)
        for child in list(element):
            if local(child.tag) in ("metadata", "style"):
                element.remove(child)
        attributes = {local(name): value for name, value in element.attrib.items()}
        declared = [line.partition(":") for line in attributes.pop("style", "").split(";") if line.strip()]
        attributes |= {name.strip(): value.strip() for name, _, value in declared}
        element.attrib = {name: prefixed(name, value, prefix) for name, value in attributes.items()}
    root.attrib |= {"role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def local(name: str) -> str:
    """Return a name without its namespace, which HTML supplies."""
    return name.rpartition("}")[2]


def prefixed(name: str, value: str, prefix: str) -> str:
    """Return an attribute's value with the prefix at the id that it is or refers to."""
    if name == "id":
        return prefix + value
    if name == "href":
        return value.replace("#", f"#{prefix}", 1)
    return value.replace("url(#", f"url(#{prefix}")
