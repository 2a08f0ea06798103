"""Names, texts and numbers as the report writes them."""

import numpy as np
import pytest
from markdown_it import MarkdownIt
from pages import planted_site

from benchmark.report.notation import (
    TIE,
    capital,
    code,
    count,
    escape,
    fixed,
    mean_text,
    p_equals,
    p_text,
    seed_list,
    series,
    si,
    signed,
    value_text,
)


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0625, ".0625"), (0.25, ".2500"), (1.0, "1"), (0.99996, "1"), (0.00001, f"<{TIE}.0001"), (None, "-")],
)
def test_p(p: float | None, text: str) -> None:
    assert p_text(p) == text


def test_p_after_its_sign() -> None:
    assert (p_equals(0.0625), p_equals(0.00001)) == (f"={TIE}.0625", f"<{TIE}.0001")


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (39.85, 1, "39.9"),
        (39.849999, 1, "39.8"),
        (-39.85, 1, "-39.9"),
        (2.675, 2, "2.68"),
        (-0.04, 1, "0.0"),
        (2.0**100, 0, f"{2**100:,}"),
    ],
)
def test_halves_are_rounded_away_from_zero(value: float, digits: int, text: str) -> None:
    assert fixed(value, digits) == text


def test_a_tie_is_rounded_alike_whatever_the_order_of_its_additions() -> None:
    shares = np.array([0.402, 0.395, 0.391, 0.406])
    means = [100 * shares.mean(), (100 * shares).mean(), np.mean(100 * shares[::-1]), 100 * sum(shares) / 4]
    ties = [*means, np.nextafter(39.85, 0), np.nextafter(39.85, 100)]
    assert len({f"{value:.1f}" for value in ties}) == 2  # without the rule they would differ
    assert {fixed(float(value), 1) for value in ties} == {mean_text(np.array(ties[:1]), 1)} == {"39.9"}


@pytest.mark.parametrize(("value", "text"), [(0.5, "+0.50"), (-0.001, "0.00"), (-1.234, "-1.23"), (None, "-")])
def test_signed(value: float | None, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(("value", "text"), [(999, "999"), (2.134e12, "2.13 T"), (52_400, "52.4 k"), (699e3, "699 k")])
def test_si(value: float, text: str) -> None:
    assert si(value) == text


def test_lists() -> None:
    assert [series(items) for items in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert [count(n, "seed") for n in (1, 2, 1000)] == ["1 seed", "2 seeds", "1,000 seeds"]
    found = [seed_list(seeds) for seeds in ([3], [0, 1], [0, 1, 2, 3], [0, 2, 3], [0, 2, 3, 4])]
    assert found == ["seed 3", "seeds 0, 1", "seeds 0 to 3", "seeds 0, 2, 3", "seeds 0, 2 to 4"]
    assert [capital(text) for text in ("", "abc", "**abc** d")] == ["", "Abc", "**Abc** d"]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "none"), (True, "true"), (0.5, "0.5"), (1.0, "1"), (["a", 2], "[a, 2]"), ("kl", "kl")]
)
def test_values(value: object, text: str) -> None:
    assert value_text(value) == text


@pytest.mark.parametrize("text", [planted_site.HOSTILE, "_a_ b_c", "[x]: y", "a\\|b", "&lt; &amp; ~~x~~", "a  b\nc"])
def test_escaped_texts_are_shown_as_they_are(text: str) -> None:
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for page in (f"before {escape(text)} after", f"| before {escape(text)} after |\n|---|\n"):
        (inline,) = (token for token in reader.parse(page) if token.type == "inline")
        assert {child.type for child in inline.children or []} <= {"text"}
        assert "".join(child.content for child in inline.children or []) == f"before {' '.join(text.split())} after"


def test_code_is_for_plain_names_alone() -> None:
    assert code("sba_no-1.x") == "`sba_no-1.x`"
    assert code("a`b|c") == r"a\`b\|c"
