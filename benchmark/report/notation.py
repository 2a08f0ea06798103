"""Names, texts and numbers in the report's notation."""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import numpy as np

from benchmark.analysis.paired import Floats

_ROUNDING = Context(prec=400, rounding=ROUND_HALF_UP)  # more digits than a float has, as logits may be any finite ones
_PREFIXES = ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k"))
BREAK = "<br>"  # a line break within a cell
TIE = "\N{NO-BREAK SPACE}"  # keeps a number with its unit in a narrow column


# Names and texts.


def code(name: str) -> str:
    """Format a name as Markdown code, or as escaped text if it has unusual characters."""
    return f"`{name}`" if re.fullmatch(r"[\w.:/ +-]+", name) else escape(name)


def escape(text: str) -> str:
    """Escape a text from outside for Markdown, as one line."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", plain)


def plain(cell: str) -> str:
    """Return a text of the report without its Markdown."""
    text = re.sub(r"\[((?:\\.|[^\]\\])*)\]\([^)]*\)", r"\1", cell)  # a link keeps its text
    text = re.sub(r"(?<!\\)[`*]", "", text.replace(BREAK, ", ").replace(TIE, " "))
    text = re.sub(r"\\(.)", r"\1", text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def count(n: int, noun: str) -> str:
    """Format a number with its noun: "1 seed", "2 seeds"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def seed_list(seeds: Sequence[int]) -> str:
    """Format increasing seeds: "seed 1", "seeds 1, 2", "seeds 0, 2 to 7"."""
    runs: list[list[int]] = []  # of consecutive seeds
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    parts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(parts)}"


def series(items: Iterable[str]) -> str:
    """Join items: "a", "a and b", "a, b and c"."""
    *head, last = items
    return f"{', '.join(head)} and {last}" if head else last


def capital(text: str) -> str:
    """Capitalise the first letter, after Markdown's asterisks as well."""
    start = len(text) - len(text.lstrip("*"))
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]


def value_text(value: Any, digits: int = 12) -> str:
    """Format a setting's value: 0.5, 1, true, none, softmax, [stem, block1]; floats with significant digits."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(value_text(item, digits) for item in value)}]"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def settings_list(settings: Mapping[str, Any], without: str = "") -> list[str]:
    """Format settings as "key = value", escaped, without one of them."""
    return [escape(f"{key} = {value_text(value)}") for key, value in settings.items() if key != without]


# Numbers.


def fixed(value: float, digits: int = 2) -> str:
    """Round to `digits` decimals, halves away from zero: "39.9" for 39.85 with one digit; never "-0.0".

    All numbers of the pages are rounded here. The last bits of a float are dropped first: they depend on the order
    of the additions behind a mean, and would round one tie up in one table and down in another.
    """
    rounded = Decimal(f"{value:.9f}").quantize(Decimal(1).scaleb(-digits), context=_ROUNDING)
    return f"{rounded if rounded else abs(rounded):,}"


def signed(value: float | None, digits: int = 2) -> str:
    """Format a difference with its sign, and 0 without one; a dash for None."""
    if value is None:
        return "-"
    text = fixed(value, digits)
    return f"+{text}" if float(text.replace(",", "")) > 0 else text


def p_text(p: float | None) -> str:
    """Format a p value with four digits as ".0625", or as "< .0001", "1" or, for None, a dash."""
    if p is None:
        return "-"
    if p < 0.0001:
        return f"<{TIE}.0001"
    return fixed(p, 4).removeprefix("0") if p < 0.99995 else "1"


def p_equals(p: float | None) -> str:
    """Format a p value with its relation: "= .0625" or "< .0001"."""
    return p_text(p) if p is not None and p < 0.0001 else f"={TIE}{p_text(p)}"


def si(value: float) -> str:
    """Format a count with three digits and an SI prefix: "2.13 T"."""
    power, prefix = next(((p, t) for p, t in _PREFIXES if value >= 10**p), (0, ""))
    short = value / 10**power
    return f"{fixed(short, 2 if short < 10 else 1 if short < 100 else 0)} {prefix}".rstrip()


def mean_text(values: Floats, digits: int = 2) -> str:
    """Format the mean of the finite values, (seed,); a dash without any."""
    finite = values[np.isfinite(values)]
    return fixed(float(finite.mean()), digits) if len(finite) else "-"


def sd_text(values: Floats) -> str:
    """Format the standard deviation (n - 1) of the finite values, (seed,); a dash below two."""
    finite = values[np.isfinite(values)]
    return fixed(float(finite.std(ddof=1))) if len(finite) > 1 else "-"


def mean_and_sd(values: Floats) -> str:
    """Format mean and, from two seeds on, sd: "80.11 (0.14)"."""
    return mean_text(values) + (f" ({sd_text(values)})" if np.isfinite(values).sum() > 1 else "")
