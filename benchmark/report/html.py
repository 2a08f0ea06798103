"""The whole report as one HTML page that needs no other file, no script and no network."""

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from benchmark.report.notation import BREAK
from benchmark.report.pages import environment
from benchmark.runtime.errors import UsageError

STYLE = Path(__file__).with_name("page.css")
_FOLD = re.compile(r"<details><summary>[\w ,:-]+</summary>|</details>")  # as the templates write them


def page(pages: Mapping[Path, str], figures: Mapping[Path, str]) -> str:
    """Return `pages`, path -> Markdown, with `figures`, path -> SVG text, as one self-contained HTML page.

    HTML in them is shown as text, except folds and line breaks in cells. Links between pages become links within the
    page, which has a section for each.

    Raises:
        UsageError: a page shows an image that is not among the figures.
    """
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    writer = RendererHTML(reader)
    anchors = {os.path.realpath(path): f"page{number}" for number, path in enumerate(pages, 1)}
    drawn = {os.path.realpath(path): text for path, text in figures.items()}
    sections = []
    numbers = count(1)
    for path, markdown in pages.items():
        tokens = reader.parse(markdown)
        _resolve(tokens, path.parent, next(iter(pages)).parent, anchors)
        _inline_figures(reader, writer, tokens, path.parent, drawn, numbers)
        _unfold(tokens)
        _prepare_tables(tokens)
        heading = next(inline for opened, inline in pairwise(tokens) if opened.type == "heading_open")
        title = writer.renderInline(heading.children or [], reader.options, {})
        sections.append((anchors[os.path.realpath(path)], title, writer.render(tokens, reader.options, {})))
    style = STYLE.read_text(encoding="utf-8")
    template = environment.get_template("page.html.j2")
    return template.render(style_hash=source_hash(style), style=style, sections=sections) + "\n"


def source_hash(text: str) -> str:
    """Return the SHA-256 of a text as a source of a Content-Security-Policy (W3C, CSP Level 3)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _inline(tokens: Sequence[Token]) -> Iterator[Token]:
    return (child for token in tokens for child in token.children or [])


def _resolve(tokens: Sequence[Token], folder: Path, home: Path, anchors: Mapping[str, str]) -> None:
    """Point links to other pages at their sections, and links to other files at these, from the folder `home`."""
    for link in (child for child in _inline(tokens) if child.type == "link_open"):
        href = str(link.attrs["href"])
        target = os.path.realpath(folder / unquote(href))
        if target in anchors:
            link.attrSet("href", f"#{anchors[target]}")
        elif not urlsplit(href).scheme:
            link.attrSet("href", quote(Path(os.path.relpath(target, home.resolve())).as_posix()))


def _unfold(tokens: Sequence[Token]) -> None:
    """Convert the templates' folds, each line of which is a paragraph, and breaks within cells into HTML."""
    for index, token in enumerate(tokens):
        if token.type == "inline" and _FOLD.fullmatch(token.content):
            tokens[index - 1].hidden = tokens[index + 1].hidden = True  # the paragraph
            token.children = [Token("html_inline", "", 0, content=token.content)]
        children: list[Token] = []
        for child in token.children or []:
            first, *rest = child.content.split(BREAK) if child.type == "text" else [child.content]
            children.append(child.copy(content=first))
            for part in rest:
                children += [Token("hardbreak", "br", 0), child.copy(content=part)]
        if token.children is not None:
            token.children = children


def _prepare_tables(tokens: Sequence[Token]) -> None:
    """Put every table into a scrolling box, and convert the cells' style attributes into classes."""
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


def _inline_figures(
    reader: MarkdownIt,
    writer: RendererHTML,
    tokens: Sequence[Token],
    folder: Path,
    figures: Mapping[str, str],
    numbers: Iterator[int],
) -> None:
    """Replace every image by the SVG element of its figure; UsageError if there is none."""
    for image in (child for child in _inline(tokens) if child.type == "image"):
        named = folder / unquote(str(image.attrs["src"]))
        path = os.path.realpath(named)
        if path not in figures:
            missing = os.path.normpath(named)
            raise UsageError(f"the report shows {missing}, and there is no such figure. Write the report again.")
        label = writer.renderInlineAsText(image.children, reader.options, {})
        image.type, image.content = "html_inline", _svg_element(figures[path], label, f"figure{next(numbers)}.")


def _svg_element(svg: str, label: str, prefix: str) -> str:
    """Return the text of an SVG file as an element for an HTML page, labelled for screen readers.

    Every id gets the prefix, because all files use the same ids. The page's policy allows no style attributes: they
    become presentation attributes (SVG 2, section 6.6), and style elements are removed.
    """
    root = ElementTree.fromstring(svg)
    for element in list(root.iter()):
        element.tag = _local(element.tag)
        for child in list(element):
            if _local(child.tag) in ("metadata", "style"):
                element.remove(child)
        attributes = {_local(name): value for name, value in element.attrib.items()}
        declared = [line.partition(":") for line in attributes.pop("style", "").split(";") if line.strip()]
        attributes |= {name.strip(): value.strip() for name, _, value in declared}
        element.attrib = {name: _prefixed(name, value, prefix) for name, value in attributes.items()}
    root.attrib |= {"role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    """Return a name without its namespace, which HTML implies."""
    return name.rpartition("}")[2]


def _prefixed(name: str, value: str, prefix: str) -> str:
    """Return an attribute's value with prefixed ids and references."""
    if name == "id":
        return prefix + value
    if name == "href":
        return value.replace("#", f"#{prefix}", 1)
    return value.replace("url(#", f"url(#{prefix}")
