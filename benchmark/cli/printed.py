"""Output that several commands share: a study's tables, and the paths of a report."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.analysis.endpoints import ENDPOINTS
from benchmark.analysis.study import load_study
from benchmark.records.store import read_study
from benchmark.report.attack_tables import robustness_table
from benchmark.report.build import Form, write_report
from benchmark.report.tables import comparison_table, contrast_table, seeds_table


def print_table(results: Path, preset: str) -> None:
    """Print a study's accuracies, differences of the first endpoint and robust accuracies."""
    study = load_study(preset, read_study(results, preset))
    print(f"\nAccuracy after the last epoch, %\n\n{seeds_table(study).text()}")
    compared = f"Each row minus {study.treatment}" if study.exploratory else f"{study.treatment} against each arm"
    first = study.endpoints[0]
    differences = contrast_table(study, first) if study.exploratory else comparison_table(study, first)
    print(f"\n{compared}: {study.title(first)}, {ENDPOINTS[first].unit}\n\n{differences.text()}")
    print(f"\nAccuracy under these attacks at Linf eps (1/255), %\n\n{robustness_table(study).text()}\n")


def write(results: Path, output: Path | None, forms: Sequence[Form] = ()) -> None:
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
