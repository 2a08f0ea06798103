"""A table of the report, and its forms: Markdown, text for a terminal, CSV and LaTeX."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from benchmark.report.notation import plain

# Spreadsheets evaluate cells that begin with one of these characters; our signed numbers and intervals are safe.
_FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d.]|$)")


@dataclass(frozen=True)
class Table:
    """A table of Markdown texts; `str` of it is a Markdown table.

    The first column and those whose headers are in `words` align left.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[str] = ()

    def __str__(self) -> str:
        # tabulate's "pipe" is its "github" with the colons that GitHub takes the alignment from. In a cell a bar would
        # end it, in code as well.
        cells = [[re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in row] for row in (self.headers, *self.rows)]
        return Table(cells[0], cells[1:], self.words)._write("pipe")

    def _write(self, form: str) -> str:
        align = ["left" if header in (self.headers[0], *self.words) else "right" for header in self.headers]
        return tabulate(self.rows, self.headers, tablefmt=form, disable_numparse=True, colalign=align)

    def plain(self) -> "Table":
        """Return the table without Markdown: for a terminal, a spreadsheet or LaTeX."""
        cells = [[plain(cell) for cell in row] for row in (self.headers, *self.rows, self.words)]
        return Table(cells[0], cells[1:-1], cells[-1])

    def text(self) -> str:
        """Return the table as text for a terminal."""
        return self.plain()._write("simple")

    def csv(self) -> str:
        """Return the table as CSV with a header line and without Markdown.

        A cell that a spreadsheet would evaluate as a formula is prefixed with an apostrophe.
        """
        bare = self.plain()
        file = io.StringIO()
        rows = [[f"'{cell}" if _FORMULA.match(cell) else cell for cell in row] for row in (bare.headers, *bare.rows)]
        csv.writer(file, lineterminator="\n").writerows(rows)
        return file.getvalue()

    def latex(self) -> str:
        """Return the table as a tabular that needs LaTeX's package booktabs, escaped."""
        return f"% needs \\usepackage{{booktabs}}\n{self.plain()._write('latex_booktabs')}\n"
