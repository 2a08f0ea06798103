"""The command `report`: RESULTS.md, pages and figures from records, and the paths printed."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmark.records.store import refuse_other_depth
from benchmark.report.build import Form, check_report, write_report
from benchmark.runtime.errors import UsageError


def main(options: argparse.Namespace) -> int:
    """Write the report, or check it; return 1 if `--check` finds a difference."""
    if not options.results.is_dir():
        raise UsageError(
            f"--results {options.results}: there is no such folder. Records are in results/<preset>/<arm>/."
        )
    refuse_other_depth(options.results, depths=(0, 1, 3, 4))
    forms: list[Form] = [form for form in ("html", "csv", "latex") if getattr(options, form)]
    if not options.check:
        write(options.results, options.output, forms)
        return 0
    problems = check_report(options.results, options.output or options.results.parent / "RESULTS.md", forms)
    print("\n".join(problems) if problems else "RESULTS.md and its figures match the records.")
    return 1 if problems else 0


def write(results: Path, output: Path | None = None, forms: Sequence[Form] = ()) -> None:
    """Write the report and print its paths."""
    paths = write_report(results, output or results.parent / "RESULTS.md", forms)
    figures = [path for path in paths if path.suffix == ".svg"]
    other = [path for path in paths[1:] if path.suffix == ".md"]
    print(f"Report: {paths[0]}, {len(other)} more pages and {len(figures)} figures under {results}.", flush=True)
    pages = [path for path in paths if path.suffix == ".html"]
    tables = [path for path in paths if path.suffix in (".csv", ".tex")]
    if pages:
        print(f"The same as one page: {pages[0]}.", flush=True)
    if tables:
        print(f"{len(tables)} tables under {tables[0].parent}.", flush=True)
